"""A real SFTP server on the loopback interface, which lets in whoever has its key."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncssh
from fsspec.implementations.sftp import SFTPFileSystem


class SftpServer:
    """Serves all files that this user may read; ``port`` is the one that the system chose."""

    def __init__(self, key: Path) -> None:
        self.port = 0
        self._key = key
        self._connections: list[asyncssh.SSHServerConnection] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="test-sftp")

    def start(self) -> None:
        self._thread.start()
        self.port = self._run(self._listen())

    def drop_connections(self) -> None:
        """As servers do with those that were idle."""
        self._run(self._drop())

    def stop(self) -> None:
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(30)

    async def _listen(self) -> int:
        self._server = await asyncssh.listen(
            "127.0.0.1",
            0,
            server_host_keys=[str(self._key)],
            authorized_client_keys=str(self._key.with_suffix(".pub")),
            sftp_factory=True,
            acceptor=self._connections.append,
        )
        return self._server.get_port()

    async def _drop(self) -> None:
        for connection in self._connections:
            connection.abort()
            await connection.wait_closed()
        self._connections.clear()

    async def _close(self) -> None:
        self._server.close()
        await self._drop()
        await self._server.wait_closed()


@contextmanager
def sftp_server(home: Path) -> Iterator[SftpServer]:
    """A running server; its key is the user's own, below ``home``."""
    key = home / ".ssh" / "id_ed25519"
    key.parent.mkdir()
    pair = asyncssh.generate_private_key("ssh-ed25519")
    pair.write_private_key(str(key))
    pair.write_public_key(str(key.with_suffix(".pub")))
    server = SftpServer(key)
    server.start()
    try:
        yield server
    finally:
        for system in SFTPFileSystem._cache.values():
            system.client.close()
        SFTPFileSystem.clear_instance_cache()
        server.stop()

"""The server: an event loop in a thread, around the engine's threads."""

import asyncio
import logging
import socket
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import uvicorn

from realtime.cameras.camera import Looking
from realtime.cameras.engine import Engine
from realtime.errors import RealtimeError
from realtime.serve.access import Policy, Sessions
from realtime.serve.app import App, Shown
from realtime.serve.detection import DetectStill
from realtime.serve.ice import bind_to
from realtime.serve.limits import Limits
from realtime.serve.registry import Registry
from realtime.sources.base import FrameSource

SEND_BUFFER_BYTES = 256 * 1024
"""Of each connection in the system: what waits there for a slow viewer cannot be dropped any more."""
GRACE_S = 1
"""Longest wait for answers that are being sent when the server ends."""


class ServeError(RealtimeError):
    """The server cannot listen where it should."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """How the server is reached, and by whom."""

    host: str = "127.0.0.1"
    port: int = 8000
    allowed_hosts: tuple[str, ...] = ()
    """Further names under which it is reached, those of a reverse proxy."""
    token: str | None = None
    """What everybody has to show; None for none."""
    threshold: float
    looking: Looking = field(default_factory=Looking)
    limits: Limits = field(default_factory=Limits)


class Server:
    """Serves the cameras of an engine; ``start`` and ``stop`` are called by one thread that is not the loop's."""

    def __init__(self, engine: Engine, detect: DetectStill, shown: Shown, options: ServeOptions) -> None:
        """Bind the socket, so that an address that is taken is an error at once.

        Args:
            engine: started; it is closed by whoever made it.
            detect: finds faces in a still image.
            shown: of the model, for the page.
            options: of the user.

        Raises:
            ServeError: the address is taken or is none of this machine's.
        """
        self.sessions = Sessions(options.token)
        self._engine = engine
        self._detect = detect
        self._shown = shown
        self._options = options
        self._socket = _listening(options.host, options.port)
        self.port: int = self._socket.getsockname()[1]
        self._started: Future[tuple[App, asyncio.AbstractEventLoop]] = Future()
        self._thread = threading.Thread(target=self._run, name="serve", daemon=True)
        self._uvicorn: uvicorn.Server | None = None
        bind_to(options.host)

    @property
    def address(self) -> str:
        """Where a browser finds it; of a server at all addresses, the one by which this machine reaches others."""
        host = self._options.host
        if host in {"0.0.0.0", "::"}:
            host = _own_address()
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    def start(self, cameras: Sequence[tuple[str, FrameSource]]) -> None:
        """Start the loop, and cameras in it.

        Raises:
            RealtimeError: it cannot start.
        """
        self._thread.start()
        app, loop = self._started.result()

        def add_all() -> None:
            for name, source in cameras:
                app.registry.add(name, source)
            done.set_result(None)

        done: Future[None] = Future()
        loop.call_soon_threadsafe(add_all)
        done.result()

    def stop(self) -> None:
        """End all connections and the loop. May be called twice."""
        if self._thread.ident is None:
            self._socket.close()
            return
        if self._thread.is_alive():
            app, loop = self._started.result()
            asyncio.run_coroutine_threadsafe(app.end(), loop)
            if self._uvicorn:
                self._uvicorn.should_exit = True
        self._thread.join()

    @property
    def registry(self) -> Registry:
        """The cameras that it serves."""
        return self._started.result()[0].registry

    @property
    def app(self) -> App:
        """The application."""
        return self._started.result()[0]

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            if self._started.done():
                logging.getLogger(__name__).exception("the server ended")
            else:
                self._started.set_exception(error)
        finally:
            self._socket.close()

    async def _serve(self) -> None:
        loop, options = asyncio.get_running_loop(), self._options
        registry = Registry(self._engine, options.threshold, options.looking, loop)
        app = App(
            registry, self._detect, self._shown, sessions=self.sessions, limits=options.limits,
            policy=Policy(host=options.host, allowed_hosts=options.allowed_hosts),
        )  # fmt: skip
        config = uvicorn.Config(
            app.asgi(), log_level="error", access_log=False, ws="none", lifespan="on", server_header=False,
            limit_concurrency=options.limits.connections, timeout_graceful_shutdown=GRACE_S, timeout_keep_alive=30,
            proxy_headers=True, date_header=False,
        )  # fmt: skip
        self._uvicorn = uvicorn.Server(config)
        self._started.set_result((app, loop))
        await self._uvicorn.serve(sockets=[self._socket])


def _own_address() -> str:
    """The address of this machine in its network; nothing is sent to find out."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # an address for documentation (RFC 5737)
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])


def _listening(host: str, port: int) -> socket.socket:
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listening = socket.socket(family, socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ServeError(f"cannot listen: {getattr(error, 'strerror', error)}", parameter="host", value=host) from error
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        listening.bind(address)
        listening.listen(128)
    except (OSError, OverflowError) as error:
        listening.close()
        reason = str(getattr(error, "strerror", error)).lower()
        raise ServeError(f"cannot listen at {host}: {reason}", parameter="port", value=port) from error
    return listening

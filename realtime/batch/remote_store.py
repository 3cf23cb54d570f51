"""Records at an address."""

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from realtime.batch.addresses import WHOLE_WRITES, call, find, opened, protocol_of, url_of
from realtime.errors import SinkError, one_line

T = TypeVar("T")

CREATING_MODES = {"file": "xb", "sftp": "wxb", "ssh": "wxb"}
"""How a file is opened that must not be there, where fsspec looks first and creates it then."""


class RemoteStore:
    """Small files at an address. As ``Store``, as far as the file system there allows.

    Where it cannot create a file only if there is none, two runs may do a file twice.
    """

    def __init__(self, folder: Path) -> None:
        """See whether the address can be reached.

        Raises:
            SourceError: it does not answer.
        """
        self._folder = folder
        self._url = url_of(folder)
        self._protocol = protocol_of(folder)
        self._root = opened(folder)[1].rstrip("/")

    def __str__(self) -> str:
        return str(self._url)

    def read(self, name: str) -> bytes | None:
        """As of ``Store``."""
        try:
            data: bytes = self._call(lambda system: system.cat_file(self._path(name)))
        except Exception:
            return None
        return data

    def write(self, name: str, data: bytes) -> None:
        """As of ``Store``."""

        def write(system: Any) -> None:
            self._make_parent(system, name)
            system.pipe_file(self._path(name), data)

        try:
            self._call(write)
        except Exception as error:
            raise SinkError(f"cannot write {self._url}/{name}: {one_line(error)}", value=name) from error

    def create(self, name: str, data: bytes) -> bool:
        """As of ``Store``."""

        def create(system: Any) -> None:
            self._make_parent(system, name)
            if self._protocol not in CREATING_MODES:
                system.pipe_file(self._path(name), data, mode="create")
                return
            with system.open(self._path(name), CREATING_MODES[self._protocol]) as file:
                file.write(data)

        try:
            self._call(create)
        except FileExistsError:
            return False
        except Exception as error:
            if self._call(lambda system: system.exists(self._path(name))):  # not all have an error of its own for this
                return False
            raise SinkError(f"cannot write {self._url}/{name}: {one_line(error)}", value=name) from error
        return True

    def remove(self, name: str) -> None:
        """As of ``Store``."""
        with suppress(Exception):
            self._call(lambda system: system.rm_file(self._path(name)))

    def move(self, name: str, to: str) -> bool:
        """As of ``Store``."""

        def move(system: Any) -> None:
            self._make_parent(system, to)
            system.mv(self._path(name), self._path(to))

        try:
            self._call(move)
        except Exception:
            return False
        return True

    def touch(self, name: str) -> None:
        """As of ``Store``: written again."""
        data = self.read(name)
        if data is not None:
            with suppress(SinkError):
                self.write(name, data)

    def age_s(self, name: str) -> float | None:
        """As of ``Store``."""
        clock = f"clock-{uuid.uuid4().hex}"

        def age(system: Any) -> float:
            system.invalidate_cache()  # other runs renew their claims
            now, then = system.modified(self._path(clock)), system.modified(self._path(name))
            return float((now - then).total_seconds())

        try:
            self.write(clock, str(time.time()).encode())
            return self._call(age)
        except Exception:
            return None
        finally:
            self.remove(clock)

    def names(self, folder: str) -> Iterator[str]:
        """As of ``Store``."""
        found: list[str] = []
        with suppress(Exception):
            found = find(self._folder / folder)
        for name in found:
            yield name.strip("/").removeprefix(self._root.strip("/")).strip("/")

    def _call(self, action: Callable[[Any], T]) -> T:
        return call(self._folder, lambda system, _: action(system))

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _make_parent(self, system: Any, name: str) -> None:
        if self._protocol not in WHOLE_WRITES:
            system.makedirs(self._path(name).rpartition("/")[0], exist_ok=True)

"""Where a batch keeps its records: small files in a hidden folder beside the results."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from realtime.errors import SinkError

FOLDER = ".realtime"
"""Name of that folder; hidden, so that no search of a folder takes what is in it for results."""


class Store(Protocol):
    """Small files by name, with slashes, which several processes on several machines use at once."""

    def read(self, name: str) -> bytes | None:
        """The content of a file; None if there is none."""

    def write(self, name: str, data: bytes) -> None:
        """Write a file, wholly or not at all, in place of an older one.

        Raises:
            SinkError: it cannot be written.
        """

    def create(self, name: str, data: bytes) -> bool:
        """Write a file that is not there yet; False if there is one. Of several processes, one gets True.

        Raises:
            SinkError: it cannot be written.
        """

    def remove(self, name: str) -> None:
        """Remove a file if it is there."""

    def move(self, name: str, to: str) -> bool:
        """Give a file another name; False if it is gone. Of several processes, one gets True."""

    def touch(self, name: str) -> None:
        """Set the time of a file's last change to now, if it is there."""

    def age_s(self, name: str) -> float | None:
        """Seconds since the last change, by the clock of the storage; None if there is no such file."""

    def names(self, folder: str) -> Iterator[str]:
        """The names of all files in and below a folder."""

    def __str__(self) -> str:
        """Where it is, for people."""


class FolderStore:
    """Files of a local or shared folder, which is made when something is written."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: set[Path] = set()

    def __str__(self) -> str:
        return str(self._folder)

    def read(self, name: str) -> bytes | None:
        """As of ``Store``."""
        try:
            return (self._folder / name).read_bytes()
        except OSError:
            return None

    def write(self, name: str, data: bytes) -> None:
        """As of ``Store``."""
        path = self._place(name)
        try:
            handle, partial = tempfile.mkstemp(prefix=".", suffix=".partial", dir=path.parent)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(data)
                Path(partial).replace(path)
            except BaseException:
                Path(partial).unlink(missing_ok=True)
                raise
        except OSError as error:
            raise SinkError(f"cannot write {path}: {error.strerror}", value=path) from error

    def create(self, name: str, data: bytes) -> bool:
        """As of ``Store``."""
        path = self._place(name)
        try:
            handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        except FileExistsError:
            return False
        except OSError as error:
            raise SinkError(f"cannot write {path}: {error.strerror}", value=path) from error
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        return True

    def remove(self, name: str) -> None:
        """As of ``Store``."""
        with suppress(OSError):
            (self._folder / name).unlink()

    def move(self, name: str, to: str) -> bool:
        """As of ``Store``."""
        try:
            (self._folder / name).rename(self._place(to))
        except OSError:
            return False
        return True

    def touch(self, name: str) -> None:
        """As of ``Store``."""
        with suppress(OSError):
            os.utime(self._folder / name)

    def age_s(self, name: str) -> float | None:
        """As of ``Store``: the clock is read off a new file, since those of two machines may differ."""
        try:
            with tempfile.NamedTemporaryFile(dir=self._folder, prefix=".clock-") as now:
                return Path(now.name).stat().st_mtime - (self._folder / name).stat().st_mtime
        except OSError:
            return None

    def names(self, folder: str) -> Iterator[str]:
        """As of ``Store``."""
        for where, _, files in os.walk(self._folder / folder):
            for file in files:
                yield (Path(where) / file).relative_to(self._folder).as_posix()

    def _place(self, name: str) -> Path:
        """The path of a file, in a folder that exists."""
        path = self._folder / name
        if path.parent not in self._made:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise SinkError(f"cannot make the folder {path.parent}: {error.strerror}", value=path.parent) from error
            self._made.add(path.parent)
        return path

"""Text files that are written completely or not at all, and standard output, pipes and devices in place of one."""

import errno
import os
import stat
import sys
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from realtime.atomic_files import partial_path
from realtime.errors import SinkError
from realtime.file_names import DASH
from realtime.sinks.base import Ending

STANDARD_OUTPUT = DASH
"""The path that stands for it."""
STANDARD_STREAMS = {Path("/dev/stdout"): 1, Path("/dev/stderr"): 2}
OPEN_FILES = (Path("/dev/fd"), Path("/proc/self/fd"))
"""Folders of the files that this process has open, by their number."""


def open_text(path: Path) -> "TextFile | StreamFile":
    """A text file, or standard output, a pipe or a device if that is what the path says.

    Raises:
        SinkError: the folder does not exist or cannot be written to.
    """
    if path == STANDARD_OUTPUT:
        return StreamFile(sys.stdout.buffer, "to standard output")
    return StreamFile(_open_stream(path), str(path), is_owned=True) if is_stream(path) else TextFile(path)


def is_stream(path: Path) -> bool:
    """Whether what is written to a path goes to a reader at once: a pipe, a device, or a file that is open already."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return _descriptor(path) is not None or not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _descriptor(path: Path) -> int | None:
    """The number of the open file that a path stands for, such as ``/dev/stdout``."""
    if path.parent in OPEN_FILES and path.name.isdecimal():
        return int(path.name)
    return STANDARD_STREAMS.get(path)


def _open_stream(path: Path) -> BinaryIO:
    """Open a stream to write.

    Raises:
        SinkError: it cannot be written to, or is a named pipe without a reader, for which a run would wait for ever.
    """
    try:
        # A file that is open already is continued, not opened again at its beginning.
        descriptor = _descriptor(path)
        opened = os.open(path, os.O_WRONLY | getattr(os, "O_NONBLOCK", 0)) if descriptor is None else os.dup(descriptor)
        if descriptor is None:
            os.set_blocking(opened, True)
        return os.fdopen(opened, "wb")
    except OSError as error:
        if error.errno == errno.ENXIO:
            message = f"cannot write {path}: it is not a regular file but a pipe, and nobody reads it"
            raise SinkError(message, value=path, remedy="start its reader first") from error
        raise SinkError(f"cannot write {path}: {error.strerror}", value=path) from error


class StreamFile:
    """Standard output, a pipe or a device, of which a reader gets each line at once."""

    def __init__(self, file: BinaryIO, name: str, *, is_owned: bool = False) -> None:
        """``name`` follows "cannot write" in messages; ``is_owned``: it is closed at the end."""
        self._file = file
        self._name = name
        self._is_owned = is_owned

    def write(self, text: str) -> None:
        """Add some text, in UTF-8 as in a file.

        Raises:
            SinkError: it goes to a full disk, for example.
            BrokenPipeError: the reader has gone away.
        """
        try:
            self._file.write(text.encode())
            self._file.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise SinkError(f"cannot write {self._name}: {error.strerror}", value=self._name) from error

    def close(self, ending: Ending) -> None:
        """Let the reader know that this is the end; what was read cannot be taken back. May be called twice."""
        if self._is_owned:
            with suppress(OSError):  # what is left in the buffer of a reader that has gone away
                self._file.close()


class TextFile:
    """A UTF-8 text file with line feeds that appears under its name when it is complete."""

    def __init__(self, path: Path) -> None:
        """Start writing.

        Raises:
            SinkError: the folder does not exist or cannot be written to.
        """
        self._path = path
        self._partial = partial_path(path)
        self._file = self._partial.open("w", encoding="utf-8", newline="")

    def write(self, text: str) -> None:
        """Append text.

        Raises:
            SinkError: the file cannot be written, for example because the disk is full.
        """
        try:
            self._file.write(text)
        except OSError as error:
            raise SinkError(f"cannot write {self._path}: {error.strerror}", value=self._path) from error

    def close(self, ending: Ending) -> None:
        """Move the file into place, or remove it if the run failed. May be called twice."""
        if self._file.closed:
            return
        try:
            self._file.close()
            if ending is not Ending.FAILED:
                self._partial.replace(self._path)
        except OSError as error:
            raise SinkError(f"cannot write {self._path}: {error.strerror}", value=self._path) from error
        finally:
            self._partial.unlink(missing_ok=True)

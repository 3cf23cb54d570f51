"""Text files that are written completely or not at all, and standard output in place of one."""

import sys
from pathlib import Path

from realtime.atomic_files import partial_path
from realtime.errors import SinkError
from realtime.sinks.base import Ending

STANDARD_OUTPUT = Path("-")
"""The path that stands for it."""


def open_text(path: Path) -> "TextFile | StandardOutput":
    """A text file, or standard output if that is what the path says.

    Raises:
        SinkError: the folder does not exist or cannot be written to.
    """
    return StandardOutput() if path == STANDARD_OUTPUT else TextFile(path)


class StandardOutput:
    """Standard output, of which a reader gets each line at once."""

    def write(self, text: str) -> None:
        """Add some text, in UTF-8 as in a file.

        Raises:
            SinkError: it goes to a full disk, for example.
            BrokenPipeError: the reader has gone away.
        """
        try:
            sys.stdout.buffer.write(text.encode())
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise SinkError(f"cannot write to standard output: {error.strerror}") from error

    def close(self, ending: Ending) -> None:
        """Nothing to do: what was read cannot be taken back."""


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
            raise SinkError(f"cannot write {self._path}: {error.strerror}") from error

    def close(self, ending: Ending) -> None:
        """Move the file into place, or remove it if the run failed. May be called twice."""
        if self._file.closed:
            return
        try:
            self._file.close()
            if ending is not Ending.FAILED:
                self._partial.replace(self._path)
        except OSError as error:
            raise SinkError(f"cannot write {self._path}: {error.strerror}") from error
        finally:
            self._partial.unlink(missing_ok=True)

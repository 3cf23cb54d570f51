"""What every receiver of results offers."""

import os
import tempfile
import threading
from enum import Enum
from pathlib import Path
from typing import Protocol

from realtime.errors import SinkError
from realtime.structures import Result

_ASKING = threading.Lock()


class StopRun(Exception):  # noqa: N818 - not an error
    """Raised by a sink to end the run in the ordinary way: the window was closed, say."""


class Ending(Enum):
    """How a run ended."""

    COMPLETE = "complete"
    """The source had no more frames."""
    STOPPED = "stopped"
    """By the user, a limit, or an error elsewhere: what was done is kept."""
    FAILED = "failed"
    """By an error of the output itself, before the first frame, or in haste: files are not kept."""


class Sink(Protocol):
    """A window, a video file, a file of detections."""

    is_slow: bool
    """True if ``write`` takes long, and so is given a thread of its own; it must not need the main thread."""

    @property
    def needs_canvas(self) -> bool:
        """False if ``write`` makes no use of the drawn picture."""

    def write(self, result: Result) -> None:
        """Take one result.

        Raises:
            SinkError: it cannot be written.
            StopRun: the run shall end.
        """

    def close(self, ending: Ending) -> None:
        """Finish; after ``Ending.FAILED`` no file is left behind. May be called twice."""


def partial_path(path: Path) -> Path:
    """Name beside ``path`` under which a file is written until it is whole.

    Raises:
        SinkError: the folder does not exist or cannot be written to.
    """
    if not path.parent.is_dir():
        raise SinkError(f"cannot write {path}: folder {path.parent} does not exist")
    if path.exists() and not path.is_file():
        raise SinkError(f"cannot write {path}: it is {'a folder' if path.is_dir() else 'not a regular file'}")
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=f".partial{path.suffix}", dir=path.parent)
    except OSError as error:
        raise SinkError(f"cannot write {path}: {error.strerror}") from error
    os.close(handle)
    Path(name).chmod(0o666 & ~_umask())  # mkstemp's files are for their owner alone
    return Path(name)


def partial_folder(folder: Path) -> Path:
    """A new folder beside ``folder`` in which its files are written until it is whole.

    Raises:
        SinkError: there is something of that name already, or nothing can be made beside it.
    """
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise SinkError(f"cannot write to {folder}: it is not an empty folder; choose another name")
    if not folder.parent.is_dir():
        raise SinkError(f"cannot write to {folder}: folder {folder.parent} does not exist")
    try:
        partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", suffix=".partial", dir=folder.parent))
    except OSError as error:
        raise SinkError(f"cannot write to {folder}: {error.strerror}") from error
    partial.chmod(0o777 & ~_umask())  # as mkstemp's
    return partial


def _umask() -> int:
    with _ASKING:  # it can be asked for only by setting it, for all threads
        mask = os.umask(0)
        os.umask(mask)
    return mask

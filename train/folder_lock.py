"""One process at a time writes a folder of results."""

import contextlib
import os
from pathlib import Path

from train.errors import TrainError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_held: set[int] = set()
"""File descriptors of the folders that this process holds."""


class FolderLock:
    """A context in which a folder may be held; the system releases it with the process, however that ends.

    The lock is one of the folder itself, so no file is left behind. Where the system has no such locks (Windows, some
    network file systems), it has no effect.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._descriptor: int | None = None

    def __enter__(self) -> "FolderLock":
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        if self._descriptor is not None:
            _held.discard(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = None

    @property
    def is_held(self) -> bool:
        """False before the folder is there, too."""
        return self._descriptor is not None

    def acquire(self) -> None:
        """Hold the folder if it is there and not held already.

        Raises:
            TrainError: another process holds it.
        """
        if fcntl is None or self.is_held or not self._folder.is_dir():
            return
        descriptor = os.open(self._folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise TrainError(
                f"{self._folder} is being written by another process: wait for its end, or choose another folder"
            ) from error
        except OSError:  # a file system without locks
            os.close(descriptor)
            return
        self._descriptor = descriptor
        _held.add(descriptor)


def _release_in_child() -> None:
    """A forked process, such as a reader, would keep the lock of a process that was killed."""
    for descriptor in _held:
        with contextlib.suppress(OSError):
            os.close(descriptor)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_release_in_child)

"""Files and folders that are written beside their place, so that under their name there are only ever whole ones."""

import os
import re
import shutil
import tempfile
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from realtime.errors import SinkError

MAX_STEM = 60
MAX_SUFFIX = 10
"""Characters of a file's name that begin and end that of its unfinished copy."""
RANDOM_PART = re.compile(r"-[a-z0-9_]{8}\.partial")
"""What ``tempfile`` puts into the name of an unfinished copy."""
_UMASK_LOCK = threading.Lock()


def partial_path(path: Path) -> Path:
    """Name beside ``path`` under which a file is written until it is whole.

    Raises:
        SinkError: the folder does not exist or cannot be written to.
    """
    try:
        if not path.parent.is_dir():
            raise SinkError(f"cannot write {path}: folder {path.parent} does not exist", value=path)
        if path.exists() and not path.is_file():
            raise SinkError(
                f"cannot write {path}: it is {'a folder' if path.is_dir() else 'not a regular file'}", value=path
            )
        suffix = _shortened(path.suffix)[:MAX_SUFFIX]
        handle, name = tempfile.mkstemp(
            prefix=f".{_shortened(path.stem)}-", suffix=f".partial{suffix}", dir=path.parent
        )
    except OSError as error:  # the name is too long, for example
        raise SinkError(f"cannot write {path}: {error.strerror}", value=path) from error
    os.close(handle)
    Path(name).chmod(0o666 & ~_umask())  # mkstemp's files are for their owner alone
    return Path(name)


def partial_folder(folder: Path) -> Path:
    """A new folder beside ``folder`` in which its files are written until it is whole.

    Raises:
        SinkError: there is something of that name already, or nothing can be made beside it.
    """
    try:
        if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
            raise SinkError(
                f"cannot write to {folder}: it is not an empty folder", value=folder, remedy="choose another name"
            )
        if not folder.parent.is_dir():
            raise SinkError(f"cannot write to {folder}: folder {folder.parent} does not exist", value=folder)
        partial = Path(tempfile.mkdtemp(prefix=f".{_shortened(folder.name)}-", suffix=".partial", dir=folder.parent))
    except OSError as error:
        raise SinkError(f"cannot write to {folder}: {error.strerror}", value=folder) from error
    partial.chmod(0o777 & ~_umask())  # as mkstemp's
    return partial


def remove_partials(paths: Iterable[Path]) -> None:
    """Remove the unfinished copies of files and folders that processes left behind which were killed.

    No living process may be writing to these paths.
    """
    by_folder: dict[Path, set[str]] = {}
    for path in paths:
        names = (path.stem, _shortened(path.suffix)[:MAX_SUFFIX]), (path.name, "")  # of a file, of a folder
        by_folder.setdefault(path.parent, set()).update(f".{_shortened(name)}-*.partial{end}" for name, end in names)
    for folder, patterns in by_folder.items():
        with suppress(OSError):
            for entry in list(folder.iterdir()):
                if RANDOM_PART.sub("-*.partial", entry.name) in patterns:
                    shutil.rmtree(entry) if entry.is_dir() else entry.unlink(missing_ok=True)


def _shortened(name: str) -> str:
    """The beginning of a name, which leaves room for more: file systems allow 255 bytes, encrypted ones 143.

    In ASCII, since not every library can open other names, and without signs that mean something to one.
    """
    return "".join(char if char.isascii() and (char.isalnum() or char in "-_.") else "_" for char in name[:MAX_STEM])


def _umask() -> int:
    with _UMASK_LOCK:  # it can be asked for only by setting it, for all threads
        mask = os.umask(0)
        os.umask(mask)
    return mask

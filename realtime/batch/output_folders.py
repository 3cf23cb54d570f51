"""Making the folders that the results of many files go to."""

from collections.abc import Iterable
from pathlib import Path

from realtime.batch.addresses import url_of
from realtime.errors import SinkError


def check_folder(folder: Path) -> None:
    """Refuse a folder for results that is not there and cannot be made.

    Raises:
        SinkError: it is a file, or the folder around it does not exist.
    """
    if url_of(folder):
        return
    if folder.exists() and not folder.is_dir():
        raise SinkError(f"cannot write to {folder}: it is a file, not a folder", value=folder)
    if not folder.parent.is_dir():
        raise SinkError(f"cannot write to {folder}: folder {folder.parent} does not exist", value=folder)


def make_folders(folders: Iterable[Path | None]) -> None:
    """Make the folders that are not there, and those around them.

    Raises:
        SinkError: one cannot be made.
    """
    for folder in folders:
        try:
            if folder is not None and not url_of(folder):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SinkError(f"cannot make the folder {folder}: {error.strerror}", value=folder) from error

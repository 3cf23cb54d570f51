"""Files by address (``s3://``, ``gs://``, ``sftp://`` …), through fsspec.

An address is kept as a ``Path``, which writes its two slashes as one: ``s3:/bucket/a.mp4``. ``url_of`` gives it back.
"""

import re
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from realtime.errors import SourceError, one_line
from realtime.file_names import is_hidden

T = TypeVar("T")

URL = re.compile(r"([a-z][a-z0-9+.-]+):/([^/].*)", re.DOTALL)
NOT_STORED = frozenset({"data", "generic", "http", "https", "local", "reference"})
"""Protocols of fsspec that are not for folders of files."""
WHOLE_WRITES = frozenset({"abfs", "az", "gcs", "gs", "memory", "oss", "s3", "s3a"})
"""Protocols of object stores: a file appears when it is whole, and needs no folder."""
VERSIONS = ("ETag", "etag", "md5Hash", "mtime", "LastModified", "last_modified", "updated", "created")
"""What file systems say of a file that changes with its content, the best first."""
MEANT = {ord(sign): 0xE000 + ord(sign) for sign in "#?:\n\r\t"}
"""Signs in names of files that mean something in an address, and private ones that stand for them meanwhile."""
ANSWERS = (FileNotFoundError, FileExistsError, IsADirectoryError, NotADirectoryError, PermissionError)
"""Errors that a new connection would not change."""


def url_of(path: Path) -> str | None:
    """The address that a path stands for; None for a path of this machine."""
    match = URL.fullmatch(str(path))
    if match is None or match[1] not in _protocols() or Path(f"{match[1]}:").exists():
        return None
    return f"{match[1]}://{'/' if match[1] == 'file' else ''}{match[2]}"


def protocol_of(path: Path) -> str:
    """What an address begins with, such as ``s3``."""
    return str(path).partition(":")[0]


@cache
def _protocols() -> frozenset[str]:
    if find_spec("fsspec") is None:
        return frozenset()
    import fsspec

    return frozenset(fsspec.available_protocols()) - NOT_STORED


def opened(path: Path) -> tuple[Any, str]:
    """The file system of an address, and the name that the file has in it.

    Raises:
        SourceError: the package for it is not installed, or it does not answer.
    """
    import fsspec

    url = url_of(path)
    assert url is not None
    try:
        protocol, _, place = url.partition("://")
        server, slash, name = place.partition("/")
        system, name = fsspec.core.url_to_fs(f"{protocol}://{server}{slash}{name.translate(MEANT)}")
    except ImportError as error:
        remedy = "install the package that it names"
        raise SourceError(f"cannot open {url}: {one_line(error)}", value=url, remedy=remedy) from error
    except Exception as error:  # of each file system's own kind
        raise SourceError(f"cannot open {url}: {one_line(error)}", value=url) from error
    return system, name.translate({private: sign for sign, private in MEANT.items()})


def call(path: Path, action: Callable[[Any, str], T]) -> T:
    """What ``action`` gives for the file system of an address and the name in it.

    It is called once more, with a new connection, if it fails: servers drop those that were idle during the work.

    Raises:
        SourceError: as of ``opened``.
        Exception: of the file system.
    """
    system, name = opened(path)
    try:
        return action(system, name)
    except ANSWERS:
        raise
    except Exception:
        type(system).clear_instance_cache()
        return action(*opened(path))


def files_below(folder: Path, is_taken: Callable[[Path], bool]) -> tuple[list[Path], list[Path]]:
    """The files below an address, sorted: those that are taken, and the others; or the file itself.

    Raises:
        SourceError: there is nothing there, or it does not answer.
    """
    root = opened(folder)[1]
    try:
        names = find(folder)
    except Exception as error:
        raise SourceError(f"cannot read {url_of(folder)}: {one_line(error)}", value=folder) from error
    if not names:
        raise SourceError(f"cannot read {url_of(folder)}: not found", value=folder)
    if [name.strip("/") for name in names] == [root.strip("/")]:
        return [folder], []
    places = [Path(name.strip("/")).relative_to(root.strip("/")) for name in names]
    visible = [folder / place for place in places if not any(map(is_hidden, place.parts))]
    taken = [path for path in visible if is_taken(path)]
    return taken, sorted(set(visible).difference(taken))


def find(folder: Path) -> list[str]:
    """The names of all files below an address, sorted, as its file system calls them; none if there is no such folder.

    Raises:
        SourceError: as of ``opened``.
        Exception: a folder cannot be read.
    """

    def find_fresh(system: Any, name: str) -> list[str]:
        system.invalidate_cache()
        errors: list[OSError] = []
        options = {} if protocol_of(folder) in WHOLE_WRITES else {"on_error": errors.append}
        found = sorted(system.find(name, **options))
        if errors and not found:  # else it is a file
            raise errors[0]
        return found

    try:
        return call(folder, find_fresh)
    except FileNotFoundError:
        return []


def describe(path: Path) -> dict[str, Any] | None:
    """Size and version of a file at an address; None if there is none."""

    def info_of(system: Any, name: str) -> dict[str, Any]:
        system.invalidate_cache()  # it may hold the listing of an hour ago
        info: dict[str, Any] = system.info(name)
        return info

    try:
        info = call(path, info_of)
    except Exception:
        return None
    version = next((str(info[key]) for key in VERSIONS if info.get(key) is not None), "")
    return {"size": info.get("size"), "version": version}

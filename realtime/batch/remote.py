"""Files by address (``s3://``, ``gs://``, ``sftp://`` …), through fsspec: copied to the local disk around the work.

An address is kept as a ``Path``, which writes its two slashes as one: ``s3:/bucket/a.mp4``. ``url_of`` gives it back.
"""

import re
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from realtime.batch.tasks import ModelSpec, Outcome, Task, Worker, WorkerSpec, attempt
from realtime.errors import SinkError, SourceError, one_line
from realtime.file_names import is_hidden

URL = re.compile(r"([a-z][a-z0-9+.-]+):/([^/].*)")
NOT_STORED = frozenset({"data", "generic", "http", "https", "local", "reference"})
"""Protocols of fsspec that are not for folders of files."""
WHOLE_WRITES = frozenset({"abfs", "az", "gcs", "gs", "memory", "oss", "s3", "s3a"})
"""Protocols by which a file appears when it is whole."""
VERSIONS = ("ETag", "etag", "md5Hash", "mtime", "LastModified", "last_modified", "updated", "created")
"""What file systems say of a file that changes with its content, the best first."""


def url_of(path: Path) -> str | None:
    """The address that a path stands for; None for a path of this machine."""
    match = URL.fullmatch(str(path))
    if match is None or match[1] not in _protocols() or Path(f"{match[1]}:").exists():
        return None
    return f"{match[1]}://{'/' if match[1] == 'file' else ''}{match[2]}"


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
        found: tuple[Any, str] = fsspec.core.url_to_fs(url)
    except ImportError as error:
        remedy = "install the package that it names"
        raise SourceError(f"cannot open {url}: {one_line(error)}", value=url, remedy=remedy) from error
    except Exception as error:  # of each file system's own kind
        raise SourceError(f"cannot open {url}: {one_line(error)}", value=url) from error
    return found


def files_below(folder: Path, is_taken: Callable[[Path], bool]) -> tuple[list[Path], list[Path]]:
    """The files below an address, sorted: those that are taken, and the others; or the file itself.

    Raises:
        SourceError: there is nothing there, or it does not answer.
    """
    system, root = opened(folder)
    try:
        names = sorted(system.find(root))
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


def describe(path: Path) -> dict[str, Any] | None:
    """Size and version of a file at an address; None if there is none."""
    system, name = opened(path)
    try:
        info = system.info(name)
    except Exception:
        return None
    version = next((str(info[key]) for key in VERSIONS if info.get(key) is not None), "")
    return {"size": info.get("size"), "version": version}


class RemoteStore:
    """Records at an address. As ``Store``, as far as the file system there allows.

    Where it cannot create a file only if there is none, two runs may do a file twice.
    """

    def __init__(self, folder: Path) -> None:
        self._url = url_of(folder)
        self._system, self._root = opened(folder)

    def __str__(self) -> str:
        return str(self._url)

    def read(self, name: str) -> bytes | None:
        """As of ``Store``."""
        try:
            data: bytes = self._system.cat_file(self._path(name))
        except Exception:
            return None
        return data

    def write(self, name: str, data: bytes) -> None:
        """As of ``Store``."""
        try:
            self._make_parent(name)
            self._system.pipe_file(self._path(name), data)
        except Exception as error:
            raise SinkError(f"cannot write {self._url}/{name}: {one_line(error)}", value=name) from error

    def create(self, name: str, data: bytes) -> bool:
        """As of ``Store``."""
        try:
            self._make_parent(name)
            self._system.pipe_file(self._path(name), data, mode="create")
        except FileExistsError:
            return False
        except Exception as error:
            if self._system.exists(self._path(name)):  # not every file system has an error of its own for this
                return False
            raise SinkError(f"cannot write {self._url}/{name}: {one_line(error)}", value=name) from error
        return True

    def remove(self, name: str) -> None:
        """As of ``Store``."""
        with suppress(Exception):
            self._system.rm_file(self._path(name))

    def move(self, name: str, to: str) -> bool:
        """As of ``Store``."""
        try:
            self._make_parent(to)
            self._system.mv(self._path(name), self._path(to))
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
        try:
            self.write(clock, str(time.time()).encode())
            now, then = self._system.modified(self._path(clock)), self._system.modified(self._path(name))
            return float((now - then).total_seconds())
        except Exception:
            return None
        finally:
            self.remove(clock)

    def names(self, folder: str) -> Iterator[str]:
        """As of ``Store``."""
        found: list[str] = []
        with suppress(Exception):
            self._system.invalidate_cache()
            found = self._system.find(self._path(folder))
        for name in found:
            yield name.strip("/").removeprefix(self._root.strip("/")).strip("/")

    def _path(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}"

    def _make_parent(self, name: str) -> None:
        if self._system.protocol not in WHOLE_WRITES:  # object stores have no folders
            self._system.makedirs(self._path(name).rpartition("/")[0], exist_ok=True)


@dataclass(frozen=True, slots=True)
class CopyingSpec:
    """Starts a worker of this process that copies files from and to addresses."""

    inner: WorkerSpec

    def open(self, cores: int | None) -> Worker:
        """As of ``WorkerSpec``."""
        return CopyingWorker(self.inner.open(cores))


@dataclass(frozen=True, slots=True)
class RemoteSpec:
    """Starts workers in other processes that do."""

    inner: ModelSpec

    @property
    def model(self) -> str:
        """As of ``ModelSpec``."""
        return self.inner.model

    def model_bytes(self) -> bytes | None:
        """As of ``ModelSpec``."""
        return self.inner.model_bytes()

    def with_model(self, model: str) -> "RemoteSpec":
        """As of ``ModelSpec``."""
        return RemoteSpec(self.inner.with_model(model))

    def open(self, cores: int | None) -> Worker:
        """As of ``WorkerSpec``."""
        return CopyingWorker(self.inner.open(cores))


class CopyingWorker:
    """Copies what is at an address to the local disk before the work, and results to theirs after it."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def process(self, task: Task) -> Outcome:
        """Carry out one task.

        Raises:
            RealtimeError: a file cannot be copied, or the work fails.
        """
        started_s = time.monotonic()
        with TemporaryDirectory(prefix="realtime-") as folder:
            outputs = {key: _beside(key, path, Path(folder)) for key, path in task.outputs.items()}
            local = replace(task, source=_fetched(task.source, Path(folder)), outputs=outputs)
            names = {str(local.source): _name(task.source)}
            names |= {str(outputs[key]): _name(path) for key, path in task.outputs.items()}
            outcome = _renamed(attempt(self._worker, local), names)
            if outcome.is_written and outcome.exit_code is None:
                for key, path in task.outputs.items():
                    if url_of(path) and local.outputs[key].exists():
                        upload(local.outputs[key], path)
        return replace(outcome, seconds=time.monotonic() - started_s)


def _name(path: Path) -> str:
    return url_of(path) or str(path)


def _renamed(outcome: Outcome, names: dict[str, str]) -> Outcome:
    """With the names that the user knows in place of those of the copies."""

    def renamed(text: str) -> str:
        for local, name in names.items():
            text = text.replace(local, name)
        return text

    error = outcome.error
    if error is not None:
        error = type(error)(renamed(error.message), parameter=error.parameter, value=None, remedy=error.remedy)
    return replace(outcome, error=error, messages=tuple(map(renamed, outcome.messages)))


def _fetched(path: Path, folder: Path) -> Path:
    url = url_of(path)
    if url is None:
        return path
    local = folder / "in" / path.name
    local.parent.mkdir()
    system, name = opened(path)
    try:
        system.get_file(name, str(local))
    except Exception as error:
        raise SourceError(f"cannot read {url}: {one_line(error) or type(error).__name__}", value=url) from error
    return local


def _beside(key: str, path: Path, folder: Path) -> Path:
    return folder / key / path.name if url_of(path) else path


def upload(local: Path, path: Path) -> None:
    """Copy a file to an address, where it appears when it is whole.

    Raises:
        SinkError: it cannot be written.
    """
    system, name = opened(path)
    protocol = str(url_of(path)).partition(":")[0]
    try:
        if protocol in WHOLE_WRITES:
            system.put_file(str(local), name)
            return
        folder, _, last = name.rpartition("/")
        system.makedirs(folder, exist_ok=True)
        partial = f"{folder}/.{last}-{uuid.uuid4().hex[:8]}.partial"
        system.put_file(str(local), partial)
        with suppress(FileNotFoundError):
            system.rm_file(name)
        system.mv(partial, name)
    except Exception as error:
        raise SinkError(f"cannot write {url_of(path)}: {one_line(error)}", value=path) from error

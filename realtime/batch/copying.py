"""Workers that copy files from and to addresses, around the work on the local disk."""

import time
import uuid
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from realtime.batch.addresses import WHOLE_WRITES, call, protocol_of, url_of
from realtime.batch.tasks import ModelSpec, Outcome, Task, Worker, WorkerSpec, attempt
from realtime.errors import SinkError, SourceError, one_line


@dataclass(frozen=True, slots=True)
class CopyingSpec:
    """Starts such a worker in this process."""

    inner: WorkerSpec

    def open(self, cores: int | None) -> Worker:
        """As of ``WorkerSpec``."""
        return CopyingWorker(self.inner.open(cores))


@dataclass(frozen=True, slots=True)
class RemoteSpec(CopyingSpec):
    """Starts such workers in other processes."""

    inner: ModelSpec

    @property
    def model(self) -> str:
        """As of ``ModelSpec``."""
        return self.inner.model

    def model_files(self) -> dict[str, bytes] | None:
        """As of ``ModelSpec``."""
        return self.inner.model_files()

    def with_model(self, model: str) -> "RemoteSpec":
        """As of ``ModelSpec``."""
        return RemoteSpec(self.inner.with_model(model))


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
        with TemporaryDirectory(prefix="realtime-") as name:
            folder = Path(name)
            outputs = {key: folder / key / path.name if url_of(path) else path for key, path in task.outputs.items()}
            local = replace(task, source=_fetched(task.source, folder), outputs=outputs)
            names = {str(local.source): _name(task.source)}
            names |= {str(outputs[key]): _name(path) for key, path in task.outputs.items()}
            outcome = _renamed(attempt(self._worker, local), names)
            if outcome.is_written and outcome.exit_code is None:
                for key, path in task.outputs.items():
                    if url_of(path) and outputs[key].exists():
                        upload(outputs[key], path)
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
    try:
        call(path, lambda system, name: system.get_file(name, str(local)))
    except Exception as error:
        raise SourceError(f"cannot read {url}: {one_line(error) or type(error).__name__}", value=url) from error
    return local


def upload(local: Path, path: Path) -> None:
    """Copy a file to an address, where it appears when it is whole.

    Raises:
        SinkError: it cannot be written.
    """
    put = _put if protocol_of(path) in WHOLE_WRITES else _put_aside
    try:
        call(path, lambda system, name: put(system, local, name))
    except Exception as error:
        raise SinkError(f"cannot write {url_of(path)}: {one_line(error)}", value=path) from error


def _put(system: Any, local: Path, name: str) -> None:
    system.put_file(str(local), name)


def _put_aside(system: Any, local: Path, name: str) -> None:
    """Copy a file under another name, and give it its own then."""
    folder, _, last = name.rpartition("/")
    system.makedirs(folder, exist_ok=True)
    partial = f"{folder}/.{last}-{uuid.uuid4().hex[:8]}.partial"
    try:
        system.put_file(str(local), partial)
        _replace(system, partial, name)
    except BaseException:
        with suppress(Exception):
            system.rm_file(partial)
        raise


def _replace(system: Any, partial: str, name: str) -> None:
    try:
        system.mv(partial, name)
    except Exception:  # some cannot put a file in place of another
        if not (system.exists(name) and system.exists(partial)):
            raise
        system.rm_file(name)
        system.mv(partial, name)

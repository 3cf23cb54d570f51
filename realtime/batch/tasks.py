"""What a batch is made of: tasks, workers that carry them out, and what came of each."""

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self

from realtime.errors import RealtimeError, SourceError, one_line
from realtime.formatting import clock


@dataclass(frozen=True, slots=True)
class Step:
    """A part of the work on a long video, which is done by several workers."""

    kind: str
    """``cut``, ``detect``, ``track``, ``draw`` or ``join``, in this order."""
    folder: Path
    """Where the workers leave what the next ones need."""
    part: int = 0
    part_s: float = 0.0
    """About how long each part is, in seconds."""
    workers: int = 1
    """How many workers the parts are for."""


@dataclass(frozen=True, slots=True)
class Task:
    """One input and where its results go."""

    name: str
    """Its place below the folder of results, with slashes; unique in the batch."""
    source: Path
    outputs: Mapping[str, Path]
    """By parameter, such as ``out`` and ``jsonl``: files, and folders of crops."""
    number: int = 1
    """Position in the batch, from 1."""
    total: int = 1
    """Tasks of the batch."""
    step: Step | None = None
    """None for all of the work at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a task. It can be pickled."""

    error: RealtimeError | None = None
    """What went wrong."""
    is_written: bool = True
    """Whether the results were written all the same, of the part of a damaged file that could be read."""
    frames: int = 0
    faces: int = 0
    seconds: float = 0.0
    """Wall time of the worker."""
    messages: tuple[str, ...] = ()
    """Lines for the user."""
    data: Mapping[str, Any] = field(default_factory=dict)
    """JSON values that are kept with the record."""
    exit_code: int | None = None
    """Set if a signal stopped it; it is then neither done nor failed."""


class Worker(Protocol):
    """Carries out tasks with a model that it loaded once."""

    def process(self, task: Task) -> Outcome:
        """Carry out one task.

        Raises:
            Exception: something that is no ``RealtimeError``; ``attempt`` makes an outcome of it.
        """


class WorkerSpec(Protocol):
    """What a process needs to start a worker. It can be pickled."""

    def open(self, cores: int | None) -> Worker:
        """Load the model.

        Args:
            cores: how many it may use; None for all of this process, as a worker that is alone.

        Raises:
            RealtimeError: it cannot be loaded, which ends the batch.
        """


class ModelSpec(WorkerSpec, Protocol):
    """The same for a process on another machine. It is a dataclass."""

    @property
    def model(self) -> str:
        """Name or path of the model."""

    def model_files(self) -> dict[str, bytes] | None:
        """The contents of the model's files by name, the model itself first; None for one that comes with the app.

        Raises:
            RealtimeError: there is no such file.
        """

    def with_model(self, model: str) -> Self:
        """The same with a copy of the model's file."""


class Executor(Protocol):
    """Has tasks carried out."""

    def run(self, tasks: Iterator[Task]) -> Iterator[tuple[Task, Outcome]]:
        """The outcome of each task, as they come in; a task is taken from the iterator when it can be started.

        An iterator that has no task now is asked again after the next outcome.

        Raises:
            RealtimeError: no worker can be started.
        """

    def close(self) -> None:
        """End all workers, with what they are doing. May be called twice."""

    @property
    def lost_workers(self) -> bool:
        """Whether a worker may have died, and left a half-written file."""


TIMED_OUT = 124
"""Exit code of a process whose task took too long, as that of the program ``timeout``."""


@contextmanager
def time_limit(limit_s: float | None) -> Iterator[None]:
    """End this process if what is done within takes longer: a library that hangs cannot be stopped otherwise."""
    timer = None if limit_s is None else threading.Timer(limit_s, os._exit, (TIMED_OUT,))
    if timer:
        timer.daemon = True
        timer.start()
    try:
        yield
    finally:
        if timer:
            timer.cancel()


def attempt(worker: Worker, task: Task) -> Outcome:
    """Carry out a task; an exception that nobody expected is a failure of this task alone."""
    try:
        return worker.process(task)
    except RealtimeError as error:
        return Outcome(error=error, is_written=False)
    except Exception as error:
        reason = one_line(f"{type(error).__name__}: {error}")
        return Outcome(error=_error(task, reason), is_written=False)


def lost(task: Task, attempts: int, why: str) -> Outcome:
    """The outcome of a task that ended its worker each time."""
    return Outcome(error=_error(task, f"{why} in each of {attempts} attempts"), is_written=False)


def timed_out(task: Task, limit_s: float) -> Outcome:
    """The outcome of a task that took too long."""
    return Outcome(error=_error(task, f"it took longer than {clock(limit_s)}"), is_written=False)


def _error(task: Task, reason: str) -> SourceError:
    return SourceError(f"cannot process {task.source}: {reason}", value=task.source)

"""A batch: what is to be done, who does it, and what came of it."""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Protocol

from realtime.atomic_files import remove_partials
from realtime.batch.addresses import url_of
from realtime.batch.claims import Claims, held_by_others
from realtime.batch.records import Conditions, Record, Records
from realtime.batch.store import Store
from realtime.batch.tasks import Executor, Outcome, Task
from realtime.formatting import counted, listed
from realtime.sinks.crops import remove_crops

POLL_S = 0.5
"""How often a batch looks whether another run has finished what it works on."""
FAILED, SUMMARY = "failed.jsonl", "summary.json"


class Watcher(Protocol):
    """Follows a batch; each task ends with one of the calls."""

    def skipped(self, task: Task, record: Record) -> None:
        """The task was done before, or just now by another run."""

    def finished(self, task: Task, outcome: Outcome) -> None:
        """The task was done, or has failed."""

    def waiting(self, text: str) -> None:
        """Nothing is left but what other runs work on."""

    def idle(self) -> None:
        """Called again and again meanwhile."""


class SilentWatcher:
    """Does nothing."""

    def skipped(self, task: Task, record: Record) -> None:
        """As of ``Watcher``."""

    def finished(self, task: Task, outcome: Outcome) -> None:
        """As of ``Watcher``."""

    def waiting(self, text: str) -> None:
        """As of ``Watcher``."""

    def idle(self) -> None:
        """As of ``Watcher``."""


@dataclass(slots=True)
class Summary:
    """What came of a batch."""

    tasks: int
    done: int = 0
    """By this run, damaged files included."""
    skipped: int = 0
    """Done before."""
    by_others: int = 0
    """Done meanwhile by other runs."""
    frames: int = 0
    faces: int = 0
    """Both of this run."""
    seconds: float = 0.0
    failed: list[tuple[Task, str]] = field(default_factory=list)
    """Those that have no result, or one of a damaged file, each with what is wrong."""
    exit_code: int | None = None
    """Of the signal that stopped it."""
    stopped_at: Task | None = None
    """The task that the signal interrupted, if there is one alone."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        counts = {name: getattr(self, name) for name in ("tasks", "done", "skipped", "by_others", "frames", "faces")}
        rate = round(self.frames / self.seconds, 1) if self.seconds else 0.0
        times = {"seconds": round(self.seconds, 3), "frames_per_s": rate}
        return counts | {"failed": len(self.failed)} | times | {"complete": self.exit_code is None}


class Batch:
    """Has each task done once, whatever happens: skips what is done, shares with other runs, and notes all results."""

    def __init__(
        self,
        tasks: Sequence[Task],
        store: Store,
        conditions: Conditions,
        executor: Executor,
        *,
        resume: bool = False,
        claims: Claims | None = None,
        watcher: Watcher | None = None,
        is_stopped: Callable[[], int | None] = lambda: None,
    ) -> None:
        """Nothing is done yet.

        Args:
            tasks: in the order in which they are begun.
            store: of records and claims.
            conditions: that the results depend on.
            executor: does the tasks; closed at the end.
            resume: skip what earlier runs did with the same input, model, options and version.
            claims: by default those of the store.
            watcher: follows the batch.
            is_stopped: the exit code of the signal that is to end the batch, None before; asked between two tasks.
        """
        self._tasks, self._store, self._executor = tasks, store, executor
        self._conditions = conditions
        self._records = Records(store, conditions)
        self._claims = claims or Claims(store)
        self._resume = resume
        self._watcher = watcher or SilentWatcher()
        self._is_stopped = is_stopped
        self._begun: dict[str, Task] = {}
        self.summary = Summary(len(tasks))

    def run(self) -> Summary:
        """Do all tasks; what is wrong with one does not stop the others.

        Raises:
            RealtimeError: no worker can be started, or nothing can be written.
        """
        started_s = time.monotonic()
        with ExitStack() as closing:
            closing.callback(self._write_reports)
            closing.callback(self._give_up)
            closing.callback(self._executor.close)
            closing.callback(lambda: setattr(self.summary, "seconds", time.monotonic() - started_s))
            self._clear_stale()
            self._run_all()
            if self._executor.lost_workers and self.summary.exit_code is None:
                _remove_partials(self._tasks)
        return self.summary

    def _clear_stale(self) -> None:
        """Remove what runs have left that were killed."""
        left = set(self._claims.join_others())
        _remove_partials(task for task in self._tasks if task.name in left)

    def _give_up(self) -> None:
        """Leave nothing half-done of what was begun; another run may take it."""
        _remove_partials(self._begun.values())
        self._claims.close()

    def _run_all(self) -> None:
        left: Sequence[Task] = self._tasks
        while left and not self._has_ended():
            later: list[Task] = []
            for task, outcome in self._executor.run(self._claimed(left, later)):
                self._finish(task, outcome)
            if len(later) == len(left):
                self._wait(later)
            left = later
        if self._begun:  # the executor has ended before its tasks
            self._has_ended()

    def _has_ended(self) -> bool:
        if self.summary.exit_code is None:
            self.summary.exit_code = self._is_stopped()
        return self.summary.exit_code is not None

    def _claimed(self, tasks: Sequence[Task], later: list[Task]) -> Iterator[Task]:
        """Those that are to be done, each claimed; what others work on goes to ``later``."""
        for task in tasks:
            if self._has_ended():
                return
            if self._skip_if_done(task):
                continue
            if not self._claims.take(task.name):
                later.append(task)
            elif self._skip_if_done(task):  # in the moment before
                self._claims.release(task.name)
            else:
                self._records.begin(task)
                self._begun[task.name] = task
                if task.name in self._claims.taken_over:
                    _remove_partials([task])
                if self._resume and "crops" in task.outputs:
                    remove_crops(task.outputs["crops"])  # they are half-done, or of other options
                yield task

    def _skip_if_done(self, task: Task) -> bool:
        record = self._records.read(task)
        if record is None:
            return False
        # By a run at the same time; whatever came of it, it need not be tried again.
        is_fresh = record.session == self._claims.session and self._records.is_of(record, task)
        if not (is_fresh or (self._resume and self._records.is_valid(record, task))):
            return False
        if is_fresh:
            self.summary.by_others += 1
        else:
            self.summary.skipped += 1
        if record.error is not None:
            self.summary.failed.append((task, record.error))
        self._watcher.skipped(task, record)
        return True

    def _finish(self, task: Task, outcome: Outcome) -> None:
        del self._begun[task.name]
        if outcome.exit_code is not None:
            self.summary.exit_code, self.summary.stopped_at = outcome.exit_code, task
            self._claims.release(task.name)
            return
        record = self._records.write(task, outcome, self._claims.session)
        self._claims.release(task.name)
        if outcome.is_written:
            self.summary.done += 1
        if record.error is not None:
            self.summary.failed.append((task, record.error))
        self.summary.frames += outcome.frames
        self.summary.faces += outcome.faces
        self._watcher.finished(task, outcome)

    def _wait(self, tasks: Sequence[Task]) -> None:
        """Wait a moment for other runs."""
        hosts = held_by_others(self._store, [task.name for task in tasks[:100]])
        where = f" on {listed(hosts)}" if hosts else ""
        self._watcher.waiting(f"waiting for {counted(len(tasks), 'file')} that another run{where} works on")
        self._watcher.idle()
        time.sleep(POLL_S)

    def _write_reports(self) -> None:
        lines = [
            json.dumps({"name": task.name, "input": url_of(task.source) or str(task.source), "error": error}) + "\n"
            for task, error in self.summary.failed
        ]
        if lines:
            self._store.write(FAILED, "".join(lines).encode())
        else:
            self._store.remove(FAILED)
        text = json.dumps(self.summary.to_dict() | self._conditions.to_dict(), indent=2)
        self._store.write(SUMMARY, text.encode() + b"\n")


def _remove_partials(tasks: Iterable[Task]) -> None:
    remove_partials(path for task in tasks for path in task.outputs.values())

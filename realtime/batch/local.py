"""Tasks carried out on this machine: in this process, or in several."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing import connection

from realtime.batch.tasks import (
    TIMED_OUT,
    Executor,
    Outcome,
    Task,
    Worker,
    WorkerSpec,
    attempt,
    lost,
    time_limit,
    timed_out,
)
from realtime.errors import RealtimeError
from realtime.inference.cores import core_count
from realtime.inference.ordered_pool import OrderedPool
from realtime.stopping import Stopped, stop_signals

MAX_ATTEMPTS = 3
"""A task that ends its worker so often, by a crash or for want of memory, is given up."""
POLL_S = 0.2
"""How often a signal is looked for while workers work."""
END_S = 5.0
"""How long a worker that was asked to end may take."""


class ThreadExecutor(Executor):
    """Carries out tasks in this process: in the caller's thread, or in several threads, with results in order."""

    def __init__(self, spec: WorkerSpec, threads: int = 1) -> None:
        """The model is loaded when there is something to do."""
        self._spec = spec
        self._threads = threads
        self._worker: Worker | None = None

    def run(self, tasks: Iterator[Task]) -> Iterator[tuple[Task, Outcome]]:
        """As of ``Executor``."""
        pool = OrderedPool(self._process, self._threads, name="detect")
        try:
            yield from pool.map(self._opened(tasks))
        finally:
            pool.close()

    def close(self) -> None:
        """Nothing is left to end."""

    @property
    def lost_workers(self) -> bool:
        """As of ``Executor``."""
        return False

    def _opened(self, tasks: Iterator[Task]) -> Iterator[Task]:
        for task in tasks:
            self._worker = self._worker or self._spec.open(None)
            yield task

    def _process(self, task: Task) -> tuple[Task, Outcome]:
        assert self._worker is not None
        return task, attempt(self._worker, task)


class ProcessExecutor(Executor):
    """Carries out tasks in worker processes, each with a model and a share of the cores.

    A worker that dies is replaced, and its task is done again, at most ``MAX_ATTEMPTS`` times in all; it is known which
    one it was, since each worker has one task. Workers end with this process, however it ends.
    """

    def __init__(
        self,
        spec: WorkerSpec,
        workers: int,
        *,
        limit_s: float | None = None,
        is_stopped: Callable[[], object] = lambda: None,
    ) -> None:
        """No process runs yet.

        Args:
            spec: of the workers.
            workers: how many.
            limit_s: seconds after which a task is given up; None for no limit.
            is_stopped: asked while they work; once it is neither None nor False, ``run`` ends.
        """
        self._start = partial(_WorkerProcess, spec, max(1, core_count() // workers), limit_s)
        self._count = workers
        self._is_stopped = is_stopped
        self._workers: list[_WorkerProcess] = []
        self._has_lost = False

    @property
    def lost_workers(self) -> bool:
        """As of ``Executor``."""
        return self._has_lost

    def run(self, tasks: Iterator[Task]) -> Iterator[tuple[Task, Outcome]]:
        """As of ``Executor``."""
        again: list[_Attempt] = []
        while not self._is_stopped():
            while self._can_start():
                job = again.pop() if again else self._next(tasks)
                if job is None:
                    break
                self._idle_worker().begin(job)
                if job.task.step is not None:  # others follow soon, for all workers
                    self._start_all()
            busy = [worker for worker in self._workers if worker.job is not None]
            if not busy:
                return
            for worker in self._ready(busy):
                job, outcome = worker.result()
                if worker.has_ended:
                    self._workers.remove(worker)
                    self._has_lost = True
                if outcome is not None:
                    yield job.task, outcome
                elif job.number < MAX_ATTEMPTS:
                    again.append(_Attempt(job.task, job.number + 1))
                else:
                    yield job.task, lost(job.task, job.number, "its worker process ended (out of memory, or a crash)")

    def close(self) -> None:
        """End the workers, with what they are doing."""
        for worker in self._workers:
            worker.ask_to_end()
        limit_s = time.monotonic() + END_S
        for worker in self._workers:
            worker.end(limit_s)
        self._workers.clear()

    def _next(self, tasks: Iterator[Task]) -> "_Attempt | None":
        task = next(tasks, None)
        return None if task is None else _Attempt(task)

    def _can_start(self) -> bool:
        return len(self._workers) < self._count or any(worker.job is None for worker in self._workers)

    def _idle_worker(self) -> "_WorkerProcess":
        for worker in self._workers:
            if worker.job is None:
                return worker
        self._workers.append(self._start())
        return self._workers[-1]

    def _start_all(self) -> None:
        while len(self._workers) < self._count:
            self._workers.append(self._start())

    @staticmethod
    def _ready(busy: "list[_WorkerProcess]") -> "list[_WorkerProcess]":
        ready = connection.wait([worker.pipe for worker in busy], timeout=POLL_S)
        return [worker for worker in busy if worker.pipe in ready]


@dataclass(frozen=True, slots=True)
class _Attempt:
    task: Task
    number: int = 1


class _WorkerProcess:
    """A process that does one task after the other."""

    def __init__(self, spec: WorkerSpec, cores: int, limit_s: float | None) -> None:
        # A forked process would inherit threads and locks of the libraries in use.
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.job: _Attempt | None = None
        self.has_ended = False
        self._limit_s = limit_s
        arguments = (theirs, spec, cores, limit_s)
        self._process = context.Process(target=_serve, args=arguments, name="batch worker", daemon=True)
        self._process.start()
        theirs.close()

    def begin(self, job: _Attempt) -> None:
        """Send a task."""
        self.job = job
        with suppress(OSError):  # it has died; ``result`` says so
            self.pipe.send(job.task)

    def result(self) -> tuple[_Attempt, Outcome | None]:
        """The task and its outcome, which has arrived; None if the process has died of it.

        Raises:
            RealtimeError: it cannot load its model.
        """
        job, self.job = self.job, None
        assert job is not None
        try:
            reply = self.pipe.recv()
        except (EOFError, OSError):
            exit_code = self.end(time.monotonic() + END_S)
            if self._limit_s is not None and exit_code == TIMED_OUT:
                return job, timed_out(job.task, self._limit_s)
            return job, None
        if isinstance(reply, RealtimeError):
            raise reply
        return job, reply

    def ask_to_end(self) -> None:
        """Stop its task, if it has one."""
        if self.job is not None:
            self._process.terminate()
        self.pipe.close()

    def end(self, limit_s: float) -> int | None:
        """Wait for its end until a time of the monotonic clock, then force it; its exit code."""
        self.has_ended = True
        self.pipe.close()
        self._process.join(max(0.0, limit_s - time.monotonic()))
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        exit_code = self._process.exitcode
        self._process.close()
        return exit_code


def _serve(pipe: connection.Connection, spec: WorkerSpec, cores: int, limit_s: float | None) -> None:
    """What a worker process does until the pipe is closed."""
    for number in stop_signals():
        signal.signal(number, signal.SIG_IGN)  # Ctrl+C reaches the whole group, and the parent decides
    signal.signal(signal.SIGTERM, _stop)
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
    with suppress(EOFError, OSError, Stopped):
        try:
            worker = spec.open(cores)
        except RealtimeError as error:
            pipe.send(error)
            return
        while True:
            task = pipe.recv()
            with time_limit(limit_s):
                outcome = attempt(worker, task)
            pipe.send(outcome)


def _stop(number: int, _frame: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Stopped(number)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)

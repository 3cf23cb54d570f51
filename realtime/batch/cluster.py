"""Tasks carried out on a cluster, by Ray: it places them, and repeats those whose worker or machine dies."""

import logging
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from realtime.batch.local import MAX_ATTEMPTS
from realtime.batch.tasks import Executor, ModelSpec, Outcome, Task, Worker, attempt, lost, time_limit
from realtime.errors import RealtimeError, Remedy, SinkError, one_line
from realtime.formatting import clock
from realtime.inference.cores import core_count
from realtime.stopping import stop_signals

if TYPE_CHECKING:
    from tempfile import TemporaryDirectory

POLL_S = 0.2
"""How often a signal is looked for."""
END_S = 5.0
"""How long workers may take that were asked to end."""
LOCAL, ENVIRONMENT = "ray", "auto"
"""A Ray of this run's own, on this machine; the cluster that the environment names."""
STORE_BYTES = 100 << 20
"""Object store of a Ray of this run's own: it holds tasks and outcomes, no frames."""
QUEUE = 0.5
"""Tasks that wait at the cluster, as a share of those that it can run: no worker is idle, and an autoscaler sees that
there is more to do."""
SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_task_oom_retries": str(MAX_ATTEMPTS - 1),
    "RAY_raylet_start_wait_time_s": "120",
}
"""Of Ray: nothing leaves the machine; a task that needs more memory than there is, is not repeated for ever; a machine
that is busy may take its time to start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Which Ray, and what each task needs of it."""

    address: str
    """``ray``, ``auto`` or ``ray://HOST:PORT``."""
    cpus: float = 1
    """Of each worker."""
    gpus: float = 0
    """Of each worker; 0.5 for two workers on one."""
    workers: int | None = None
    """Tasks at a time, at most; None for as many as fit."""
    limit_s: float | None = None
    """Seconds after which a task is given up; None for no limit."""


class RayExecutor(Executor):
    """Has tasks carried out by the workers of a Ray cluster.

    They are Ray's tasks, not actors, so that Ray itself starts as many as fit, on machines that join later too, and
    repeats a task anywhere else when a worker or a machine dies; an actor would wait for a machine of its own. Ray
    uses its worker processes again, and each loads the model once.
    """

    def __init__(self, spec: ModelSpec, cluster: Cluster, *, is_stopped: Callable[[], object] = lambda: None) -> None:
        """Nothing is started yet.

        Args:
            spec: of the workers.
            cluster: where they run.
            is_stopped: asked while they work; once it is neither None nor False, ``run`` ends.
        """
        self._spec = spec
        self._cluster = cluster
        self._is_stopped = is_stopped
        self._ray: Any = None
        self._submit: Callable[[Task], Any] | None = None
        self._running: dict[Any, Task] = {}

    def run(self, tasks: Iterator[Task]) -> Iterator[tuple[Task, Outcome]]:
        """As of ``Executor``."""
        while not self._is_stopped():
            while len(self._running) < self._room() and (task := next(tasks, None)) is not None:
                self._begin(task)
            if not self._running:
                return
            done, _ = self._ray.wait(list(self._running), num_returns=1, timeout=POLL_S)
            for reference in done:
                task = self._running.pop(reference)
                yield task, self._outcome(task, reference)

    @property
    def lost_workers(self) -> bool:
        """As of ``Executor``: Ray does not tell whether it has repeated a task."""
        return True

    def close(self) -> None:
        """End the tasks, and a Ray of this run's own; from a cluster, this run signs off."""
        if self._ray is None:
            return
        running = list(self._running)
        with suppress(Exception):  # the cluster may be gone
            for reference in running:
                self._ray.cancel(reference, force=False)
            left = self._ray.wait(running, num_returns=len(running), timeout=END_S)[1] if running else []
            for reference in left:
                self._ray.cancel(reference, force=True)
        self._running.clear()
        self._ray.shutdown()
        self._ray = None

    def _begin(self, task: Task) -> None:
        if self._submit is None:
            self._submit = self._connect()
        self._running[self._submit(task)] = task

    def _outcome(self, task: Task, reference: Any) -> Outcome:
        from ray.exceptions import OutOfMemoryError, RayError, RayTaskError

        try:
            outcome = self._ray.get(reference)
        except OutOfMemoryError:
            return lost(task, MAX_ATTEMPTS, "its worker ran out of memory")
        except RayTaskError as error:  # not of the file: it cannot even be handed to the worker
            last = str(error).strip().splitlines()[-1]
            reason = f"a worker cannot start: {one_line(last, 200)}"
            remedy = "install the same version of the app and of Ray on all machines"
            raise SinkError(reason, parameter="on", value=self._cluster.address, remedy=remedy) from error
        except RayError as error:
            limit_s = self._cluster.limit_s
            why = one_line(error, 120) if limit_s is None else f"after {clock(limit_s)} at the latest"
            return lost(task, MAX_ATTEMPTS, f"its worker ended ({why})")
        if isinstance(outcome, RealtimeError):  # the model cannot be loaded, whatever the file
            raise outcome
        result: Outcome = outcome
        return result

    def _room(self) -> int:
        """Tasks that may be at the cluster."""
        if self._cluster.workers is not None:
            return self._cluster.workers
        if self._ray is None:
            return 1
        found = self._ray.cluster_resources()
        needs = {"CPU": self._cluster.cpus, "GPU": self._cluster.gpus}
        places = [found.get(name, 0) / need for name, need in needs.items() if need]
        running = max(1, int(min(places, default=1)))
        return running + max(1, int(QUEUE * running))

    def _connect(self) -> Callable[[Task], Any]:
        """Start or find Ray; what gives it a task.

        Raises:
            RealtimeError: it is not installed or not there, or the model cannot be read.
        """
        model = self._spec.model_files()
        self._ray = _open_ray(self._cluster)
        options = {"num_cpus": self._cluster.cpus, "num_gpus": self._cluster.gpus}
        # By default, a worker with a GPU would end after each task.
        remote = self._ray.remote(max_retries=MAX_ATTEMPTS - 1, max_calls=0, **options)(_process)
        sent = None if model is None else self._ray.put(model)
        cores, folder = max(1, int(self._cluster.cpus)), str(Path.cwd())
        return lambda task: remote.remote(self._spec, sent, cores, folder, task, self._cluster.limit_s)


def _open_ray(cluster: Cluster) -> Any:
    """Start or find Ray.

    Raises:
        SinkError: it is not installed, or not there.
    """
    os.environ.update({name: value for name, value in SETTINGS.items() if name not in os.environ})
    try:
        import ray
    except ModuleNotFoundError as error:
        remedy = "pip install 'facial-feature-rcnn[cluster]'"
        raise SinkError("Ray is not installed", parameter="on", value=cluster.address, remedy=remedy) from error
    handlers = {number: signal.getsignal(number) for number in stop_signals()}
    options: dict[str, Any] = {"address": cluster.address}
    if cluster.address == LOCAL:
        cpus = max(core_count(), int(cluster.cpus))
        options = {"address": "local", "num_cpus": cpus, "object_store_memory": STORE_BYTES, "include_dashboard": False}
    try:
        ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)
    except Exception as error:  # of several kinds, those of gRPC among them
        is_own = cluster.address == LOCAL
        reason = f"{'Ray does not start' if is_own else 'no Ray cluster answers'}: {one_line(error, 200)}"
        other = (
            Remedy()
            if is_own
            else Remedy(
                "start Ray on a machine, and set RAY_AUTH_MODE=token if it asks for a token",
                parameter="on",
                values=(LOCAL,),
            )
        )
        raise SinkError(reason, parameter="on", value=cluster.address, remedy=other) from error
    finally:
        for number, handler in handlers.items():  # Ray has set its own
            signal.signal(number, handler)
    return ray


_workers: dict[str, Worker] = {}
"""The worker of this process, by what it was made of."""
_folders: list["TemporaryDirectory[str]"] = []
"""Of the model's files, if it was sent from another machine; they go with its worker."""


def _process(
    spec: ModelSpec, model: dict[str, bytes] | None, cores: int, folder: str, task: Task, limit_s: float | None
) -> Outcome | RealtimeError:
    """Carry out one task in a worker process of Ray; an error is that of loading the model."""
    with suppress(OSError):  # paths may be relative to it; on another machine it need not exist
        os.chdir(folder)
    key = repr(spec)
    if key not in _workers:
        try:
            _workers.clear()
            while _folders:
                _folders.pop().cleanup()
            _workers[key] = _open_worker(spec, model, cores)
        except RealtimeError as error:
            return error
    with time_limit(limit_s):
        return attempt(_workers[key], task)


def _open_worker(spec: ModelSpec, model: dict[str, bytes] | None, cores: int) -> Worker:
    if model is None:
        return spec.open(cores)
    from tempfile import TemporaryDirectory

    _folders.append(TemporaryDirectory())  # one of the files may be opened later
    folder = Path(_folders[-1].name)
    for name, content in model.items():
        (folder / name).write_bytes(content)
    return spec.with_model(str(folder / next(iter(model)))).open(cores)

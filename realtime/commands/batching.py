"""Running a batch for a command: its options, where its records lie, and what is printed."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from realtime.commands.console import Notices, print_error, print_message, printable
from realtime.errors import RealtimeError, SinkError
from realtime.formatting import counted
from realtime.stopping import StopRequests

if TYPE_CHECKING:
    from realtime.batch.batch import Summary, Watcher
    from realtime.batch.progress import BatchProgress
    from realtime.batch.records import Conditions, Record
    from realtime.batch.store import Store
    from realtime.batch.tasks import Executor, ModelSpec, Outcome, Task

BATCH = "Many files"
MAX_NAMED = 5
"""Failed files that are named in the last line."""

Resume = Annotated[
    bool,
    typer.Option(
        "--resume",
        help="Skip what is done already with the same input, model, options and version.",
        rich_help_panel=BATCH,
    ),
]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Say what would be done, and about how long it takes.", rich_help_panel=BATCH),
]
Workers = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="Processes that work at the same time, each on a file of its own; by default this one alone.",
        rich_help_panel=BATCH,
    ),
]

FileTimeout = Annotated[
    str | None,
    typer.Option(
        metavar="TIME",
        help="Give up a file that takes longer, and go on: seconds or hh:mm:ss. It is done in a process of its own.",
        rich_help_panel=BATCH,
    ),
]
On = Annotated[
    str | None,
    typer.Option(
        "--on",
        metavar="ray|auto|ray://HOST:PORT",
        help="Work on Ray: one of this run's own, the cluster of the environment, or the one at this address.",
        rich_help_panel=BATCH,
    ),
]
CpusPerWorker = Annotated[
    float, typer.Option(min=0, help="Cores of each worker on Ray.", rich_help_panel=BATCH, show_default=True)
]
GpusPerWorker = Annotated[
    float, typer.Option(min=0, help="GPUs of each worker on Ray; 0.5 for two on one.", rich_help_panel=BATCH)
]


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchOptions:
    """What the user may choose of a batch."""

    resume: bool = False
    dry_run: bool = False
    workers: int | None = None
    limit_s: float | None = None
    """Seconds after which a file, or a step of the work on a long video, is given up."""
    on: str | None = None
    """Which Ray; None for this machine without it."""
    cpus_per_worker: float = 1
    gpus_per_worker: float = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be meant.

        Raises:
            SinkError: an unknown place, or options of Ray without it.
        """
        if self.on is not None and self.on not in {"ray", "auto"} and not self.on.startswith("ray://"):
            remedy = "choose ray, auto or ray://HOST:PORT"
            raise SinkError("there is no such place to work", parameter="on", value=self.on, remedy=remedy)
        if self.on is None and (self.cpus_per_worker, self.gpus_per_worker) != (1, 0):
            raise SinkError("--cpus-per-worker and --gpus-per-worker are for Ray: add --on", value=None)

    @property
    def is_default(self) -> bool:
        """Whether nothing was chosen."""
        return self == BatchOptions()

    @property
    def is_elsewhere(self) -> bool:
        """Whether other processes do the work."""
        return self.on is not None or (self.workers or 1) > 1 or self.limit_s is not None

    def check_written(self, *outputs: Path | None) -> None:
        """Refuse options that need something to be written.

        Raises:
            SinkError: nothing is.
        """
        chosen = {
            "--resume": self.resume,
            "--dry-run": self.dry_run,
            "--workers": self.workers is not None,
            "--file-timeout": self.limit_s is not None,
            "--on": self.on is not None,
        }
        for option in (option for option, is_chosen in chosen.items() if is_chosen):
            if not any(outputs):
                raise SinkError(f"{option} is for results that are written to files: name some", value=option)


def executor_for(options: BatchOptions, spec: "ModelSpec", requests: StopRequests) -> "Executor":
    """What carries out tasks in other processes."""
    from realtime.batch.cluster import Cluster, RayExecutor
    from realtime.batch.local import ProcessExecutor

    if options.on is not None:
        cluster = Cluster(
            address=options.on,
            cpus=options.cpus_per_worker,
            gpus=options.gpus_per_worker,
            workers=options.workers,
            limit_s=options.limit_s,
        )
        return RayExecutor(spec, cluster, is_stopped=requests.is_stopped)
    workers = options.workers or 1
    return ProcessExecutor(spec, workers, limit_s=options.limit_s, is_stopped=requests.is_stopped)


def store_for(folder: Path) -> "Store":
    """The records in a folder or at an address.

    Raises:
        SourceError: the address does not answer.
    """
    from realtime.batch.addresses import url_of
    from realtime.batch.remote_store import RemoteStore
    from realtime.batch.store import FolderStore

    return RemoteStore(folder) if url_of(folder) else FolderStore(folder)


def is_remote(tasks: "Sequence[Task]") -> bool:
    """Whether files are at addresses."""
    from realtime.batch.addresses import url_of

    return any(url_of(path) for task in tasks for path in (task.source, *task.outputs.values()))


def conditions_for(model: str, options: dict[str, Any]) -> "Conditions":
    """What the results depend on.

    Raises:
        ModelError: there is no such model.
    """
    from realtime.batch.records import Conditions, hash_file, package_version
    from realtime.inference.companions import Companion
    from realtime.inference.detector import companion_file, find_model

    path = find_model(model)
    hashes = "+".join(hash_file(file) for file in (path, companion_file(path, Companion.WIDE)) if file)
    return Conditions(hashes, options, package_version())


def size_of(task: "Task") -> int:
    """Bytes of its input; 0 if that is not known."""
    from realtime.batch.addresses import url_of

    if url_of(task.source):
        return 1  # to ask for each would take long: files count the same
    with suppress(OSError):
        return task.source.stat().st_size
    return 0


def run_batch(
    tasks: "Sequence[Task]",
    store: "Store",
    conditions: "Conditions",
    make_executor: "Callable[[StopRequests], Executor]",
    options: BatchOptions,
    watcher: "Watcher",
    requests: StopRequests,
) -> "Summary":
    """Do all tasks.

    Raises:
        RealtimeError: no worker can be started, or nothing can be written.
    """
    from realtime.batch.batch import Batch

    batch = Batch(
        tasks,
        store,
        conditions,
        make_executor(requests),
        resume=options.resume,
        watcher=watcher,
        is_stopped=lambda: requests.exit_code,
    )
    return batch.run()


def open_display(tasks: "Sequence[Task]", noun: str) -> "BatchProgress":
    """The display of a batch."""
    from realtime.batch.progress import BatchProgress

    return BatchProgress(len(tasks), sum(map(size_of, tasks)), noun)


class PrintingWatcher:
    """Prints the lines of each task as it ends, above the progress of all."""

    def __init__(self, progress: "BatchProgress", notices: Notices) -> None:
        self._progress = progress
        self._notices = notices
        self._has_said_waiting = False

    def skipped(self, task: "Task", record: "Record") -> None:
        """As of ``Watcher``."""
        self._progress.skip(size_of(task))
        if record.error is not None:
            self._progress.hide()
            print_error(RealtimeError(record.error, value=task.source))

    def finished(self, task: "Task", outcome: "Outcome") -> None:
        """As of ``Watcher``."""
        self._progress.hide()
        if outcome.error is None:
            self._notices.print()
        for line in outcome.messages:
            print_message(line)
        if outcome.error is not None:
            print_error(outcome.error)
        self._progress.finish(size_of(task), outcome.frames)

    def waiting(self, text: str) -> None:
        """As of ``Watcher``."""
        if not self._has_said_waiting:
            self._progress.hide()
            print_message(text)
        self._has_said_waiting = True

    def idle(self) -> None:
        """As of ``Watcher``."""
        self._progress.refresh()


def closing_line(summary: "Summary", noun: str, store: "Store") -> str:
    """How a batch ended: how many files, how many of them were done before, and which failed."""
    from realtime.batch.batch import FAILED

    parts = [counted(summary.tasks, noun)]
    if summary.skipped:
        parts.append(f"{summary.skipped} done before")
    if summary.by_others:
        parts.append(f"{summary.by_others} done by another run")
    if summary.failed:
        names = [printable(task.source) for task, _ in summary.failed[:MAX_NAMED]]
        more = len(summary.failed) - MAX_NAMED
        rest = f" and {counted(more, 'other')}, all in {printable(store)}/{FAILED}" if more > 0 else ""
        parts.append(f"{len(summary.failed)} with errors: {', '.join(names)}{rest}")
    return ", ".join(parts)

"""Many videos, or one that several workers share: ``realtime video`` with results in files."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from realtime.commands.batching import (
    BatchOptions,
    PrintingWatcher,
    closing_line,
    conditions_for,
    executor_for,
    is_remote,
    open_display,
    run_batch,
    size_of,
    store_for,
)
from realtime.commands.console import Notices, print_message
from realtime.commands.opening import open_detector, speed_notices
from realtime.commands.video_worker import VideoEstimator, VideoSpec, VideoWorker
from realtime.errors import SinkError
from realtime.inference.cores import file_concurrency
from realtime.stopping import StopRequests

if TYPE_CHECKING:
    from realtime.batch.batch import Summary
    from realtime.batch.progress import BatchProgress
    from realtime.batch.store import Store
    from realtime.batch.tasks import Executor, ModelSpec, Task, WorkerSpec
    from realtime.batch.videos import Job, Targets


FILES_PER_WORKER = 4
"""With more files than that for each worker, long ones are not cut: all workers have enough to do, and parts of a video
are read twice."""
WORKERS_OF_CLUSTER = 16
"""Of a cluster, if the user does not say how many."""


def do_videos(
    jobs: "Sequence[Job]",
    targets: "Targets",
    spec: VideoSpec,
    options: BatchOptions,
    notices: Sequence[str],
    *,
    many: bool,
) -> None:
    """Do all videos; what is wrong with one does not stop the others.

    Args:
        jobs: the videos, and where their results go.
        targets: what the user named.
        spec: of the workers.
        options: of the batch.
        notices: lines that are printed when the first video is open.
        many: whether ``targets`` are folders.

    Raises:
        RealtimeError: there is no such model, or nothing can be written.
        typer.Exit: a video has errors, or a signal stopped the batch.
    """
    from realtime.batch.addresses import url_of
    from realtime.batch.output_folders import make_folders
    from realtime.batch.store import FOLDER

    first = targets.paths[0]
    if targets.crops is not None and url_of(targets.crops):
        raise SinkError("crops are written to folders of this machine", parameter="crops", value=targets.crops)
    store = store_for((first if many else first.parent) / FOLDER)
    tasks = tasks_of(jobs)
    conditions = conditions_for(spec.model, spec.settings.to_dict())
    if options.dry_run:
        from realtime.commands.estimate import print_estimate

        estimator = None if is_remote(tasks) else VideoEstimator(spec)
        print_estimate(tasks, store, conditions, estimator, "video", resume=options.resume)
        return
    if many:
        make_folders(targets.paths)
    progress = open_display(tasks, "video")
    lines = Notices(notices)
    here = _Here(spec, lines, progress)
    with StopRequests() as requests:
        try:
            summary = run_batch(
                tasks,
                store,
                conditions,
                lambda requests: _executor(tasks, store, here, spec, options, requests),
                options,
                PrintingWatcher(progress, lines),
                requests,
            )
        finally:
            progress.close()
    _exit(summary, store)


def _executor(
    tasks: "Sequence[Task]",
    store: "Store",
    here: "WorkerSpec",
    there: "ModelSpec",
    options: BatchOptions,
    requests: StopRequests,
) -> "Executor":
    """What carries out the tasks: ``here`` is the worker of this process, ``there`` one of another."""
    from realtime.batch import segmented
    from realtime.batch.copying import CopyingSpec, RemoteSpec
    from realtime.batch.local import ThreadExecutor

    is_copied = is_remote(tasks)
    if not options.is_elsewhere:
        return ThreadExecutor(CopyingSpec(here) if is_copied else here)
    executor = executor_for(options, RemoteSpec(there) if is_copied else there, requests)
    workers = options.workers or (WORKERS_OF_CLUSTER if options.on else 1)
    if is_copied or workers == 1 or len(tasks) >= FILES_PER_WORKER * workers:
        return executor
    folder = Path(str(store)) / segmented.FOLDER
    return segmented.SegmentedExecutor(executor, folder, part_s=segmented.PART_S, workers=workers)


def _exit(summary: "Summary", store: "Store") -> None:
    """Say how the batch ended, and exit if it did not end well."""
    if summary.exit_code is not None:
        ended = summary.done + summary.skipped + summary.by_others
        at = summary.stopped_at
        where = f"in video {at.number} of {at.total}" if at else f"after {ended} of {summary.tasks} videos"
        print_message(f"stopped {where}")
        raise typer.Exit(summary.exit_code)
    print_message(closing_line(summary, "video", store))
    if summary.failed:
        raise typer.Exit(1)


def tasks_of(jobs: "Sequence[Job]") -> "list[Task]":
    """The tasks of a batch, each named as its results are."""
    from realtime.batch.tasks import Task

    return [
        Task(_name(job), job.video, job.targets.by_parameter, number, len(jobs))
        for number, job in enumerate(jobs, start=1)
    ]


def _name(job: "Job") -> str:
    return (job.place or Path(job.targets.paths[0].name)).as_posix()


class _Here:
    """Starts the worker of this process, which shows how far it is."""

    def __init__(self, spec: VideoSpec, notices: Notices, progress: "BatchProgress") -> None:
        self._spec = spec
        self._notices = notices
        self._progress = progress

    def open(self, cores: int | None) -> VideoWorker:
        """As of ``WorkerSpec``."""
        detector = open_detector(self._spec.model, self._spec.provider, concurrency=file_concurrency())
        self._notices.put_first(speed_notices(detector, self._spec.model))
        return VideoWorker(
            detector,
            self._spec.settings,
            notices=self._notices,
            on_part=lambda task, share, frames: self._progress.part(size_of(task), share, frames),
        )

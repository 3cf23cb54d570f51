"""Many images: ``realtime image`` with results in files."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import typer

from realtime.commands.batching import (
    BatchOptions,
    PrintingWatcher,
    conditions_for,
    executor_for,
    is_remote,
    open_display,
    run_batch,
    store_for,
)
from realtime.commands.console import Notices, print_message, printable, wrote
from realtime.commands.image_worker import ImageEstimator, ImageSpec, ImageWorker
from realtime.commands.opening import speed_notices
from realtime.commands.unsure import images_report
from realtime.errors import SinkError
from realtime.formatting import counted
from realtime.inference.cores import file_concurrency
from realtime.stopping import StopRequests

if TYPE_CHECKING:
    from realtime.batch.inputs import Inputs
    from realtime.batch.progress import BatchProgress
    from realtime.batch.records import Conditions, Record
    from realtime.batch.store import Store
    from realtime.batch.tasks import Executor, ModelSpec, Outcome, Task, WorkerSpec


def do_images(inputs: "Inputs", out: Path | None, jsonl: Path | None, spec: ImageSpec, options: BatchOptions) -> None:
    """Do all images; what is wrong with one does not stop the others.

    Raises:
        RealtimeError: there is no such model, or nothing can be written.
        typer.Exit: an image has errors, or a signal stopped the batch.
    """
    from realtime.batch.copying import CopyingSpec, RemoteSpec

    tasks = tasks_of(inputs, out)
    store = _store(out, jsonl)
    conditions = conditions_for(spec.model, spec.settings.to_dict())
    if options.dry_run:
        from realtime.commands.estimate import print_estimate

        estimator = None if is_remote(tasks) else ImageEstimator(spec)
        print_estimate(tasks, store, conditions, estimator, "image", resume=options.resume)
        return
    lines = LinesFile(jsonl) if jsonl else None
    notices = Notices(inputs.notices)
    progress = open_display(tasks, "image")
    watcher = ImageWatcher(progress, notices, lines)
    threads = min(len(tasks), file_concurrency())
    here: WorkerSpec = _Here(spec, threads, notices)
    there: ModelSpec = spec
    if is_remote(tasks):
        here, there = CopyingSpec(here), RemoteSpec(spec)

    def make_executor(requests: StopRequests) -> "Executor":
        from realtime.batch.local import ThreadExecutor

        if options.is_elsewhere:
            return executor_for(options, there, requests)
        return ThreadExecutor(here, threads)

    with StopRequests() as requests:
        try:
            summary = run_batch(tasks, store, conditions, make_executor, options, watcher, requests)
            if lines:
                lines.write(tasks, store, conditions, stopped=summary.exit_code is not None)
        finally:
            progress.close()
            if lines:
                lines.close()
    watcher.print_end(out, jsonl)
    if summary.exit_code is not None:
        print_message(f"stopped after {watcher.images} of {counted(len(tasks), 'image')}")
        raise typer.Exit(summary.exit_code)
    exit_if_failed(len(summary.failed) - watcher.unwritten, len(tasks), unwritten=watcher.unwritten)


def tasks_of(inputs: "Inputs", out: Path | None) -> "list[Task]":
    """The tasks of a batch, each named as its result is.

    Raises:
        SinkError: ``out`` is no folder, or a drawn image would replace an original or another one.
    """
    from realtime.batch.images import targets_of
    from realtime.batch.tasks import Task

    files = list(dict.fromkeys(inputs.files))
    targets = targets_of(inputs.files, inputs.places, out) if out else []
    names = _names(files, inputs) if not out else [target.relative_to(out).as_posix() for target in targets]
    outputs = [{"out": target} for target in targets] if out else [{} for _ in files]
    jobs = zip(names, files, outputs, strict=True)
    return [Task(name, file, output, number, len(files)) for number, (name, file, output) in enumerate(jobs, start=1)]


def _names(files: Sequence[Path], inputs: "Inputs") -> list[str]:
    """Of images of which nothing is drawn, so that two may have one place."""
    counts = Counter(inputs.places[file] for file in files)
    return [
        place.as_posix() if counts[place := inputs.places[file]] == 1 else str(file.resolve()).lstrip("/")
        for file in files
    ]


def _store(out: Path | None, jsonl: Path | None) -> "Store":
    from realtime.batch.store import FOLDER

    if out:
        return store_for(out / FOLDER)
    assert jsonl is not None
    return store_for(jsonl.with_name(f".{jsonl.name}{FOLDER}"))


class LinesFile:
    """The JSON lines of all images: a file is written at the end, in the order of the images; a stream as they come."""

    def __init__(self, path: Path) -> None:
        """Open a stream; of a file, see whether it can be written.

        Raises:
            SinkError: it cannot.
        """
        from realtime.batch.addresses import url_of
        from realtime.sinks.jsonl import JsonLinesFile
        from realtime.sinks.text_file import STANDARD_OUTPUT, is_stream

        self._address = path if url_of(path) else None
        self._folder = TemporaryDirectory() if self._address else None
        if self._folder:
            path = Path(self._folder.name) / path.name
        self._path = path
        self._file = JsonLinesFile(path)
        self._is_stream = path == STANDARD_OUTPUT or is_stream(path)

    def add(self, task: "Task", data: "Mapping[str, Any]") -> None:
        """The line of one image has arrived."""
        if self._is_stream and "line" in data:
            self._file.write_line(_line(task, data))

    def write(self, tasks: "Sequence[Task]", store: "Store", conditions: "Conditions", *, stopped: bool) -> None:
        """Write all lines to the file, those of earlier runs too.

        Raises:
            SinkError: the disk is full, say.
        """
        from realtime.batch.copying import upload
        from realtime.batch.records import Records
        from realtime.sinks.base import Ending

        records, count = Records(store, conditions), 0
        for task in () if self._is_stream else tasks:
            record = records.read(task)
            if record is not None and "line" in record.data and records.is_valid(record, task):
                self._file.write_line(_line(task, record.data))
                count += 1
        whole = Ending.STOPPED if stopped else Ending.COMPLETE
        self._file.close(whole if count or self._is_stream else Ending.FAILED)
        if self._address and count:
            upload(self._path, self._address)

    def close(self) -> None:
        """Drop a file that was not written to its end."""
        from realtime.sinks.base import Ending

        self._file.close(Ending.FAILED)
        if self._folder:
            self._folder.cleanup()


def _line(task: "Task", data: "Mapping[str, Any]") -> dict[str, Any]:
    """With the image named as this run names it."""
    from realtime.batch.addresses import url_of

    line: dict[str, Any] = data["line"] | {"image": url_of(task.source) or str(task.source)}
    return line


class ImageWatcher(PrintingWatcher):
    """Counts what was found, for the lines at the end."""

    def __init__(self, progress: "BatchProgress", notices: Notices, lines: LinesFile | None) -> None:
        super().__init__(progress, notices)
        self._lines = lines
        self._faces = self.images = self.unwritten = self._before = 0
        self._unsure: list[str] = []

    def skipped(self, task: "Task", record: "Record") -> None:
        """As of ``Watcher``."""
        super().skipped(task, record)
        if record.is_written:
            self._before += 1
            self._add(task, record.faces, record.data)

    def finished(self, task: "Task", outcome: "Outcome") -> None:
        """As of ``Watcher``."""
        super().finished(task, outcome)
        if outcome.is_written:
            self._add(task, outcome.faces, outcome.data)
        elif isinstance(outcome.error, SinkError):
            self.unwritten += 1

    def _add(self, task: "Task", faces: int, data: "Mapping[str, Any]") -> None:
        self.images += 1
        self._faces += faces
        if self._lines:
            self._lines.add(task, data)
        if data.get("unsure"):
            self._unsure.append(printable(task.source))

    def print_end(self, *outputs: Path | None) -> None:
        """Say what was done, if anything was."""
        if self.images:
            before = f", {self._before} of them done before" if self._before else ""
            found = f"{counted(self.images, 'image')}{before}, {counted(self._faces, 'face')}"
            print_message(f"{found}{wrote(*outputs)}")
        if self._unsure:
            print_message(images_report(self._unsure))


class _Here:
    """Starts the worker of this process, whose notices are printed."""

    def __init__(self, spec: ImageSpec, threads: int, notices: Notices) -> None:
        self._spec = spec
        self._threads = threads
        self._notices = notices

    def open(self, cores: int | None) -> ImageWorker:
        """As of ``WorkerSpec``."""
        worker = self._spec.open_here(self._threads)
        self._notices.put_first(speed_notices(worker.network, self._spec.model))
        return worker


def exit_if_failed(unreadable: int, total: int, *, unwritten: int = 0) -> None:
    """End with an error if images could not be read, or results not be written."""
    for count, what in ((unreadable, "read in full"), (unwritten, "written")):
        if count and total > 1:
            print_message(f"{count} of {counted(total, 'image')} could not be {what}")
    if unreadable or unwritten:
        raise typer.Exit(1)

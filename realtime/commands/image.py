"""``realtime image``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from realtime.commands.batching import (
    BatchOptions,
    CpusPerWorker,
    DryRun,
    FileTimeout,
    GpusPerWorker,
    On,
    Resume,
    Workers,
)
from realtime.commands.console import Notices, exit_if_stopped, print_error, print_message, printable, wrote
from realtime.commands.opening import speed_notices
from realtime.commands.options import (
    OUTPUT,
    BlurLabels,
    CoverShapeOption,
    Fill,
    FontScale,
    Hide,
    HideClasses,
    JsonLines,
    LabelsOption,
    Line,
    Margin,
    Model,
    ProviderOption,
    ReachOption,
    Sides,
    StyleOption,
    Threshold,
    chosen_hiding,
    chosen_reach,
    chosen_style,
    seconds,
)
from realtime.commands.outputs import check_hiding, check_outputs
from realtime.drawing.styles import Labels, Shape
from realtime.errors import SourceError
from realtime.formatting import counted
from realtime.inference.cores import file_concurrency
from realtime.inference.providers import Provider
from realtime.stopping import StopRequests

if TYPE_CHECKING:
    from realtime.batch.inputs import Inputs
    from realtime.commands.image_worker import ImageSpec
    from realtime.drawing.hiding import Hiding
    from realtime.results import Result


def image(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH", help="Images, or folders of them; - is standard input.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write the drawn images into this folder.", rich_help_panel=OUTPUT),
    ] = None,
    jsonl: JsonLines = None,
    blur: BlurLabels = None,
    hide: Hide = None,
    hide_classes: HideClasses = None,
    shape: CoverShapeOption = None,
    margin: Margin = None,
    style: StyleOption = Shape.CORNERS,
    labels: LabelsOption = Labels.FACE,
    line: Line = None,
    font_scale: FontScale = 1.0,
    fill: Fill = False,
    sides: Sides = False,
    model: Model = "nano",
    provider: ProviderOption = Provider.AUTO,
    threshold: Threshold = None,
    reach: ReachOption = None,
    resume: Resume = False,
    dry_run: DryRun = False,
    workers: Workers = None,
    file_timeout: FileTimeout = None,
    on: On = None,
    cpus_per_worker: CpusPerWorker = 1,
    gpus_per_worker: GpusPerWorker = 0,
) -> None:
    """Detect in still images. Without --out and --jsonl the JSON lines are printed.

    A file that is not an image is reported and left out, one that is cut short only reported; the exit code is then 1.
    """
    from realtime.batch.addresses import url_of
    from realtime.batch.images import find_images
    from realtime.commands.image_batch import do_images
    from realtime.commands.image_worker import ImageSettings, ImageSpec
    from realtime.sinks.text_file import STANDARD_OUTPUT, is_stream

    hiding = chosen_hiding(blur, hide, hide_classes, shape, margin)
    settings = ImageSettings(
        threshold=threshold,
        reach=chosen_reach(reach, hides=hiding is not None),
        hiding=hiding,
        style=chosen_style(style, labels, line=line, font_scale=font_scale, fill=fill, sides=sides),
        draws=out is not None,
    )
    batch = BatchOptions(
        resume=resume,
        dry_run=dry_run,
        workers=workers,
        limit_s=seconds(file_timeout, "--file-timeout") if file_timeout else None,
        on=on,
        cpus_per_worker=cpus_per_worker,
        gpus_per_worker=gpus_per_worker,
    )
    jsonl = STANDARD_OUTPUT if out is None and jsonl is None else jsonl
    lines_file = jsonl if jsonl is not None and jsonl != STANDARD_OUTPUT and not is_stream(jsonl) else None
    batch.check_written(out, lines_file)
    inputs = find_images(paths, [out])
    check_hiding(hiding, crops=None, shown=out is not None)
    check_outputs(jsonl, originals=inputs.files)
    many = len(paths) > 1 or paths[0].is_dir()
    elsewhere = any(url_of(path) for path in (*inputs.files, out, jsonl) if path)
    if (out or lines_file) and (many or not batch.is_default or elsewhere):
        do_images(inputs, out, jsonl, ImageSpec(model, provider, settings), batch)
    else:
        _do_here(inputs, out, jsonl, ImageSpec(model, provider, settings))


def _do_here(inputs: "Inputs", out: Path | None, jsonl: Path | None, spec: "ImageSpec") -> None:
    """One image, or several whose lines are printed."""
    from realtime.batch.images import detect_images
    from realtime.commands.image_batch import exit_if_failed
    from realtime.sinks.base import Ending
    from realtime.sinks.jsonl import JsonLinesFile

    images = inputs.files
    worker = spec.open_here(min(len(images), file_concurrency()))
    notices = Notices(speed_notices(worker.network, spec.model) + inputs.notices)
    tally = _Tally(spec.settings.hiding, worker.network.metadata.levels.candidate)
    with StopRequests() as requests:
        file = JsonLinesFile(jsonl) if jsonl else None
        ending = Ending.FAILED
        try:
            for result in detect_images(
                images,
                worker.detector,
                threshold=worker.threshold,
                out=out,
                places=inputs.places,
                on_unreadable=tally.skip,
                is_stopped=requests.is_stopped,
                renderer=worker.renderer,
            ):
                notices.print()
                if file:
                    file.write_line(result.to_dict())
                tally.add(result)
            if tally.images:
                ending = Ending.STOPPED if requests.exit_code else Ending.COMPLETE
        finally:
            if file:
                file.close(ending)
    tally.print(out, jsonl)
    exit_if_stopped(requests, f"stopped after {tally.images} of {counted(len(images), 'image')}")
    exit_if_failed(tally.unreadable, len(images))


class _Tally:
    """What was found, for the lines at the end."""

    def __init__(self, hiding: "Hiding | None", possible: float) -> None:
        """``possible``: score from which on something may be what is to be hidden."""
        self.images = self.unreadable = self._faces = 0
        self._hiding, self._possible = hiding, possible
        self._unsure: list[str] = []

    def skip(self, error: SourceError) -> None:
        """Report a file that could not be read, or not in full."""
        print_error(error)
        self.unreadable += 1

    def add(self, result: "Result") -> None:
        """Count an image."""
        from realtime.commands.unsure import is_unsure

        self.images += 1
        self._faces += len(result.faces)
        if self._hiding and is_unsure(result, self._hiding, self._possible):
            self._unsure.append(printable(result.path))

    def print(self, *outputs: Path | None) -> None:
        """Say what was done, if anything was."""
        from realtime.commands.unsure import images_report

        if self.images:
            print_message(f"{counted(self.images, 'image')}, {counted(self._faces, 'face')}{wrote(*outputs)}")
        if self._unsure:
            print_message(images_report(self._unsure))

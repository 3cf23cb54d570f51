"""``train quick``."""

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from train.commands.arguments import DataFile, Device, choose_device, make_folder
from train.data.data_yaml import load_data_config
from train.data.dataset import LabelledImage, warn_of_shared_labels
from train.errors import TrainError
from train.evaluation.calibrate import MIN_EACH
from train.evaluation.predict import Outcome
from train.evaluation.report import write_report
from train.folder_lock import FolderLock
from train.loop.interrupt import InterruptedRunError
from train.loop.reporting import LineReporter, make_reporter
from train.loop.run import Run
from train.models.architectures import ARCHITECTURES
from train.models.checkpoint import Checkpoint
from train.models.onnx_weights import read_onnx
from train.models.weights import shipped_path
from train.quick.advice import warnings_of
from train.quick.card import (
    SCORES_HEADER,
    Result,
    card_text,
    forgetting_lines,
    scores_note,
    scores_rows,
    worst_lines,
)
from train.quick.run import Start, begin, build_run, finish, settled
from train.quick.split import QuickData, usable_data
from train.text_tables import text_table

MODEL, WEIGHTS, CARD, ERRORS, RUN, SPLIT = "mine.onnx", "mine.pt", "mine.md", "errors", "run", "split"
SAVE_EVERY_STEPS = 200
SHOWN = 50
"""Images on the page of errors."""
VERIFIED = 8
"""The user's images on which the ONNX file is compared with the checkpoint, beside those of the package."""
UNCALIBRATED = (
    f"val has too few detections to calibrate scores ({MIN_EACH} right and {MIN_EACH} wrong ones): they rank what is "
    "found, but 0.7 does not mean right seven times in ten"
)


class Shipped(StrEnum):
    """Detectors that come with the app."""

    PICO = "pico"
    NANO = "nano"
    MOBILE = "mobile"


def quick(
    data: DataFile,
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder for mine.onnx, its model card, the errors and the run.")
    ] = Path("mine"),
    time: Annotated[str, typer.Option(help="How long to train, such as 90s, 8m or 1h.")] = "10m",
    arch: Annotated[Shipped, typer.Option(help="Shipped detector to begin with.")] = Shipped.NANO,
    size: Annotated[
        int | None, typer.Option(min=64, help="Side of the square input in pixels; by default the detector's.")
    ] = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes that read and augment.")] = 2,
    device: Device = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that was stopped.")] = False,
) -> None:
    """Make a shipped detector better on your own images, in minutes: before and after, mine.onnx and a model card.

    Without a usable val split, one image in five is kept for it. Classes of the detector keep what it knows of them;
    others are learnt anew.
    """
    config, target = load_data_config(data), choose_device(device)
    _refuse_finished(out, resume=resume)
    make_folder(out)
    with FolderLock(out), make_reporter(is_main=True, sparse=True) as reporter:
        used = usable_data(config, out / SPLIT)
        if used.made_because:
            reporter.message(
                f"{used.made_because}: one image in five is kept to validate on ({out / SPLIT / 'val.txt'})"
            )
        side = size or ARCHITECTURES[arch.value].default_size
        start = begin(arch.value, _shipped(arch), used.config, side, target)
        warnings = warnings_of(start.train_images, config.class_names, arch.value, start.known, start.train)
        for line in warnings:
            reporter.message(f"warning: {line}")
        folder = out / RUN
        make_folder(folder)
        run = build_run(start, time, used.config, folder, target, resume=resume)
        _train(run, workers, reporter, f"realtime train quick {data} --out {out} --resume")
        best = settled(run, start, target)
        best.save(out / WEIGHTS)
        if best.config.calibration is None:
            reporter.message(f"warning: {UNCALIBRATED}")
        reporter.message("comparing with what it was before")
        result, worst = finish(start, best, warnings, _val_name(used, data), _photos(), target)
        page = _write_errors(worst, best, out)
        _export(best, start, out, reporter)
        (out / CARD).write_text(card_text(result, MODEL), encoding="utf-8")
        _report(result, page, out, reporter)


def _refuse_finished(out: Path, *, resume: bool) -> None:
    last, model = out / RUN / "last.pt", out / MODEL
    if last.exists() and not resume:
        raise TrainError(f"{last} exists: go on with --resume, or choose another --out")
    if model.exists() and not resume:
        raise TrainError(f"{model} exists: choose another --out")


def _shipped(arch: Shipped) -> Checkpoint:
    path = shipped_path(arch.value)
    if path is None:
        raise TrainError(f"--arch {arch.value}: the model is missing from this installation")
    return read_onnx(path)


def _train(run: Run, workers: int, reporter: LineReporter, resume_command: str) -> None:
    """Train in the folder of the run."""
    counts = f"{len(run.images.train)} images to train on, {len(run.images.val)} to validate"
    reporter.message(f"{run.options.arch}: {counts}, {run.options.time}")
    warn_of_shared_labels([*run.images.train, *run.images.val], reporter.message)
    if run.new_classes:
        reporter.message(f"new classes, which begin at random: {', '.join(run.new_classes)}")
    try:
        run.fit(workers=workers, save_every_steps=SAVE_EVERY_STEPS, reporter=reporter)
    except InterruptedRunError as stopped:
        raise InterruptedRunError(stopped.exit_code - 128, f"stopped; go on with: {resume_command}") from stopped


def _val_name(used: QuickData, data: Path) -> str:
    return "your val split" if not used.made_because else f"those of {data.name} that were kept to validate on"


def _photos() -> list[LabelledImage]:
    from export.verify import IMAGES

    return [LabelledImage(path, np.zeros((0, 4), np.float32), np.zeros(0, np.int64)) for path in IMAGES]


def _write_errors(worst: Sequence[Outcome], best: Checkpoint, out: Path) -> Path:
    """The page of the images with the most errors."""
    make_folder(out / ERRORS)
    return write_report(
        worst,
        best.config.class_names,
        out / ERRORS,
        title=f"The worst images of {MODEL} at score threshold {best.threshold:.2f}",
        size=best.config.input_size,
        with_labels=True,
        show=SHOWN,
    )


def _export(best: Checkpoint, start: Start, out: Path, reporter: LineReporter) -> None:
    """Write the ONNX file and its companions, verified on the user's images too."""
    from export.companions import companion_inputs, export_companion
    from export.errors import ExportError
    from export.to_onnx import export_onnx
    from export.verify import IMAGES

    side = best.config.input_size
    images = [*IMAGES, *(image.path for image in start.val_images[:VERIFIED])]
    try:
        export_onnx(best, out / MODEL, size_wh=(side, side), images=images)
    except ExportError as error:
        raise TrainError(f"{error}. The checkpoint is {out / WEIGHTS}") from error
    for kind, size_wh in companion_inputs((side, side)).items():
        try:
            export_companion(kind, best, out / MODEL, size_wh=size_wh, images=images)
        except ExportError as error:  # of a model that is hardly trained; the other files are whole
            reporter.message(f"warning: no {kind} companion: {error}")


def _report(result: Result, page: Path, out: Path, reporter: LineReporter) -> None:
    """The same as the model card, on the terminal."""
    reporter.message(f"\n{text_table(SCORES_HEADER, scores_rows(result))}\n{scores_note(result)}")
    if not result.is_better:
        reporter.message(f"warning: it is no better than {result.start} on these images: keep that, and see below")
    for line in forgetting_lines(result):
        reporter.message(line)
    for title, lines in (("what would help most:", result.help), (f"worst images, see {page}:", worst_lines(result))):
        if lines:
            reporter.message("\n".join([title, *(f"  {line}" for line in lines)]))
    reporter.message(f"done: {out / MODEL}, model card {out / CARD}. Next: realtime cam --model {out / MODEL}")

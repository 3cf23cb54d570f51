"""Command line of the export package: ``python -m export``."""

import re
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from export.calibration import calibrate_onnx
from export.companions import (
    calibrate_companion,
    checkpoint_of_companion,
    companion_inputs,
    export_companion,
    read_exported,
)
from export.errors import ExportError
from export.score import compare_with_checkpoint, differences_to_checkpoint, score_onnx
from export.static import Budget
from export.to_onnx import export_onnx
from export.verify import IMAGES
from realtime.inference.companions import Companion
from realtime.inference.detector import companion_file
from realtime.metadata import MAX_BATCH, ModelMetadata
from realtime.standard_streams import accept_any_text
from train.data.data_yaml import load_data_config
from train.errors import TrainError, missing_extra
from train.evaluation.metrics import Metrics
from train.evaluation.tables import metrics_table
from train.models.calibration import CALIBRATED_THRESHOLD
from train.models.checkpoint import Checkpoint, load_checkpoint
from train.models.weights import shipped_path

BUDGET = "Less work"
UNSUITABLE = {Companion.WIDE: "not small enough", Companion.NARROW: "not large enough"}
"""What the input of a model is for which a companion is of no use."""


class Tail(StrEnum):
    """What follows the network in the graph."""

    EXACT = "exact"
    SHORT = "short"


app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
    help="Turn a checkpoint into the ONNX file that the app runs.",
)


@app.callback()
def main(debug: Annotated[bool, typer.Option(help="Show the traceback of an error.")] = False) -> None:
    """Common options."""


@app.command("onnx")
def onnx_command(
    checkpoint: Annotated[
        str,
        typer.Argument(
            metavar="CHECKPOINT",
            help="best.pt of a training run, an ONNX file of this project, or a model that comes with the app.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="ONNX file to write.")] = Path("model.onnx"),
    size: Annotated[
        str | None, typer.Option(metavar="WIDTHxHEIGHT", help="Input size in pixels; by default that of training.")
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Folder of photos to verify on, instead of those that come with the package.")
    ] = None,
    half: Annotated[
        bool, typer.Option("--half", help="float16 for GPUs: half the size; boxes and suppression stay float32.")
    ] = False,
    batch: Annotated[
        int,
        typer.Option(
            min=1, max=MAX_BATCH, help="Images in one run, for files and regions on a GPU; cameras are faster with 1."
        ),
    ] = 1,
    wide: Annotated[
        bool,
        typer.Option(
            "--wide",
            help="Write OUT-wide.onnx too, with an input of 640x384, by which the app looks at the tiles of large "
            "images and videos: the same weights, or those of the specialist that CHECKPOINT has. It takes one image "
            "in a run and has the exact tail.",
        ),
    ] = False,
    narrow: Annotated[
        bool,
        typer.Option(
            "--narrow",
            help="Write OUT-narrow.onnx too: the same weights with three quarters of the input's sides, by which the "
            "app follows a near face of a camera on the CPU.",
        ),
    ] = False,
    tail: Annotated[
        Tail,
        typer.Option(help="short: a quarter of the operations after the network, for GPUs.", rich_help_panel=BUDGET),
    ] = Tail.EXACT,
    proposals: Annotated[
        int | None,
        typer.Option(
            min=1, help="Boxes that go to the second stage (short tail: 400 or more).", rich_help_panel=BUDGET
        ),
    ] = None,
    pre_nms: Annotated[
        int | None,
        typer.Option(min=1, help="Anchors of each level that the first stage suppresses.", rich_help_panel=BUDGET),
    ] = None,
    rounds: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=100,
            help="Rounds of suppression, in place of twice those that the photos need (short tail: 2).",
            rich_help_panel=BUDGET,
        ),
    ] = None,
    candidates: Annotated[
        int | None,
        typer.Option(
            min=2,
            help="Boxes of all classes that the second stage suppresses; short tail alone (512).",
            rich_help_panel=BUDGET,
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="DATA.yaml",
            help="Data set on whose val split the file is scored, beside its checkpoint.",
            rich_help_panel=BUDGET,
        ),
    ] = None,
) -> None:
    """Export one fixed-shape graph and verify it against the checkpoint before OUT is replaced."""
    _check_budget(tail, pre_nms=pre_nms, candidates=candidates)
    data_config = load_data_config(data) if data else None
    loaded, default_wh = _load(checkpoint)
    size_wh = _parse_size(size) if size else default_wh
    if narrow and (half or batch > 1):
        raise ExportError("--narrow: for one frame at a time on the CPU; leave out --half and --batch")
    companions = [Companion.WIDE] * wide + [Companion.NARROW] * narrow
    inputs = companion_inputs(size_wh)
    for kind in companions:
        if kind not in inputs:
            given = f"{size_wh[0]}x{size_wh[1]}"
            raise ExportError(f"--{kind}: of no use to an input of {given}, which is {UNSUITABLE[kind]}")
    source = shipped_path(checkpoint) or Path(checkpoint)
    checkpoints = {kind: checkpoint_of_companion(kind, source, loaded) for kind in companions}
    is_short = tail is Tail.SHORT
    differences = export_onnx(
        loaded, out, size_wh=size_wh, images=_photos(images), half=half, batch=batch, short_tail=is_short,
        budget=Budget(proposals=proposals, pre_nms=pre_nms, rounds=rounds, candidates=candidates),
    )  # fmt: skip
    what = [f"{out.stat().st_size / 1e6:.1f} MB", f"input {size_wh[0]}x{size_wh[1]}"]
    what += ["half precision"] * half + [f"{batch} images in a run"] * (batch > 1) + ["short tail"] * is_short
    typer.echo(f"{out}: {', '.join(what)}; verified: {differences}")
    for kind, its_checkpoint in checkpoints.items():
        written, its_differences = export_companion(
            kind, its_checkpoint, out, size_wh=inputs[kind], images=_photos(images), half=half
        )
        typer.echo(f"{written}: {written.stat().st_size / 1e6:.1f} MB; verified: {its_differences}")
    if not differences.detections:
        typer.echo("nothing was found on these photos: verify on your own with --images FOLDER", err=True)
    if data_config:
        metrics, metadata = score_onnx(out, data_config, "val")
        typer.echo(f"on {data}: mAP50 {metrics.map50:.4f}, mAP50-95 {metrics.map50_95:.4f}{_cost(metrics, metadata)}")


@app.command()
def calibrate(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="ONNX file of this project, or a model that comes with the app.")
    ],
    data: Annotated[
        list[Path],
        typer.Argument(
            metavar="DATA.yaml...",
            help="Labelled images like those that the detector will see, not of its training; several count alike.",
        ),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="ONNX file to write; by default MODEL is replaced.")
    ] = None,
    split: Annotated[str, typer.Option(help="Split to calibrate on.")] = "val",
) -> None:
    """Calibrate the scores of MODEL: a score of 0.7 is then right about 7 times in 10. All else in the file stays."""
    shipped = shipped_path(model)
    if shipped and out is None:
        raise ExportError(f"{model} comes with the app: name the file to write with --out")
    path = shipped or Path(model)
    out = out or path
    if not out.parent.is_dir():
        raise ExportError(f"cannot write {out}: folder {out.parent} does not exist")
    sets = [(str(each), load_data_config(each)) for each in data]
    typer.echo(calibrate_onnx(path, out, sets, split))
    typer.echo(f"{out}: scores calibrated, default threshold {CALIBRATED_THRESHOLD}")
    for kind in Companion:
        if companion := companion_file(path, kind):
            written, is_calibrated = calibrate_companion(companion, kind, out)
            typer.echo(f"{written}: {'calibrated likewise' if is_calibrated else 'a detector of its own, as it was'}")


@app.command()
def verify(
    model: Annotated[Path, typer.Argument(metavar="MODEL.onnx", help="ONNX file that this package wrote.")],
    data: Annotated[Path, typer.Argument(metavar="DATA.yaml", help="Data set that the checkpoint was scored on.")],
    split: Annotated[str, typer.Option(help="Split to score on.")] = "val",
) -> None:
    """Score MODEL on labelled images, and fail if its mAP is not that of its checkpoint, to 0.002 (half: 0.003).

    With a short tail or a smaller budget it may differ by 0.02.
    """
    metrics, metadata = score_onnx(model, load_data_config(data), split)
    typer.echo(metrics_table(metrics))
    typer.echo(compare_with_checkpoint(metrics, metadata))


def _load(name: str) -> tuple[Checkpoint, tuple[int, int]]:
    """A checkpoint, and width and height of its inputs: of training, or those of the ONNX file."""
    path = shipped_path(name) or Path(name)
    if path.suffix != ".onnx":
        loaded = load_checkpoint(path)
        return loaded, (loaded.config.input_size, loaded.config.input_size)
    loaded, metadata = read_exported(path)
    return loaded, metadata.input_wh


def _check_budget(tail: Tail, *, pre_nms: int | None, candidates: int | None) -> None:
    if tail is Tail.SHORT and pre_nms is not None:
        raise ExportError("--pre-nms: the short tail suppresses nothing in the first stage. Use --proposals")
    if tail is Tail.EXACT and candidates is not None:
        raise ExportError("--candidates: for --tail short alone")


def _cost(metrics: Metrics, metadata: ModelMetadata) -> str:
    """How the file scores against its checkpoint, as the rest of a line."""
    differences = differences_to_checkpoint(metrics, metadata)
    return f"; against its checkpoint: {differences}" if differences else ""


def _parse_size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if not match:
        raise ExportError(f"--size {text}: expected WIDTHxHEIGHT, such as 256x256")
    return int(match[1]), int(match[2])


def _photos(folder: Path | None) -> list[Path]:
    if folder is None:
        return IMAGES
    photos = sorted(p for p in folder.glob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png"))
    if not photos:
        raise ExportError(f"--images {folder}: no .jpg or .png files there")
    return photos


def run_cli(arguments: list[str] | None = None, program: str | None = None) -> None:
    """Entry point: one line on stderr and exit code 1 for an error that the user can fix.

    ``arguments`` are by default those of the process; ``program`` is the name that usage lines show for it.
    """
    accept_any_text()
    try:
        app(args=arguments, prog_name=program)
    except ModuleNotFoundError as error:  # one that is imported only when it is used
        sys.exit(missing_extra(program or "python -m export", error))
    except (ExportError, TrainError, OSError) as error:
        if "--debug" in sys.argv:
            raise
        typer.echo(f"error: {error}", err=True)
        sys.exit(1)

"""Command line of the export package: ``python -m export``."""

import re
import sys
from pathlib import Path
from typing import Annotated

import typer

from export.errors import ExportError
from export.score import compare_with_checkpoint, score_onnx
from export.to_onnx import export_onnx
from export.verify import IMAGES
from realtime.metadata import MAX_BATCH
from realtime.standard_streams import accept_any_text
from train.data.data_yaml import load_data_config
from train.errors import TrainError, missing_extra
from train.evaluation.tables import metrics_table
from train.models.checkpoint import load_checkpoint

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
    checkpoint: Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="best.pt of a training run.")],
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
) -> None:
    """Export one fixed-shape graph and verify it against the checkpoint before OUT is replaced."""
    loaded = load_checkpoint(checkpoint)
    size_wh = _parse_size(size) if size else (loaded.config.input_size, loaded.config.input_size)
    differences = export_onnx(loaded, out, size_wh=size_wh, images=_photos(images), half=half, batch=batch)
    what = [f"{out.stat().st_size / 1e6:.1f} MB", f"input {size_wh[0]}x{size_wh[1]}"]
    what += ["half precision"] * half + [f"{batch} images in a run"] * (batch > 1)
    typer.echo(f"{out}: {', '.join(what)}; verified: {differences}")
    if not differences.detections:
        typer.echo("nothing was found on these photos: verify on your own with --images FOLDER", err=True)


@app.command()
def verify(
    model: Annotated[Path, typer.Argument(metavar="MODEL.onnx", help="ONNX file that this package wrote.")],
    data: Annotated[Path, typer.Argument(metavar="DATA.yaml", help="Data set that the checkpoint was scored on.")],
    split: Annotated[str, typer.Option(help="Split to score on.")] = "val",
) -> None:
    """Score MODEL on labelled images, and fail if its mAP is not that of its checkpoint, to 0.002 (half: 0.003)."""
    metrics, metadata = score_onnx(model, load_data_config(data), split)
    typer.echo(metrics_table(metrics))
    typer.echo(compare_with_checkpoint(metrics, metadata))


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

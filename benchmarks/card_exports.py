"""Export what ``card.py`` measures: a checkpoint with its graphs, or a shipped model for several frames in a run."""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from gpu import PRECISIONS, exported, untrained

from realtime.inference.detector import find_model
from train.models.checkpoint import load_checkpoint
from train.models.onnx_weights import read_onnx


def prepare(
    folder: Annotated[Path, typer.Argument(help="Where to write.")],
    arch: Annotated[str, typer.Option(help="Of an untrained checkpoint.")] = "resnet50",
    checkpoint: Annotated[Path | None, typer.Option(help="Export this one.")] = None,
    size: Annotated[str, typer.Option(help="WIDTHxHEIGHT of the graphs.")] = "640x480",
    shipped: Annotated[str | None, typer.Option(help="Export this shipped model instead.")] = None,
    batch: Annotated[int, typer.Option(min=2, help="Frames of a run of the shipped model.")] = 16,
) -> None:
    """Write ``ARCH.pt`` and ``WIDTHxHEIGHT-PRECISION.onnx``, or ``NAME-BATCH.onnx``."""
    if shipped:
        raise typer.Exit(export_batch(shipped, batch, folder))
    loaded = load_checkpoint(checkpoint) if checkpoint else untrained(arch)
    loaded.save(folder / f"{loaded.config.arch}.pt")
    for precision in PRECISIONS:
        typer.echo(f"wrote {exported(loaded, size, precision, folder)}")


def export_batch(name: str, batch: int, folder: Path) -> int:
    """Export a shipped model for several frames in a run; the exit code of ``export onnx``."""
    loaded = read_onnx(find_model(name))
    side = loaded.config.input_size
    with tempfile.TemporaryDirectory() as scratch:
        weights = Path(scratch) / f"{name}.pt"
        loaded.save(weights)
        command = ["onnx", weights, "-o", folder / f"{name}-{batch}.onnx", "--size", f"{side}x{side}", "--batch", batch]
        return subprocess.run([sys.executable, "-m", "export", *map(str, command)], check=False).returncode


if __name__ == "__main__":
    typer.run(prepare)

"""Export what ``card.py`` measures: a checkpoint with its graphs, or other forms of a shipped model."""

from pathlib import Path
from typing import Annotated, Any

import typer
from gpu import PRECISIONS, SHORT, exported, untrained

from export.to_onnx import export_onnx
from export.verify import IMAGES
from realtime.inference.detector import find_model
from train.models.checkpoint import Checkpoint, load_checkpoint
from train.models.onnx_weights import read_onnx

GRAPHS = (*PRECISIONS, f"half-{SHORT}")


def prepare(
    folder: Annotated[Path, typer.Argument(help="Where to write.")],
    arch: Annotated[str, typer.Option(help="Of an untrained checkpoint.")] = "resnet50",
    checkpoint: Annotated[Path | None, typer.Option(help="Export this one.")] = None,
    size: Annotated[str, typer.Option(help="WIDTHxHEIGHT of the graphs.")] = "640x480",
    shipped: Annotated[str | None, typer.Option(help="Export this shipped model instead.")] = None,
    batch: Annotated[int, typer.Option(min=2, help="Frames of a run.")] = 16,
) -> None:
    """Write ``ARCH.pt``, ``WIDTHxHEIGHT-PRECISION.onnx`` and ``ARCH-short-BATCH.onnx``, or forms of a shipped model."""
    if shipped:
        loaded = read_onnx(find_model(shipped))
        side = loaded.config.input_size
        write(loaded, folder / f"{shipped}-{batch}.onnx", (side, side), batch=batch)
        write(loaded, folder / f"{shipped}-{SHORT}.onnx", (side, side), short_tail=True)
        write(loaded, folder / f"{shipped}-{SHORT}-{batch}.onnx", (side, side), short_tail=True, batch=batch)
        return
    loaded = load_checkpoint(checkpoint) if checkpoint else untrained(arch)
    loaded.save(folder / f"{loaded.config.arch}.pt")
    for precision in GRAPHS:
        typer.echo(f"wrote {exported(loaded, size, precision, folder)}")
    width, height = map(int, size.split("x"))
    path = folder / f"{loaded.config.arch}-{SHORT}-{batch}.onnx"
    write(loaded, path, (width, height), short_tail=True, batch=batch, half=True)


def write(checkpoint: Checkpoint, path: Path, size_wh: tuple[int, int], **form: Any) -> None:
    """Export one graph, verified."""
    export_onnx(checkpoint, path, size_wh=size_wh, images=IMAGES, **form)
    typer.echo(f"wrote {path}")


if __name__ == "__main__":
    typer.run(prepare)

"""``train fit`` for a given time, on a data set or on one that is made: what ``card.py`` runs."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from train_loading import make_data_set

IMAGE_PX = 448
VAL_IMAGES = 64
SPARE_CORES = 2
MAX_WORKERS = 14


def train(
    out: Annotated[Path, typer.Argument(help="Folder of the run; what is there is removed.")],
    data: Annotated[Path | None, typer.Option(help="data.yaml; by default a data set is made.")] = None,
    images: Annotated[int, typer.Option(min=1, help="Of the data set that is made.")] = 1280,
    arch: Annotated[str, typer.Option()] = "resnet50",
    batch_size: Annotated[int, typer.Option(min=1)] = 64,
    time: Annotated[str, typer.Option(help="As train fit takes it.")] = "60s",
    device: Annotated[str, typer.Option()] = "cuda",
) -> None:
    """Train from a random start in bfloat16; the exit code is that of ``train fit``."""
    shutil.rmtree(out, ignore_errors=True)
    workers = max(1, min(MAX_WORKERS, (os.cpu_count() or 1) - SPARE_CORES))
    options = ["--arch", arch, "--weights", "none", "--batch-size", batch_size, "--time", time, "--amp",
               "--workers", workers, "--device", device, "--save-every-steps", 10**6]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        data = data or made_data(Path(folder), images)
        command = [sys.executable, "-m", "train", "fit", data, "--out", out, *options]
        code = subprocess.run(list(map(str, command)), check=False).returncode
    raise typer.Exit(code)


def made_data(folder: Path, images: int) -> Path:
    """A data set with few images to validate on."""
    data = make_data_set(folder, images, IMAGE_PX)
    few = sorted((folder / "images").iterdir())[:VAL_IMAGES]
    (folder / "val.txt").write_text("".join(f"{path}\n" for path in few), encoding="utf-8")
    text = data.read_text(encoding="utf-8")
    data.write_text(text.replace("val: images", "val: val.txt"), encoding="utf-8")
    return data


if __name__ == "__main__":
    typer.run(train)

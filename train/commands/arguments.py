"""Arguments that several commands have."""

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import torch
import typer

from train.errors import TrainError


class Arch(StrEnum):
    """Names in ``ARCHITECTURES``."""

    PICO = "pico"
    NANO = "nano"
    MOBILE = "mobile"
    RESNET50 = "resnet50"


class Split(StrEnum):
    """Splits of a data set."""

    TRAIN = "train"
    VAL = "val"
    TEST = "test"


DataFile = Annotated[Path, typer.Argument(metavar="DATA.yaml", help="Data set in YOLO format.")]
CheckpointFile = Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="best.pt or last.pt of a run.")]
Device = Annotated[str | None, typer.Option(help="PyTorch device; by default cuda where there is one, else cpu.")]


def check_folder_of(path: Path) -> None:
    """Refuse a file to write in a folder that is not there, before the work whose result it would hold."""
    if not path.parent.is_dir():
        raise TrainError(f"cannot write {path}: folder {path.parent} does not exist")


def make_folder(path: Path) -> None:
    """Make a folder for output if it is not there.

    Raises:
        TrainError: it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainError(f"cannot make folder {path}: {error.strerror}") from error


def choose_device(name: str | None) -> torch.device:
    """The device of this name, or the best there is; under torchrun, ``cuda`` is the GPU of this process.

    Raises:
        TrainError: there is no such device.
    """
    if name is None:
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda":  # torchrun gives each process of a machine a number, and so a GPU
        name = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise TrainError(f"--device {name}: {str(error).splitlines()[0]}") from error
    return device

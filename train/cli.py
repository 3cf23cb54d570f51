"""Command line of the training package: ``python -m train``."""

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import torch
import typer

from train.checkpoint import load_checkpoint
from train.dataset import load_data_config, load_split
from train.engine import evaluate as evaluate_model
from train.errors import TrainError
from train.fit import FitOptions, Run, resumed_run
from train.model import ARCHITECTURES
from train.prepare.cli import app as prepare_app

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Train and evaluate a Faster R-CNN on a data set in YOLO format.",
)
app.add_typer(prepare_app, name="prepare")


class Arch(StrEnum):
    """Names in ``ARCHITECTURES``."""

    NANO = "nano"
    MOBILE = "mobile"
    RESNET50 = "resnet50"


class Schedule(StrEnum):
    """Learning-rate schedules."""

    STEP = "step"
    COSINE = "cosine"


class Split(StrEnum):
    """Splits of a data set."""

    TRAIN = "train"
    VAL = "val"
    TEST = "test"


DataFile = Annotated[Path, typer.Argument(metavar="DATA.yaml", help="Data set in YOLO format.")]
Device = Annotated[str | None, typer.Option(help="PyTorch device; by default cuda where there is one, else cpu.")]


@app.callback()
def main(
    debug: Annotated[bool, typer.Option(help="Show the traceback of an error.")] = False,
) -> None:
    """Common options."""


@app.command()
def fit(
    data: DataFile,
    out: Annotated[Path, typer.Option(help="Folder of the run: checkpoints and logs.")],
    arch: Annotated[Arch, typer.Option(help="Architecture.")] = Arch.RESNET50,
    weights: Annotated[str, typer.Option(help="Start: coco (pretrained), none, or a file.")] = "coco",
    epochs: Annotated[int, typer.Option(min=1)] = 26,
    size: Annotated[
        int | None, typer.Option(help="Side of the square input in pixels; by default the architecture's.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1)] = 16,
    lr: Annotated[float, typer.Option(min=0, help="Peak learning rate.")] = 0.02,
    momentum: Annotated[float, typer.Option(min=0, max=1)] = 0.9,
    weight_decay: Annotated[float, typer.Option(min=0)] = 1e-4,
    schedule: Annotated[Schedule, typer.Option(help="Learning rate: steps (StepLR) or half a cosine.")] = Schedule.STEP,
    step_epochs: Annotated[int, typer.Option(min=1, help="Epochs between the steps of StepLR.")] = 8,
    gamma: Annotated[float, typer.Option(min=0, max=1, help="Factor of each step of StepLR.")] = 0.1,
    warmup_steps: Annotated[int, typer.Option(min=1, help="Steps of linear warm-up.")] = 500,
    clip_norm: Annotated[float, typer.Option(min=0, help="Largest norm of the gradient.")] = 10.0,
    ema: Annotated[float, typer.Option(min=0, max=1, help="Decay of the averaged weights.")] = 0.999,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    workers: Annotated[int, typer.Option(min=0, help="Processes that read and augment.")] = 2,
    save_every_steps: Annotated[int, typer.Option(min=1, help="Steps between writes of last.pt.")] = 200,
    device: Device = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from OUT/last.pt; the options that shape the result stay.")
    ] = False,
) -> None:
    """Train a detector. best.pt has the averaged weights of the epoch with the best mAP50-95 on val."""
    config = load_data_config(data)
    last = out / "last.pt"
    if resume:
        run = resumed_run(last, config, _device(device))
    elif last.exists():
        raise TrainError(f"{last} exists: go on with --resume, or choose another --out")
    else:
        size = ARCHITECTURES[arch.value].default_size if size is None else size
        options = FitOptions(
            arch.value, weights, size, epochs, batch_size, lr, momentum,
            weight_decay, schedule.value, step_epochs, gamma, warmup_steps, clip_norm, ema, seed,
        )  # fmt: skip
        run = Run(options, config, out, _device(device))
        _make_folder(out)
    typer.echo(f"{run.options.arch}: {len(run.train_images)} images to train on, {len(run.val_images)} to validate")
    run.fit(workers=workers, save_every_steps=save_every_steps, log=typer.echo)
    typer.echo(f"done: {out / 'best.pt'}. Next: python -m export onnx {out / 'best.pt'} -o model.onnx")


@app.command()
def evaluate(
    checkpoint: Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="best.pt or last.pt of a run.")],
    data: DataFile,
    split: Annotated[Split, typer.Option(help="Split to score on.")] = Split.VAL,
    threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="Score threshold; by default that with the best mean F1.")
    ] = None,
    json_out: Annotated[Path | None, typer.Option("--json", help="Write the metrics to this file too.")] = None,
    device: Device = None,
) -> None:
    """Score a checkpoint: precision, recall, F1 per class, mean IoU, mAP50, mAP50-95."""
    if json_out and not json_out.parent.is_dir():
        raise TrainError(f"cannot write {json_out}: folder {json_out.parent} does not exist")
    config = load_data_config(data)
    loaded = load_checkpoint(checkpoint)
    if loaded.config.class_names != config.class_names:
        raise TrainError(
            f"{checkpoint} finds {', '.join(loaded.config.class_names)}, "
            f"but {data} names {', '.join(config.class_names)}"
        )
    target = _device(device)
    metrics = evaluate_model(
        loaded.build().to(target),
        load_split(config, split.value),
        size=loaded.config.input_size,
        class_names=config.class_names,
        device=target,
        threshold=threshold,
    )
    typer.echo(metrics.table())
    if json_out:
        json_out.write_text(json.dumps(metrics.as_dict(), indent=2) + "\n", encoding="utf-8")


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainError(f"cannot make folder {path}: {error.strerror}") from error


def _device(name: str | None) -> torch.device:
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise TrainError(f"--device {name}: {str(error).splitlines()[0]}") from error
    return device


def run_cli() -> None:
    """Entry point: one line on stderr and exit code 1 for what the user can mend."""
    try:
        app()
    except (TrainError, OSError) as error:  # OSError: the disk is full while a log is written, say
        if "--debug" in sys.argv:
            raise
        typer.echo(f"error: {error}", err=True)
        sys.exit(1)

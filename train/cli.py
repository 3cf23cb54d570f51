"""Command line of the training package: ``python -m train``."""

import json
import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import torch
import typer

from train.check import check_data
from train.checkpoint import load_checkpoint
from train.dataset import load_data_config, load_split
from train.distributed import join_world
from train.engine import evaluate as evaluate_model
from train.errors import TrainError
from train.fit import Run, resumed_run
from train.interrupt import InterruptedRunError
from train.model import ARCHITECTURES
from train.options import FitOptions
from train.preview import make_preview
from train.reporting import make_reporter

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Train and evaluate a Faster R-CNN on a data set in YOLO format.",
)


class Arch(StrEnum):
    """Names in ``ARCHITECTURES``."""

    NANO = "nano"
    MOBILE = "mobile"
    RESNET50 = "resnet50"


class OptimizerName(StrEnum):
    """Optimizers."""

    SGD = "sgd"
    ADAMW = "adamw"


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
DEFAULTS = FitOptions()
MODEL, STEPS, EXAMPLES = "Model", "Training", "Examples"
Device = Annotated[str | None, typer.Option(help="PyTorch device; by default cuda where there is one, else cpu.")]


@app.callback()
def main(
    debug: Annotated[bool, typer.Option(help="Show the traceback of an error.")] = False,
) -> None:
    """Common options."""


@app.command()
def fit(
    data: DataFile,
    out: Annotated[Path, typer.Option(help="Folder of the run: checkpoints, logs and pictures.")],
    arch: Annotated[Arch, typer.Option(help="Architecture.", rich_help_panel=MODEL)] = Arch.RESNET50,
    weights: Annotated[
        str, typer.Option(help="Start: coco (pretrained), none, or a file.", rich_help_panel=MODEL)
    ] = DEFAULTS.weights,
    size: Annotated[
        int | None,
        typer.Option(help="Side of the square input in pixels; by default the architecture's.", rich_help_panel=MODEL),
    ] = None,
    trainable_layers: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Stages of the body to train, counted from its end; by default 3 of COCO weights, else all.",
            rich_help_panel=MODEL,
        ),
    ] = None,
    epochs: Annotated[int, typer.Option(min=1, rich_help_panel=STEPS)] = DEFAULTS.epochs,
    batch_size: Annotated[
        int, typer.Option(min=1, help="Images of a step, over all processes.", rich_help_panel=STEPS)
    ] = DEFAULTS.batch_size,
    accumulate: Annotated[
        int, typer.Option(min=1, help="Parts to split a batch into, to save memory.", rich_help_panel=STEPS)
    ] = DEFAULTS.accumulate,
    optimizer: Annotated[OptimizerName, typer.Option(rich_help_panel=STEPS)] = OptimizerName.SGD,
    lr: Annotated[
        float | None,
        typer.Option(
            min=0, help="Peak learning rate; by default 0.02 for sgd, 0.001 for adamw.", rich_help_panel=STEPS
        ),
    ] = None,
    momentum: Annotated[float, typer.Option(min=0, max=0.999, rich_help_panel=STEPS)] = DEFAULTS.momentum,
    weight_decay: Annotated[
        float | None,
        typer.Option(min=0, help="By default 0.0001 for sgd, 0.05 for adamw.", rich_help_panel=STEPS),
    ] = None,
    schedule: Annotated[
        Schedule, typer.Option(help="Learning rate: steps (StepLR) or half a cosine.", rich_help_panel=STEPS)
    ] = Schedule.STEP,
    step_epochs: Annotated[
        int, typer.Option(min=1, help="Epochs between the steps of StepLR.", rich_help_panel=STEPS)
    ] = DEFAULTS.step_epochs,
    gamma: Annotated[
        float, typer.Option(min=0, max=1, help="Factor of each step of StepLR.", rich_help_panel=STEPS)
    ] = DEFAULTS.gamma,
    warmup_steps: Annotated[
        int, typer.Option(min=1, help="Steps of linear warm-up.", rich_help_panel=STEPS)
    ] = DEFAULTS.warmup_steps,
    clip_norm: Annotated[
        float, typer.Option(min=0, help="Largest norm of the gradient.", rich_help_panel=STEPS)
    ] = DEFAULTS.clip_norm,
    ema: Annotated[
        float, typer.Option(min=0, max=1, help="Decay of the averaged weights.", rich_help_panel=STEPS)
    ] = DEFAULTS.ema,
    amp: Annotated[
        bool, typer.Option("--amp", help="Compute in bfloat16 where that is safe.", rich_help_panel=STEPS)
    ] = False,
    box_loss_weight: Annotated[
        float, typer.Option(min=0, help="Weight of the box regression losses.", rich_help_panel=STEPS)
    ] = DEFAULTS.box_loss_weight,
    patience: Annotated[
        int,
        typer.Option(
            min=0, help="End after so many epochs without a better mAP50-95; 0: never.", rich_help_panel=STEPS
        ),
    ] = DEFAULTS.patience,
    seed: Annotated[int, typer.Option(min=0, rich_help_panel=STEPS)] = DEFAULTS.seed,
    mosaic: Annotated[
        float, typer.Option(min=0, max=1, help="How often four pictures make one example.", rich_help_panel=EXAMPLES)
    ] = DEFAULTS.mosaic,
    multi_scale: Annotated[
        float,
        typer.Option(
            min=0, max=0.5, help="Vary the input side by this share, from step to step.", rich_help_panel=EXAMPLES
        ),
    ] = DEFAULTS.multi_scale,
    workers: Annotated[int, typer.Option(min=0, help="Processes that read and augment.", rich_help_panel=EXAMPLES)] = 2,
    save_every_steps: Annotated[int, typer.Option(min=1, help="Steps between writes of last.pt.")] = 200,
    device: Device = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from OUT/last.pt; the options that shape the result stay.")
    ] = False,
) -> None:
    """Train a detector. best.pt has the averaged weights of the epoch with the best mAP50-95 on val.

    On several GPUs: torchrun --nproc-per-node GPUS -m train fit …
    """
    config = load_data_config(data)
    last = out / "last.pt"
    is_adamw = optimizer is OptimizerName.ADAMW
    options = FitOptions(
        arch=arch.value,
        weights=weights,
        size=ARCHITECTURES[arch.value].default_size if size is None else size,
        epochs=epochs,
        batch_size=batch_size,
        accumulate=accumulate,
        optimizer=optimizer.value,
        lr=(0.001 if is_adamw else 0.02) if lr is None else lr,
        momentum=momentum,
        weight_decay=(0.05 if is_adamw else 1e-4) if weight_decay is None else weight_decay,
        schedule=schedule.value,
        step_epochs=step_epochs,
        gamma=gamma,
        warmup_steps=warmup_steps,
        clip_norm=clip_norm,
        ema=ema,
        amp=amp,
        box_loss_weight=box_loss_weight,
        trainable_layers=trainable_layers,
        patience=patience,
        mosaic=mosaic,
        multi_scale=multi_scale,
        seed=seed,
    )
    target = _device(device)
    with join_world(target.type) as world, make_reporter(is_main=world.is_main) as reporter:
        if resume:
            run = resumed_run(last, config, target, world)
        elif last.exists():
            raise TrainError(f"{last} exists: go on with --resume, or choose another --out")
        else:
            run = Run(options, config, out, target, world)
            _make_folder(out)
        images = f"{len(run.train_images)} images to train on, {len(run.val_images)} to validate"
        reporter.message(f"{run.options.arch}: {images}")
        run.fit(workers=workers, save_every_steps=save_every_steps, reporter=reporter)
        reporter.message(f"done: {out / 'best.pt'}. Next: python -m export onnx {out / 'best.pt'} -o model.onnx")


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
    if json_out:
        _check_folder_of(json_out)
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


@app.command()
def check(
    data: DataFile,
    size: Annotated[
        int | None, typer.Option(min=1, help="Give sizes of boxes in pixels of an input of this side too.")
    ] = None,
    limit: Annotated[int, typer.Option(min=0, help="Problems of each kind to show.")] = 20,
    json_out: Annotated[Path | None, typer.Option("--json", help="Write the whole report to this file too.")] = None,
) -> None:
    """Say what a data set holds and all that is wrong with it. Exit code 1 on errors, 0 on warnings alone."""
    if json_out:
        _check_folder_of(json_out)
    report = check_data(data, size)
    typer.echo(report.text(limit))
    if json_out:
        json_out.write_text(json.dumps(report.as_dict(), indent=2) + "\n", encoding="utf-8")
    if report.errors:
        raise typer.Exit(1)


@app.command()
def preview(
    data: DataFile,
    out: Annotated[Path, typer.Option(help="Picture to write, .png say.")],
    split: Annotated[Split, typer.Option(help="Split to show; only train is ever augmented.")] = Split.TRAIN,
    augment: Annotated[bool, typer.Option("--augment/--no-augment", help="Augment, or only letterbox.")] = True,
    arch: Annotated[Arch, typer.Option(help="Architecture that gives the default size.")] = Arch.RESNET50,
    size: Annotated[
        int | None, typer.Option(min=32, help="Side of the square input in pixels; by default the architecture's.")
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="Examples to show.")] = 16,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the run whose first examples to show.")] = 0,
) -> None:
    """Draw what the network will see: the first examples of a training with this seed, or letterboxed images."""
    _check_folder_of(out)
    size = ARCHITECTURES[arch.value].default_size if size is None else size
    make_preview(
        load_data_config(data), out, split=split.value, size=size, count=count, seed=seed,
        augment=augment and split is Split.TRAIN,
    )  # fmt: skip
    typer.echo(f"wrote {out}")


def _check_folder_of(path: Path) -> None:
    if not path.parent.is_dir():
        raise TrainError(f"cannot write {path}: folder {path.parent} does not exist")


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainError(f"cannot make folder {path}: {error.strerror}") from error


def _device(name: str | None) -> torch.device:
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


def run_cli() -> None:
    """Entry point: one line on stderr and exit code 1 for what the user can mend."""
    try:
        app()
    except (TrainError, OSError) as error:  # OSError: the disk is full while a log is written, say
        if "--debug" in sys.argv:
            raise
        typer.echo(f"error: {error}", err=True)
        sys.exit(1)
    except InterruptedRunError as stopped:
        typer.echo(str(stopped), err=True)
        sys.exit(stopped.exit_code)

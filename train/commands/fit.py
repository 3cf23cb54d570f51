"""``train fit``."""

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from train.commands.arguments import (
    EXAMPLES,
    Arch,
    DataFile,
    Device,
    Flip,
    Mosaic,
    Rotation,
    choose_device,
    make_folder,
)
from train.data.dataset import load_data_config
from train.distributed import join_world
from train.errors import TrainError
from train.loop.options import FitOptions
from train.loop.reporting import make_reporter
from train.loop.run import Run, resumed_run
from train.models.architectures import ARCHITECTURES

DEFAULTS = FitOptions()
MODEL, STEPS = "Model", "Training"


class OptimizerName(StrEnum):
    """Optimizers."""

    SGD = "sgd"
    ADAMW = "adamw"


class Schedule(StrEnum):
    """Learning-rate schedules."""

    STEP = "step"
    COSINE = "cosine"


def fit(
    context: typer.Context,
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
        float, typer.Option(min=0, help="Largest norm of the gradient; 0: no limit.", rich_help_panel=STEPS)
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
    mosaic: Mosaic = DEFAULTS.mosaic,
    flip: Flip = DEFAULTS.flip,
    rotation_deg: Rotation = DEFAULTS.rotation_deg,
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
        flip=flip,
        rotation_deg=rotation_deg,
        multi_scale=multi_scale,
        seed=seed,
    )
    target = choose_device(device)
    with join_world(target.type) as world, make_reporter(is_main=world.is_main) as reporter:
        if resume:
            run = resumed_run(last, config, target, world)
            _refuse_changes(context, options, run.options)
        elif last.exists():
            raise TrainError(f"{last} exists: go on with --resume, or choose another --out")
        else:
            run = Run(options, config, out, target, world)
            make_folder(out)
        images = f"{len(run.train_images)} images to train on, {len(run.val_images)} to validate"
        reporter.message(f"{run.options.arch}: {images}")
        if run.begun_anew:
            reporter.message(f"not in --weights {weights} in this shape, begun anew: {', '.join(run.begun_anew)}")
        run.fit(workers=workers, save_every_steps=save_every_steps, reporter=reporter)
        reporter.message(f"done: {out / 'best.pt'}. Next: python -m export onnx {out / 'best.pt'} -o model.onnx")


def _refuse_changes(context: typer.Context, given: FitOptions, kept: FitOptions) -> None:
    """Refuse options on the command line that are not those that a resumed run began with."""
    for name, value in asdict(kept).items():
        source = context.get_parameter_source(name)
        is_given = source is not None and source.name == "COMMANDLINE"
        if is_given and getattr(given, name) != value:
            option = name.removesuffix("_deg").replace("_", "-")
            raise TrainError(
                f"--{option} {getattr(given, name)}: the run began with {value}, and a resumed run keeps that. "
                "Leave the option out, or begin a new run with --weights last.pt and another --out"
            )

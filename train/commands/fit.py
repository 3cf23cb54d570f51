"""``train fit``."""

from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from train.cli_options import option_name, takes_options
from train.commands.arguments import DataFile, Device, choose_device, make_folder
from train.data.data_yaml import load_data_config
from train.data.dataset import warn_of_shared_labels
from train.data.image_cache import Cache
from train.distributed import init_distributed
from train.errors import TrainError
from train.folder_lock import FolderLock
from train.loop.options import EXAMPLES, FitOptions
from train.loop.reporting import LineReporter, make_reporter
from train.loop.run import Run, resumed_run


@takes_options(FitOptions, build=FitOptions.from_command_line)
def fit(
    context: typer.Context,
    data: DataFile,
    out: Annotated[Path, typer.Option(help="Folder of the run: checkpoints, logs and plots.")],
    options: FitOptions,
    workers: Annotated[int, typer.Option(min=0, help="Processes that read and augment.", rich_help_panel=EXAMPLES)] = 2,
    cache: Annotated[
        Cache,
        typer.Option(
            help="Keep decoded training images in memory: auto in up to half of what is left, ram in more, off.",
            rich_help_panel=EXAMPLES,
        ),
    ] = Cache.AUTO,
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
    target = choose_device(device)
    with init_distributed(target.type) as world, make_reporter(is_main=world.is_main) as reporter, ExitStack() as held:
        lock = held.enter_context(FolderLock(out)) if world.is_main else None
        if resume:
            run = resumed_run(out / "last.pt", config, target, world)
            _refuse_changes(context, options, run.options)
        else:
            _refuse_existing(out / "last.pt")
            run = Run(options, config, out, target, world)
            make_folder(out)
        if lock and not lock.is_held:
            lock.acquire()
            _refuse_existing(out / "last.pt")  # of a run that has ended meanwhile
        _announce(run, reporter)
        run.fit(workers=workers, save_every_steps=save_every_steps, reporter=reporter, cache=cache)
        reporter.message(f"done: {out / 'best.pt'}. Next: realtime export onnx {out / 'best.pt'} -o model.onnx")


def _announce(run: Run, reporter: LineReporter) -> None:
    images = f"{len(run.images.train)} images to train on, {len(run.images.val)} to validate"
    reporter.message(f"{run.options.arch}: {images}")
    warn_of_shared_labels([*run.images.train, *run.images.val], reporter.message)
    if run.reinitialized:
        parts = ", ".join(run.reinitialized)
        reporter.message(f"not in --weights {run.options.weights} in this shape, reinitialized: {parts}")
    if run.new_classes:
        names = ", ".join(run.new_classes)
        reporter.message(
            f"--weights {run.options.weights} knows nothing of {names}: what predicts these begins at random"
        )


def _refuse_existing(last: Path) -> None:
    if last.exists():
        raise TrainError(f"{last} exists: go on with --resume, or choose another --out")


def _refuse_changes(context: typer.Context, given: FitOptions, kept: FitOptions) -> None:
    """Refuse options on the command line that are not those that a resumed run began with."""
    for name, value in asdict(kept).items():
        source = context.get_parameter_source(name)
        is_given = source is not None and source.name == "COMMANDLINE"
        if is_given and getattr(given, name) != value:
            raise TrainError(
                f"{option_name(FitOptions, name)} {getattr(given, name)}: the run began with {value}, and a resumed "
                "run keeps that. Leave the option out, or begin a new run with --weights last.pt and another --out"
            )

"""``train fit``."""

from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from train.cli_options import option_name, takes_options
from train.commands.arguments import DataFile, Device, choose_device, make_folder
from train.commands.search import begin_search, check_search, given_options, resume_search
from train.data.data_yaml import load_data_config
from train.data.dataset import warn_of_shared_labels
from train.data.image_cache import Cache
from train.distributed import init_distributed
from train.errors import TrainError, require_package
from train.folder_lock import FolderLock
from train.loop.loggers.opening import LoggerName, LogOptions
from train.loop.options import EXAMPLES, TRAINING, FitOptions
from train.loop.reporting import LineReporter, make_reporter
from train.loop.run import Run, resumed_run
from train.models.checkpoint import load_checkpoint
from train.search.files import STUDY_FILE, is_search
from train.search.settings import TrialSettings

RECORDS = "Records"
"""Group of options in the help text."""


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
    log: Annotated[
        list[LoggerName] | None,
        # Python 3.11's argparse, in torchrun, takes --log for a short form of its own options.
        typer.Option("--log", "--logger", help="Log there too; may be repeated.", rich_help_panel=RECORDS),
    ] = None,
    save_every_steps: Annotated[int, typer.Option(min=1, help="Steps between writes of last.pt.")] = 200,
    device: Device = None,
    search: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Train so many times to find the best learning rate, mosaic, rotation and box loss weight, except "
            "those that are given. Runs without hope end early.",
            rich_help_panel=TRAINING,
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on with the run or search in OUT; the options that shape the result stay."),
    ] = False,
) -> None:
    """Train a detector. best.pt has the averaged weights of the epoch with the best mAP50-95 on val.

    On several GPUs: torchrun --nproc-per-node GPUS -m train fit …
    """
    logs = LogOptions(tuple(name.value for name in log or ()))
    for name in logs.names:
        require_package(name, name, f"--log {name}")
    config = load_data_config(data)
    target = choose_device(device)
    with init_distributed(target.type) as world, make_reporter(is_main=world.is_main) as reporter, ExitStack() as held:
        trials = TrialSettings(config, out, target, workers, cache, save_every_steps)
        is_search_resumed = resume and (search is not None or is_search(out))
        if search or is_search_resumed:
            check_search(world)
        lock = held.enter_context(FolderLock(out)) if world.is_main else None
        if is_search_resumed:
            resume_search(trials, reporter, partial(_refuse_changes, context, options), search, logs.names)
            return
        if resume:
            run = resumed_run(out / "last.pt", config, target, world)
            _refuse_changes(context, options, run.options)
        else:
            _refuse_existing(out)
            run = Run(options, config, out, target, world)
            make_folder(out)
        if lock and not lock.is_held:
            lock.acquire()
            _refuse_existing(out)  # of a run that has ended meanwhile
        _announce(run, reporter)
        if search:
            begin_search(trials, reporter, options, given_options(context), search, logs.names)
            return
        run.fit(workers=workers, save_every_steps=save_every_steps, reporter=reporter, cache=cache, log=logs)
        if world.is_main and load_checkpoint(out / "best.pt").config.calibration is None:
            reporter.message("scores are not calibrated: val has too few detections. See realtime train calibrate")
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


def _refuse_existing(out: Path) -> None:
    for state in (out / "last.pt", out / STUDY_FILE):
        if state.exists():
            raise TrainError(f"{state} exists: go on with --resume, or choose another --out")


def _refuse_changes(context: typer.Context, given: FitOptions, kept: FitOptions) -> None:
    """Refuse options on the command line that are not those that a resumed run began with."""
    on_command_line = given_options(context)
    for name, value in asdict(kept).items():
        if name in on_command_line and getattr(given, name) != value:
            raise TrainError(
                f"{option_name(FitOptions, name)} {getattr(given, name)}: the run began with {value}, and a resumed "
                "run keeps that. Leave the option out, or begin a new run with --weights last.pt and another --out"
            )

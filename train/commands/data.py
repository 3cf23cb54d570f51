"""``train check`` and ``train preview``."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from train.cli_options import takes_options
from train.commands.arguments import Arch, DataFile, Split, check_folder_of
from train.data.check import check_data
from train.data.check_text import report_text
from train.data.data_yaml import load_data_config
from train.loop.options import FitOptions
from train.loop.preview import make_preview
from train.models.architectures import ARCHITECTURES


def check(
    data: DataFile,
    size: Annotated[
        int | None, typer.Option(min=1, help="Give sizes of boxes in pixels of an input of this side too.")
    ] = None,
    limit: Annotated[int, typer.Option(min=0, help="Problems of each kind to show.")] = 20,
    json_out: Annotated[Path | None, typer.Option("--json", help="Write the whole report to this file too.")] = None,
) -> None:
    """Report what a data set holds and everything wrong with it. Exit code 1 on errors, 0 on warnings alone."""
    if json_out:
        check_folder_of(json_out)
    report = check_data(data, size)
    typer.echo(report_text(report, limit))
    if json_out:
        json_out.write_text(json.dumps(report.as_dict(), indent=2) + "\n", encoding="utf-8")
    if report.errors:
        raise typer.Exit(1)


@takes_options(FitOptions, only=("mosaic", "flip", "rotation_deg"))
def preview(
    data: DataFile,
    out: Annotated[Path, typer.Option(help="Image to write, such as grid.png.")],
    split: Annotated[Split, typer.Option(help="Split to show; only train is ever augmented.")] = Split.TRAIN,
    augment: Annotated[bool, typer.Option("--augment/--no-augment", help="Augment, or only letterbox.")] = True,
    arch: Annotated[Arch, typer.Option(help="Architecture that gives the default size.")] = Arch.RESNET50,
    size: Annotated[
        int | None, typer.Option(min=32, help="Side of the square input in pixels; by default the architecture's.")
    ] = None,
    *,
    options: FitOptions,
    count: Annotated[int, typer.Option(min=1, help="Examples to show.")] = 16,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the run whose first examples to show.")] = 0,
) -> None:
    """Draw what the network will see: the first examples of a training with this seed, or letterboxed images."""
    check_folder_of(out)
    size = ARCHITECTURES[arch.value].default_size if size is None else size
    options = replace(options, size=size, seed=seed)
    is_augmented = augment and split is Split.TRAIN
    make_preview(load_data_config(data), out, options, split=split.value, count=count, augment=is_augmented)
    typer.echo(f"wrote {out}")

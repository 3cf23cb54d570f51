"""Is reading and augmenting the bottleneck of training?

The same batches go through the same steps twice: made by the processes that ``train fit`` starts, and from memory.
Turns alternate, so that a machine that slows down slows both. Each turn gives images/s over all of its steps, since a
slow reader shows in some steps only; the table gives the median over the rounds.
"""

import json
import os
import platform
import tempfile
import time
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Annotated

import cv2
import numpy as np
import torch
import typer

from train.data.data_yaml import load_data_config
from train.distributed import World
from train.loop.engine import train_steps
from train.loop.examples import RunExamples
from train.loop.interrupt import Interrupt
from train.loop.loading import Batch, load_batches
from train.loop.options import FitOptions
from train.loop.run import Run
from train.models.architectures import ARCHITECTURES

FIRST_STEPS = 2
"""Steps before the clock starts: processes come up, memory is laid out."""


def measure(
    data: Annotated[
        Path | None, typer.Argument(metavar="[DATA.yaml]", help="Data set; by default one is made.")
    ] = None,
    arch: Annotated[str, typer.Option(help=f"One of {', '.join(ARCHITECTURES)}.")] = "nano",
    size: Annotated[int | None, typer.Option(help="Side of the input; by default the architecture's.")] = None,
    batch_size: Annotated[int, typer.Option(min=1)] = 16,
    workers: Annotated[int, typer.Option(min=0, help="Processes that read and augment.")] = 2,
    steps: Annotated[int, typer.Option(min=1, help="Steps of each turn; their batches are held in memory.")] = 15,
    rounds: Annotated[int, typer.Option(min=1)] = 5,
    image_px: Annotated[int, typer.Option(min=32, help="Side of the images of a made data set.")] = 448,
    device: Annotated[str, typer.Option()] = "cuda" if torch.cuda.is_available() else "cpu",
    json_out: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file too.")] = None,
) -> None:
    """Compare training steps fed by reading processes with the same steps fed from memory."""
    side = size or ARCHITECTURES[arch].default_size
    # Weights that stay make every turn the same work.
    options = FitOptions(arch=arch, weights="none", size=side, batch_size=batch_size, lr=0.0)
    wanted = FIRST_STEPS + steps
    with tempfile.TemporaryDirectory() as folder:
        data = data or make_data_set(Path(folder), wanted * batch_size, image_px)
        run = Run(options, load_data_config(data), Path(folder), torch.device(device), World())
        if run.images.steps_per_epoch < wanted:
            raise typer.BadParameter(f"{wanted} steps wanted, but an epoch of {data} has {run.images.steps_per_epoch}")
        figures = compare(run, workers, wanted, rounds)
    medians = {name: median(values) for name, values in figures.items()}
    typer.echo(f"{'images/s':<24}{'median':>8}   rounds")
    for name, values in figures.items():
        typer.echo(f"{name:<24}{medians[name]:>8.1f}   {'  '.join(f'{v:.1f}' for v in values)}")
    loss = 1 - medians["steps, from workers"] / medians["steps, from memory"]
    typer.echo(f"reading and augmenting costs {loss:.1%} of the speed")
    if json_out:
        setup = {"arch": arch, "size": options.size, "batch_size": batch_size, "workers": workers, "steps": steps}
        machine = {"device": device, "cpus": os.cpu_count(), "torch": str(torch.__version__)}
        machine |= {"platform": platform.platform()}
        if device.startswith("cuda"):
            machine |= {"gpu": torch.cuda.get_device_name(device)}
        content = setup | {"machine": machine, "images_per_s": figures, "median": medians, "speed_lost": loss}
        json_out.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def compare(run: Run, workers: int, steps: int, rounds: int) -> dict[str, list[float]]:
    """Images/s of each round, fed both ways, and of the reading processes with nothing to wait for."""
    figures: dict[str, list[float]] = {"steps, from workers": [], "steps, from memory": [], "workers alone": []}
    for number in range(rounds):
        held: list[Batch] = []
        arrived = []
        for batch in islice(batches_of(run, number, workers), steps):
            held.append(batch)
            arrived.append(time.monotonic())
        images = run.options.batch_size * (steps - FIRST_STEPS)
        figures["workers alone"].append(images / (arrived[-1] - arrived[FIRST_STEPS - 1]))
        turns = ["steps, from workers", "steps, from memory"]
        for name in turns if number % 2 == 0 else reversed(turns):
            batches = held if name == "steps, from memory" else islice(batches_of(run, number, workers), steps)
            figures[name].append(speed(run, batches))
    return figures


def speed(run: Run, batches: Iterable[Batch]) -> float:
    """Images/s of training on these batches, the first steps left out."""
    steps = list(train_steps(run.state, batches, run.options, run.world, Interrupt()))[FIRST_STEPS:]
    return sum(step.images for step in steps) / sum(step.seconds for step in steps)


def batches_of(run: Run, epoch: int, workers: int) -> Iterable[Batch]:
    """The batches from an epoch on, made as ``Run`` makes them."""
    examples = RunExamples(run.images.train, run.options)
    return load_batches(examples, epoch, 0, world=run.world, workers=workers, pin_memory=run.device.type == "cuda")


def make_data_set(root: Path, count: int, side_px: int) -> Path:
    """Write JPEG images of coarse noise, as costly to decode as photos, with a box each; return the data.yaml."""
    rng = np.random.default_rng(0)
    for folder in ("images", "labels"):
        (root / folder).mkdir()
    for i in range(count):
        coarse = rng.integers(256, size=(side_px // 8, side_px // 8, 3), dtype=np.uint8)
        image = cv2.resize(coarse, (side_px, side_px), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(root / "images" / f"{i:05}.jpg"), image)
        label = "" if i % 8 == 0 else "0 0.5 0.5 0.4 0.4\n"  # some without objects: they become backgrounds
        (root / "labels" / f"{i:05}.txt").write_text(label, encoding="utf-8")
    data = root / "data.yaml"
    data.write_text("names: [thing]\ntrain: images\nval: images\n", encoding="utf-8")
    return data


if __name__ == "__main__":
    typer.run(measure)

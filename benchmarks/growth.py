"""What a frame costs as the work grows, and whether ten thousand frames cost more than the first ones.

Every series takes one thing up and leaves the rest as it is. Each of its steps runs the app's own pipeline on images
in memory, letterbox to drawing; the steps take turns. Input size and numbers of proposals are those of the model's
graph, so that they need graphs of their own: random weights do, since all shapes are fixed and the time of a
fixed-shape graph does not depend on what its weights are. They find nothing, so tracking and drawing are idle there.

The endurance run is ``realtime video`` on a long file, in a process of its own: decoder, encoder and JSON lines too.
"""

import json
import math
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Annotated, Any
from unittest.mock import patch

import cv2
import machine
import numpy as np
import typer
from endurance import DRIFT_SHARE, GROWTH_MARK, endure
from scenes import MemorySource

from realtime.controls import Controls
from realtime.image_io import read_image
from realtime.inference.detector import OnnxDetector, find_model
from realtime.inference.providers import Provider
from realtime.pipeline import Pipeline
from realtime.results import Result
from realtime.sinks.base import ClosingSink, Ending

PHOTOS = Path(__file__).parents[1] / "export" / "images"
INPUT_SIDES_PX = (192, 256, 320, 416)
CANDIDATES = (64, 150, 300, 600)
PROPOSALS = (48, 100, 150, 300)
FACES = (0, 1, 5, 20)
THREADS = (1, 2)
FRAMES_WH = ((640, 360), (1280, 720), (1920, 1080), (2560, 1440), (3840, 2160))
FRAME_WH = (1280, 720)
FACE = np.s_[15:175, 35:180]
"""Of the portrait, so that many are not too small to be found."""
WARM_UP_FRAMES = 3
SHIFT_PX = 3
"""Faces move by this from one image to the next, so that tracking has something to do."""
STAGES = ("preprocess", "infer", "track", "render")


@dataclass(frozen=True, slots=True)
class Setup:
    """What the series are made with."""

    model: str
    """Shipped, or an ONNX file."""
    arch: str
    """Of graphs of their own."""
    folder: Path
    """Where those go."""


@dataclass(slots=True)
class Step:
    """One step of a series."""

    label: str
    detector: OnnxDetector
    images: Sequence[np.ndarray]
    frame_ms: list[float] = field(default_factory=list)
    stages_ms: dict[str, list[float]] = field(default_factory=lambda: {stage: [] for stage in STAGES})
    """Of each round, the median over its frames."""
    faces: int = 0
    """Found in the last image."""


def measure(
    series: Annotated[str | None, typer.Option(help="Those to measure, with commas; by default all.")] = None,
    model: Annotated[str, typer.Option(help="Name of a shipped model, or an ONNX file.")] = "nano",
    arch: Annotated[str, typer.Option(help="Architecture of the series that need graphs of their own.")] = "nano",
    rounds: Annotated[int, typer.Option(min=1)] = 5,
    per_round: Annotated[int, typer.Option(min=1, help="Frames of each step in a round.")] = 40,
    frames: Annotated[int, typer.Option(min=20, help="Frames of the endurance run.")] = 10_000,
    json_out: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.")] = None,
) -> None:
    """Measure input size, proposals, faces, threads, size of frames, and endurance."""
    report: dict[str, Any] = {
        "machine": machine.describe(), "model": model, "arch": arch, "rounds": rounds, "per_round": per_round,
    }  # fmt: skip
    wanted = chosen(series)
    if "endurance" in wanted:  # first, though it has a process of its own: the machine is as cool as it gets
        report["endurance"] = in_own_process(model, frames)
        typer.echo(endurance_table(report["endurance"]) + "\n")
    report["series"] = {}
    with tempfile.TemporaryDirectory() as folder:
        setup = Setup(model, arch, Path(folder))
        for name in wanted:
            if name in SERIES:
                steps = SERIES[name](setup)
                run_in_turns(steps, rounds, per_round)
                report["series"][name] = {step.label: figures_of(step) for step in steps}
                typer.echo(series_table(name, report["series"][name]) + "\n")
    typer.echo(f"{machine.named(report['machine'])}; {rounds} rounds of {per_round} frames")
    if json_out:
        json_out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def chosen(series: str | None) -> list[str]:
    """Names of series; without torch not those that need it, unless they are asked for."""
    known = [*SERIES, "endurance"]
    if series is None:
        if find_spec("torch"):
            return known
        typer.echo(f"left out, since torch is not installed: {', '.join(NEED_TORCH)}\n")
        return [name for name in known if name not in NEED_TORCH]
    wanted = series.split(",")
    if unknown := [name for name in wanted if name not in known]:
        raise typer.BadParameter(
            f"expected some of {','.join(known)}, found {','.join(unknown)}", param_hint="--series"
        )
    if missing := [name for name in wanted if name in NEED_TORCH and not find_spec("torch")]:
        raise typer.BadParameter(f"{','.join(missing)}: torch is not installed", param_hint="--series")
    return wanted


# What grows


def input_sizes(setup: Setup) -> list[Step]:
    """Sides of the square input."""
    return [Step(f"{side} px", own_graph(setup, side), moving(1, FRAME_WH)) for side in INPUT_SIDES_PX]


def candidates(setup: Setup) -> list[Step]:
    """Boxes of each level that go into suppression."""
    return [
        Step(str(count), own_graph(setup, rpn_pre_nms_top_n_test=count), moving(1, FRAME_WH)) for count in CANDIDATES
    ]


def proposals(setup: Setup) -> list[Step]:
    """RoIs that the second stage looks at."""
    return [
        Step(str(count), own_graph(setup, rpn_post_nms_top_n_test=count), moving(1, FRAME_WH)) for count in PROPOSALS
    ]


def faces(setup: Setup) -> list[Step]:
    """Faces in the frame."""
    detector = OnnxDetector(find_model(setup.model), provider=Provider.CPU)
    return [Step(str(count), detector, moving(count, FRAME_WH)) for count in FACES]


def threads(setup: Setup) -> list[Step]:
    """Threads of onnxruntime: the app takes one for each core for a camera's frame."""
    steps = []
    for count in THREADS:
        with patch("realtime.inference.detector.core_count", return_value=count):
            detector = OnnxDetector(find_model(setup.model), provider=Provider.CPU)
        steps.append(Step(str(count), detector, moving(1, FRAME_WH)))
    return steps


def frame_sizes(setup: Setup) -> list[Step]:
    """Width and height of the frames."""
    detector = OnnxDetector(find_model(setup.model), provider=Provider.CPU)
    return [Step(f"{width}x{height}", detector, moving(1, (width, height))) for width, height in FRAMES_WH]


SERIES: dict[str, Callable[[Setup], list[Step]]] = {
    "input": input_sizes,
    "candidates": candidates,
    "proposals": proposals,
    "faces": faces,
    "threads": threads,
    "frame": frame_sizes,
}
NEED_TORCH = ("input", "candidates", "proposals")


def own_graph(setup: Setup, side_px: int | None = None, **options: int) -> OnnxDetector:
    """A detector of random weights, exported as trained ones are, with options of ``FasterRCNN``."""
    from untrained import export_untrained

    name = "-".join([str(side_px), *(f"{key}{value}" for key, value in options.items())])
    return OnnxDetector(
        export_untrained(setup.folder / f"{name}.onnx", setup.arch, side_px, options), provider=Provider.CPU
    )


def moving(count: int, size_wh: tuple[int, int]) -> list[np.ndarray]:
    """Images uint8 (H,W,3) BGR, read-only, of a scene with ``count`` faces, which sway from side to side."""
    scene = crowd(count, size_wh)
    shown = [np.roll(scene, shift * SHIFT_PX, axis=1) for shift in range(4)]
    for image in shown:
        image.flags.writeable = False
    return shown


def crowd(count: int, size_wh: tuple[int, int]) -> np.ndarray:
    """A portrait ``count`` times, side by side in rows as large as fits, before a night sky."""
    width, height = size_wh
    portrait = read_image(PHOTOS / "astronaut_close.jpg")[FACE]
    scene = cv2.resize(read_image(PHOTOS / "rocket.jpg"), size_wh, interpolation=cv2.INTER_AREA)
    if count == 0:
        return scene
    scales = []
    for columns in range(1, count + 1):
        rows = math.ceil(count / columns)
        scales.append((min(width / columns / portrait.shape[1], height / rows / portrait.shape[0]), columns, rows))
    scale, columns, rows = max(scales)
    scale *= 0.9  # room to move
    small = cv2.resize(portrait, None, fx=scale, fy=scale)
    for number in range(count):
        row, column = divmod(number, columns)
        top = int((row + 0.5) * height / rows - small.shape[0] / 2)
        left = int((column + 0.5) * width / columns - small.shape[1] / 2)
        scene[top : top + small.shape[0], left : left + small.shape[1]] = small
    return scene


# Running


class Clock(ClosingSink):
    """Takes drawn images, and notes when each one came."""

    needs_canvas = True
    is_slow = False

    def __init__(self) -> None:
        self.times_s: list[float] = []
        self.faces = 0

    def write(self, result: Result) -> None:
        """Take one."""
        self.times_s.append(time.perf_counter())
        self.faces = len(result.faces)

    def close(self, ending: Ending) -> None:
        """Nothing is held."""


def run_in_turns(steps: Sequence[Step], rounds: int, per_round: int) -> None:
    """Run each step once a round, forth and back."""
    for number in range(rounds):
        for step in steps if number % 2 == 0 else reversed(steps):
            run_once(step, per_round)


def run_once(step: Step, frames: int) -> None:
    """Run the pipeline on that many frames, and some before them that do not count."""
    clock, controls = Clock(), Controls(step.detector.metadata.threshold)
    source = MemorySource(step.images, WARM_UP_FRAMES + frames)
    stats = Pipeline(source, step.detector, [clock], controls).run()
    step.frame_ms += (1000 * np.diff(clock.times_s)[WARM_UP_FRAMES - 1 :]).tolist()
    step.faces = clock.faces
    for stage in STAGES:
        step.stages_ms[stage].append(stats.stages_ms[stage]["p50"])


def in_own_process(model: str, frames: int) -> dict[str, Any]:
    """``endure`` in a fresh process: nothing that was freed before hides its growth."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(endure, model, frames).result() | {"asked_by_pid": os.getpid()}


# Saying


def figures_of(step: Step) -> dict[str, Any]:
    """Plain JSON values."""
    return {
        "frame_ms": machine.spread(step.frame_ms),
        "stages_ms": {stage: round(median(values), 3) for stage, values in step.stages_ms.items()},
        "faces": step.faces,
    }


def series_table(name: str, rows: dict[str, Any]) -> str:
    """One series as an aligned table; ratios are to its first step."""
    heads = {"preprocess": "letterbox"}
    stages = "".join(f"{heads.get(stage, stage):>11}" for stage in STAGES)
    lines = [f"{name:<12}{'frame ms':>9}{'q1':>8}{'q3':>8}{'ratio':>8}{stages}{'faces':>7}"]
    first = next(iter(rows.values()))["frame_ms"]["median"]
    for label, row in rows.items():
        times = row["frame_ms"]
        stages = "".join(f"{row['stages_ms'][stage]:>11.2f}" for stage in STAGES)
        ratio = times["median"] / first
        lines.append(
            f"{label:<12}{times['median']:>9.2f}{times['q1']:>8.2f}{times['q3']:>8.2f}{ratio:>8.2f}{stages}{row['faces']:>7}"
        )
    return "\n".join(lines)


def endurance_table(row: dict[str, Any]) -> str:
    """The endurance run in three lines."""
    met = "met" if row["mark"]["met"] else "not met"
    rss, drift = row["rss_mib"], row["frame_ms"]
    return "\n".join(
        [
            f"endurance: {row['frames']} frames, {row['frames_per_s']:.1f} frames/s",
            f"memory: {rss['settled']:.1f} MiB after {row['settled_frames']} frames, {rss['end']:.1f} at the end, "
            f"{rss['most']:.1f} at most; growth {row['growth']:+.2%}, mark {GROWTH_MARK:.0%}: {met}",
            f"frame: {drift['first']:.2f} ms in the first {DRIFT_SHARE:.0%}, {drift['last']:.2f} ms in the last; "
            f"drift {row['drift']:+.1%}",
        ]
    )


if __name__ == "__main__":
    typer.run(measure)

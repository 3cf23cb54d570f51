"""Time per frame that the app spends outside of onnxruntime's ``session.run``.

Counted is the thread of the run, stage by stage, on images that are in memory already: reading them ahead is another
thread's work, and what an encoder costs shows as far as the run waits for it. Ways out take turns: the drawn image
thrown away, a video file, and with ``--window`` the app's window.
"""

import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any
from unittest.mock import patch

import machine
import numpy as np
import onnxruntime as ort
import typer
from pipeline import Taker
from scenes import MemorySource, images, size_of

from realtime.commands.live import open_window
from realtime.commands.outputs import Outputs
from realtime.controls import Controls
from realtime.inference.detector import OnnxDetector, find_model
from realtime.inference.providers import Provider
from realtime.pipeline import Pipeline
from realtime.sinks.base import Sink

MARK = 0.25
HELD_FRAMES = 48
WARM_UP_FRAMES = 5
INSIDE = "session.run"
STAGES = {"letterbox": "preprocess", "track": "track", "render": "render", "encode or show": "hand_over"}
"""Names in the table, and in the run's own statistics, of the stages that lie wholly outside."""


@contextmanager
def timed_sessions(times_ms: list[float]) -> Iterator[None]:
    """Let onnxruntime's sessions add the milliseconds of each run to ``times_ms``."""
    own_run = ort.InferenceSession.run

    def run(*args: Any, **options: Any) -> Any:
        started = time.perf_counter()
        outputs = own_run(*args, **options)
        times_ms.append(1000 * (time.perf_counter() - started))
        return outputs

    with patch.object(ort.InferenceSession, "run", run):
        yield


def measure(
    size: Annotated[str, typer.Option(metavar="WxH", help="Of the images.")] = "1280x720",
    frames: Annotated[int, typer.Option(min=2, help="Frames of each run.")] = 200,
    rounds: Annotated[int, typer.Option(min=1)] = 5,
    window: Annotated[bool, typer.Option("--window", help="Show them too; needs a display.")] = False,
    model: Annotated[str, typer.Option(help="Name of a shipped model, or an ONNX file.")] = "nano",
    json_out: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.")] = None,
) -> None:
    """Measure what a frame costs outside of the network."""
    detector = OnnxDetector(find_model(model), provider=Provider.CPU)
    shown = images(size_of(size), HELD_FRAMES)
    for image in shown[:WARM_UP_FRAMES]:
        detector.detect(image)
    with tempfile.TemporaryDirectory() as folder:
        ways = ways_out(Path(folder), detector, window=window)
        runs: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
        for number in range(rounds):
            for name in ways if number % 2 == 0 else reversed(ways):
                runs[name].append(stages_ms(detector, shown, frames, ways[name]))
    figures = {name: summary(rows) for name, rows in runs.items()}
    report = {
        "machine": machine.describe(),
        "model": model,
        "frame_wh": size_of(size),
        "frames": frames,
        "rounds": rounds,
        "ways": figures,
        "mark": {"outside": MARK, "met": all(row["outside"]["median"] <= MARK for row in figures.values())},
    }
    typer.echo(table(report))
    if json_out:
        json_out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


OpenSinks = Callable[[MemorySource, Controls], list[Sink]]


def ways_out(folder: Path, detector: OnnxDetector, *, window: bool) -> dict[str, OpenSinks]:
    """Where the images go, by name: what opens the sinks of a run."""

    def throw_away(_source: MemorySource, _controls: Controls) -> list[Sink]:
        return [Taker()]

    def write(source: MemorySource, _controls: Controls) -> list[Sink]:
        outputs = Outputs(window=False, video=folder / "out.mp4", jsonl=None)
        return outputs.open(source)

    def show(source: MemorySource, controls: Controls) -> list[Sink]:
        outputs = Outputs(window=True, video=None, jsonl=None, captures=folder)
        return [open_window(Live(source), detector, outputs, controls).window]

    return {"thrown away": throw_away, "video file": write} | ({"window": show} if window else {})


class Live(MemorySource):
    """Passes for a camera, since the window shows files at their own pace."""

    is_live = True

    def __init__(self, source: MemorySource) -> None:
        """``source``: which images the window is for."""
        self.size_wh = source.size_wh


def stages_ms(
    detector: OnnxDetector, shown: Sequence[np.ndarray], frames: int, open_sinks: OpenSinks
) -> dict[str, float]:
    """Medians over the frames of one run."""
    times_ms: list[float] = []
    source, controls = MemorySource(shown, frames), Controls(detector.metadata.threshold)
    with timed_sessions(times_ms):
        stats = Pipeline(source, detector, open_sinks(source, controls), controls).run()
    own = {stage: times["p50"] for stage, times in stats.stages_ms.items()}
    inside = float(np.median(times_ms))
    return {
        INSIDE: inside,
        "boxes": own["infer"] - inside,
        **{name: own.get(stage, 0.0) for name, stage in STAGES.items()},
    }


def summary(rows: list[dict[str, float]]) -> dict[str, Any]:
    """Medians and quartiles over the runs, of each stage and of the share outside."""
    frame_ms = [sum(row.values()) for row in rows]
    outside = [1 - row[INSIDE] / total for row, total in zip(rows, frame_ms, strict=True)]
    return {
        "stages_ms": machine.spread_of_each(rows),
        "frame_ms": machine.spread(frame_ms),
        "outside": machine.spread(outside),
    }


def table(report: dict[str, Any]) -> str:
    """The figures as an aligned table."""
    ways = report["ways"]
    stages = next(iter(ways.values()))["stages_ms"]
    lines = [f"{'ms per frame':<16}" + "".join(f"{way:>14}" for way in ways)]
    for stage in stages:
        cells = (f"{row['stages_ms'][stage]['median']:>14.2f}" for row in ways.values())
        lines.append(f"{stage:<16}" + "".join(cells))
    lines.append(f"{'frame':<16}" + "".join(f"{row['frame_ms']['median']:>14.2f}" for row in ways.values()))
    for name, key in (("outside", "median"), ("  quartiles", "q1"), ("", "q3")):
        lines.append(f"{name:<16}" + "".join(f"{row['outside'][key]:>14.1%}" for row in ways.values()))
    met = "met" if report["mark"]["met"] else "not met"
    lines.append(f"mark: at most {MARK:.0%} outside of session.run: {met}")
    width, height = report["frame_wh"]
    setting = f"{report['frames']} frames of {width}x{height}, {report['rounds']} rounds, {report['model']}"
    lines.append(f"{machine.named(report['machine'])}; {setting}")
    return "\n".join(lines)


if __name__ == "__main__":
    typer.run(measure)

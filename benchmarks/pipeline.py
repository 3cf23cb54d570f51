"""Does ``realtime video`` keep the cores busy with nothing but work that must be done?

Each stage is measured alone, with the app's own classes and settings: the CPU seconds of the whole process for a frame,
all threads counted, those that wait by spinning too. Then the whole run, by the very function that the command calls,
from opening the video to the finished file; it runs in this process, so that neither imports nor loading the model
count. Stages and whole take turns.

    efficiency = (sum of the stages' CPU seconds a frame / cores) / wall seconds a frame of the whole
"""

import io
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import machine
import numpy as np
import typer
from scenes import MemorySource, make_clip, size_of, to_and_fro
from steadiness import read

from realtime.commands.opening import open_detector
from realtime.commands.outputs import Outputs
from realtime.commands.running import RunOptions, run
from realtime.controls import Controls
from realtime.inference.cores import core_count, file_concurrency
from realtime.inference.detector import OnnxDetector
from realtime.inference.providers import Provider
from realtime.inference.timed import Detector, OneAtATime
from realtime.letterbox import LetterboxTransform
from realtime.pipeline import Pipeline
from realtime.results import Result
from realtime.sinks.base import ClosingSink, Ending
from realtime.sinks.encoding import Encoding
from realtime.sources.video_file import VideoFileSource
from realtime.structures import Detections

MARK = 0.9
HELD_FRAMES = 48
"""Images in memory, of which the stages alone are fed: 300 MB at 1080p."""


def measure(
    video: Annotated[
        Path | None, typer.Argument(metavar="[VIDEO]", help="Video file; by default one with sound is made.")
    ] = None,
    size: Annotated[str, typer.Option(metavar="WxH", help="Of the made video.")] = "1920x1080",
    frames: Annotated[int, typer.Option(min=2, help="Frames of the made video, and at most of a given one.")] = 300,
    rounds: Annotated[int, typer.Option(min=1)] = 5,
    model: Annotated[str, typer.Option(help="Name of a shipped model, or an ONNX file.")] = "nano",
    json_out: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.")] = None,
) -> None:
    """Measure frames/s and efficiency of ``realtime video``."""
    detector = open_detector(model, Provider.CPU, concurrency=file_concurrency())
    with tempfile.TemporaryDirectory() as folder:
        clip = video or make_clip(Path(folder) / "clip.mp4", size_of(size), frames)
        stages = Stages(clip, detector, frames, Path(folder) / "out.mp4")
        report = {
            "machine": machine.describe(),
            "model": model,
            "video": video.name if video else "made",
            "frame_wh": stages.size_wh,
            "frames": stages.frames,
            "rounds": rounds,
            **compare(stages.alone, stages.whole, stages.frames, rounds, core_count()),
        }
    typer.echo(table(report))
    if json_out:
        json_out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one frame."""

    cpu_ms: float
    wall_ms: float


def cost(work: Callable[[], object], frames: int) -> Cost:
    """What ``work`` on that many frames costs for each."""
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    work()
    wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
    return Cost(1000 * cpu_s / frames, 1000 * wall_s / frames)


def compare(
    alone: dict[str, Callable[[], object]], whole: Callable[[], object], frames: int, rounds: int, cores: int
) -> dict[str, Any]:
    """Measure stages and whole in turns; medians and quartiles over the rounds."""
    parts: dict[str, list[Cost]] = {name: [] for name in [*alone, "whole"]}
    turns = list((alone | {"whole": whole}).items())
    for number in range(rounds):
        for name, work in turns if number % 2 == 0 else reversed(turns):
            parts[name].append(cost(work, frames))
    wholes = parts.pop("whole")
    needs_ms = [sum(costs[number].cpu_ms for costs in parts.values()) for number in range(rounds)]
    efficiencies = [need / cores / one.wall_ms for need, one in zip(needs_ms, wholes, strict=True)]
    efficiency = machine.spread(efficiencies)
    return {
        "stages": {name: figures_of(costs) for name, costs in parts.items()},
        "needed_cpu_ms": machine.spread(needs_ms),
        "whole": figures_of(wholes),
        "frames_per_s": machine.spread([1000 / one.wall_ms for one in wholes]),
        "busy": machine.spread([one.cpu_ms / cores / one.wall_ms for one in wholes]),
        "efficiency": efficiency,
        "mark": {"efficiency": MARK, "met": efficiency["median"] >= MARK},
    }


def figures_of(costs: list[Cost]) -> dict[str, dict[str, float]]:
    """CPU and wall milliseconds a frame."""
    return {"cpu_ms": machine.spread([c.cpu_ms for c in costs]), "wall_ms": machine.spread([c.wall_ms for c in costs])}


class Stages:
    """The stages of the command on one video, each to be run alone, and all together."""

    def __init__(self, clip: Path, detector: OnnxDetector, frames: int, out: Path) -> None:
        """``out``: where videos are written again and again."""
        self._clip, self._detector, self._out = clip, detector, out
        self.frames = sum(1 for _ in read(clip, frames))
        held = list(read(clip, HELD_FRAMES))
        self._images = [frame.image for frame in held]
        self.size_wh = self._images[0].shape[1], self._images[0].shape[0]
        self._inputs = [(pixels.copy(), transform) for pixels, transform in map(detector.preprocess, self._images)]
        self._found = [detector.infer(*prepared) for prepared in self._inputs]
        keeper = Taker(keep=True)
        self._run_with(Recalled(detector, iter(self._found)), keeper, len(held))
        self._results = keeper.results
        self.alone: dict[str, Callable[[], object]] = {
            "decode": self._decode,
            "preprocess": self._preprocess,
            "infer": self._infer,
            "track, render": self._track_and_render,
            "encode": self._encode,
        }

    def whole(self) -> None:
        """What ``realtime video CLIP --out OUT`` does once the model is loaded."""
        source = VideoFileSource(self._clip)
        with redirect_stderr(io.StringIO()):
            run(source, self._detector, self._outputs(source), RunOptions(max_frames=self.frames))

    def _outputs(self, source: VideoFileSource) -> Outputs:
        return Outputs(
            window=False, video=self._out, jsonl=None, original=source, encoding=Encoding(), progress=self._clip.name
        )

    def _decode(self) -> None:
        for _ in read(self._clip, self.frames):
            pass

    def _preprocess(self) -> None:
        for image in to_and_fro(self._images, self.frames):
            self._detector.preprocess(image)

    def _infer(self) -> None:
        for pixels, transform in to_and_fro(self._inputs, self.frames):
            self._detector.infer(pixels, transform)

    def _track_and_render(self) -> None:
        self._run_with(Recalled(self._detector, to_and_fro(self._found, self.frames)), Taker(), self.frames)

    def _encode(self) -> None:
        source = VideoFileSource(self._clip)
        sinks = self._outputs(source).open(source)
        for index, result in enumerate(to_and_fro(self._results, self.frames)):
            pts_s = source.origin_s + float(index / source.frame_rate)
            for sink in sinks:
                sink.write(replace(result, frame=replace(result.frame, pts_s=pts_s)))
        for sink in sinks:
            sink.close(Ending.COMPLETE)
        source.close()

    def _run_with(self, detector: Detector, taker: "Taker", frames: int) -> None:
        """The pipeline's own loop over images in memory."""
        controls = Controls(detector.metadata.threshold)
        Pipeline(MemorySource(self._images, frames), detector, [taker], controls).run()


class Recalled(OneAtATime):
    """Finds what was found before."""

    def __init__(self, detector: OnnxDetector, found: Iterator[Detections]) -> None:
        self.metadata = detector.metadata
        self.concurrency, self.is_thread_safe = 1, False
        self._found = found
        self._nothing = LetterboxTransform((0, 0), (1.0, 1.0), (0, 0))

    def preprocess(self, image: np.ndarray) -> tuple[np.ndarray, LetterboxTransform]:
        """Costs nothing."""
        return image, self._nothing

    def infer(self, network_input: np.ndarray, transform: LetterboxTransform) -> Detections:
        """The detections of the next image."""
        return next(self._found)


class Taker(ClosingSink):
    """Takes drawn images, and keeps them on request."""

    needs_canvas = True
    is_slow = False

    def __init__(self, *, keep: bool = False) -> None:
        self.results: list[Result] = []
        self._keep = keep

    def write(self, result: Result) -> None:
        """Take one."""
        if self._keep:
            self.results.append(result)

    def close(self, ending: Ending) -> None:
        """Nothing is held."""


def table(report: dict[str, Any]) -> str:
    """The figures as an aligned table."""
    lines = [f"{'alone, per frame':<18}{'CPU ms':>9}{'q1':>8}{'q3':>8}{'wall ms':>9}{'of CPU':>8}"]
    needed = report["needed_cpu_ms"]["median"]
    for name, row in report["stages"].items():
        cpu = row["cpu_ms"]
        share = f"{cpu['median'] / needed:>8.0%}" if needed else f"{'-':>8}"
        lines.append(
            f"{name:<18}{cpu['median']:>9.2f}{cpu['q1']:>8.2f}{cpu['q3']:>8.2f}{row['wall_ms']['median']:>9.2f}{share}"
        )
    for name, row in (("sum", report["needed_cpu_ms"]), ("whole run", report["whole"]["cpu_ms"])):
        wall = f"{report['whole']['wall_ms']['median']:>9.2f}" if name == "whole run" else ""
        lines.append(f"{name:<18}{row['median']:>9.2f}{row['q1']:>8.2f}{row['q3']:>8.2f}{wall}")
    for name, figure, form in (("frames/s", "frames_per_s", ".1f"), ("cores busy", "busy", ".2f")):
        row = report[figure]
        lines.append(f"{name:<18}{row['median']:>9{form}}{row['q1']:>8{form}}{row['q3']:>8{form}}")
    row, met = report["efficiency"], "met" if report["mark"]["met"] else "not met"
    lines.append(f"{'efficiency':<18}{row['median']:>9.2f}{row['q1']:>8.2f}{row['q3']:>8.2f}   mark {MARK}: {met}")
    width, height = report["frame_wh"]
    setting = f"{report['frames']} frames of {width}x{height}, {report['rounds']} rounds, {report['model']}"
    lines.append(f"{machine.named(report['machine'])}; {setting}")
    return "\n".join(lines)


if __name__ == "__main__":
    typer.run(measure)

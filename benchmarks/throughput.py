"""Frames/s of ``realtime video`` with one frame after the other, as of a camera, and with several at a time, in turns.

Whole runs, by the very function that the command calls, from opening the video to the finished file: JSON lines alone,
and with the drawn video. They run in this process, so that neither imports nor loading the model count.
"""

import io
import json
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stderr
from pathlib import Path
from typing import Annotated, Any

import machine
import typer
from scenes import make_clip, size_of
from steadiness import read

from realtime.commands.opening import open_detector
from realtime.commands.outputs import Outputs
from realtime.commands.running import RunOptions, run
from realtime.inference.cores import file_concurrency
from realtime.inference.detector import OnnxDetector
from realtime.inference.providers import Provider
from realtime.sources.video_file import VideoFileSource


def measure(
    video: Annotated[
        Path | None, typer.Argument(metavar="[VIDEO]", help="Video file; by default one with sound is made.")
    ] = None,
    size: Annotated[str, typer.Option(metavar="WxH", help="Of the made video.")] = "1280x720",
    frames: Annotated[int, typer.Option(min=2, help="Frames of the made video, and at most of a given one.")] = 300,
    rounds: Annotated[int, typer.Option(min=1)] = 5,
    models: Annotated[str, typer.Option(help="Names of shipped models, or ONNX files, with commas.")] = (
        "pico,nano,mobile"
    ),
    concurrency: Annotated[
        int | None, typer.Option(min=2, help="Frames at a time; by default as the app does it, one for each core.")
    ] = None,
    json_out: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.")] = None,
) -> None:
    """Measure what detecting several frames at a time gives."""
    at_a_time = concurrency or max(2, file_concurrency())
    with tempfile.TemporaryDirectory() as folder:
        clip = video or make_clip(Path(folder) / "clip.mp4", size_of(size), frames)
        given = sum(1 for _ in read(clip, frames))
        rows = [
            {"model": model, "written": written, **compare(works, given, rounds)}
            for model in models.split(",")
            for written, works in ways(clip, model, at_a_time, given, Path(folder)).items()
        ]
    report = {
        "machine": machine.describe(),
        "video": video.name if video else f"made, {size}",
        "frames": given,
        "rounds": rounds,
        "concurrency": at_a_time,
        "rows": rows,
    }
    typer.echo(table(report))
    if json_out:
        json_out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


Works = tuple[Callable[[], None], Callable[[], None]]
"""A run one frame after the other, and one with several at a time."""


def ways(clip: Path, model: str, concurrency: int, frames: int, folder: Path) -> dict[str, Works]:
    """The runs by what they write."""
    one, several = (open_detector(model, Provider.CPU, concurrency=count) for count in (1, concurrency))
    lines, drawn = folder / "out.jsonl", folder / "out.mp4"

    def work(detector: OnnxDetector, video: Path | None) -> Callable[[], None]:
        def process() -> None:
            source = VideoFileSource(clip)
            outputs = Outputs(window=False, video=video, jsonl=lines, original=source)
            with redirect_stderr(io.StringIO()):
                run(source, detector, outputs, RunOptions(max_frames=frames))

        return process

    return {
        "JSON lines": (work(one, None), work(several, None)),
        "JSON lines, video": (work(one, drawn), work(several, drawn)),
    }


def compare(works: Works, frames: int, rounds: int) -> dict[str, Any]:
    """Run both in turns; medians and quartiles of frames/s, and of the ratio within each round."""
    speeds: list[list[float]] = []
    for number in range(rounds):
        timed = [0.0, 0.0]
        for which in (0, 1) if number % 2 == 0 else (1, 0):
            started_s = time.perf_counter()
            works[which]()
            timed[which] = frames / (time.perf_counter() - started_s)
        speeds.append(timed)
    return {
        "one_frames_per_s": machine.spread([one for one, _ in speeds]),
        "several_frames_per_s": machine.spread([several for _, several in speeds]),
        "ratio": machine.spread([several / one for one, several in speeds]),
    }


def table(report: dict[str, Any]) -> str:
    """The figures as an aligned table."""
    lines = [f"{'frames/s':<28}{'one':>8}{'several':>9}{'ratio':>8}{'q1':>7}{'q3':>7}"]
    for row in report["rows"]:
        one, several, ratio = (row[name] for name in ("one_frames_per_s", "several_frames_per_s", "ratio"))
        lines.append(
            f"{row['model'] + ', ' + row['written']:<28}{one['median']:>8.1f}{several['median']:>9.1f}"
            f"{ratio['median']:>8.2f}{ratio['q1']:>7.2f}{ratio['q3']:>7.2f}"
        )
    lines.append(
        f"{machine.named(report['machine'])}; {report['concurrency']} frames at a time; {report['frames']} frames, "
        f"{report['video']}, {report['rounds']} rounds"
    )
    return "\n".join(lines)


if __name__ == "__main__":
    typer.run(measure)

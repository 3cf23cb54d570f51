"""How much faster two workers are than one, with many clips and with a long video, and whether results are the same.

    python benchmarks/workers.py
    python benchmarks/workers.py --clips 0 --long-s 600 --size 160x90

``one`` is one process on one core, ``two`` are two workers on two cores, ``both`` is one process on both cores, whose
results are compared with those of the workers. Times mean something on two idle cores alone; CPU times are those of all
processes. Takes three minutes.
"""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import machine
import typer
from scenes import FRAME_RATE, make_clip, size_of

from realtime.batch.segmented import PART_S
from realtime.ffmpeg import av

RUN = """
import os, sys
os.sched_setaffinity(0, map(int, sys.argv.pop(1).split(",")))
from realtime.batch import segmented
segmented.PART_S, segmented.MIN_BYTES = float(sys.argv.pop(1)), 1
from realtime.cli import run_cli
run_cli()
"""
PARTS = 6
"""Of the long video, more if they would be longer than those of a user."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one command."""

    wall_s: float
    cpu_s: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """Of a process on one core, two workers, and a process on both cores."""

    what: str
    costs: dict[str, Cost]
    checks: dict[str, bool]
    """What is the same with two workers as with one process on both cores."""

    @property
    def factor(self) -> float:
        """How many times as fast two are as one."""
        return self.costs["one"].wall_s / self.costs["two"].wall_s

    def __str__(self) -> str:
        walls = "".join(f"{cost.wall_s:7.1f}" for cost in self.costs.values())
        cpus = "".join(f"{cost.cpu_s:7.1f}" for cost in self.costs.values())
        lines = [f"{self.what:<24}{walls}{self.factor:8.2f}  {cpus}"]
        lines += [f"    {name}: {'the same' if is_same else 'DIFFERENT'}" for name, is_same in self.checks.items()]
        return "\n".join(lines)


WAYS = {"one": (1, 1), "two": (2, 2), "both": (2, 1)}
"""Cores and workers."""


def main(
    clips: Annotated[int, typer.Option(min=0, help="Clips; 0 for none.")] = 200,
    frames: Annotated[int, typer.Option(min=1, help="Frames of each.")] = 10,
    long_s: Annotated[float, typer.Option(min=0, help="Seconds of the long video; 0 for none.")] = 60,
    size: Annotated[str, typer.Option(help="Of all videos.")] = "320x180",
    model: Annotated[str, typer.Option(help="A name or file.")] = "nano",
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.")] = None,
) -> None:
    """Compare one worker with two."""
    rows = []
    with TemporaryDirectory() as name:
        folder = Path(name)
        if clips:
            rows.append(compare_clips(folder, clips, frames, size_of(size), model))
        if long_s:
            rows.append(compare_long(folder, long_s, size_of(size), model))
    typer.echo(f"{'seconds':<24}{'one':>7}{'two':>7}{'both':>7}{'factor':>8}  {'CPU':>7}{'CPU':>7}{'CPU':>7}")
    for row in rows:
        typer.echo(str(row))
    typer.echo(machine.named(machine.describe()))
    if json_file:
        report = {"rows": [asdict(row) | {"factor": row.factor} for row in rows], "machine": machine.describe()}
        json_file.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def compare_clips(folder: Path, clips: int, frames: int, size_wh: tuple[int, int], model: str) -> Comparison:
    """Many clips: bytes of the drawn videos and of the JSON lines."""
    (folder / "clips").mkdir()
    first = make_clip(folder / "clips" / "000.mp4", size_wh, frames)
    for number in range(1, clips):
        (folder / "clips" / f"{number:03}.mp4").write_bytes(first.read_bytes())
    costs = {
        way: run(folder, ["clips", "--out", f"{way}/drawn", "--jsonl", f"{way}/found"], way, model) for way in WAYS
    }
    two, both = (_contents(folder / way) for way in ("two", "both"))
    checks = {f"{len(both)} files": two == both and len(both) == 2 * clips}
    return Comparison(f"{clips} clips of {frames} frames", costs, checks)


def compare_long(folder: Path, long_s: float, size_wh: tuple[int, int], model: str) -> Comparison:
    """One video in parts: its JSON lines, timestamps and sound."""
    make_clip(folder / "long.mp4", size_wh, round(long_s * FRAME_RATE))
    costs = {
        way: run(folder, ["long.mp4", "--out", f"{way}.mp4", "--jsonl", f"{way}.jsonl"], way, model, long_s)
        for way in WAYS
    }
    two, both = (_packets(folder / f"{way}.mp4") for way in ("two", "both"))
    checks = {
        "JSON": (folder / "two.jsonl").read_bytes() == (folder / "both.jsonl").read_bytes(),
        f"timestamps of {len(both['video'])} frames": two["video"] == both["video"],
        f"{len(both['audio'])} packets of sound": two["audio"] == both["audio"],
    }
    return Comparison(f"a video of {long_s:g} s", costs, checks)


def run(folder: Path, arguments: Sequence[str], way: str, model: str, long_s: float = 1e6) -> Cost:
    """Run ``realtime video``, and wait for its end."""
    count, workers = WAYS[way]
    cores = ",".join(map(str, sorted(os.sched_getaffinity(0))[:count]))
    for name in (name for name in arguments if name.startswith(f"{way}/")):
        (folder / name).mkdir(parents=True)
    more = ["--workers", str(workers)] if workers > 1 else []
    part_s = str(min(PART_S, long_s / PARTS))
    command = [sys.executable, "-c", RUN, cores, part_s, "video", *arguments, *more, "--model", model]
    before, started_s = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    environment = os.environ | {"PYTHONPATH": machine.python_path(Path(__file__).parents[1])}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise typer.BadParameter(done.stderr)
    wall_s, after = time.perf_counter() - started_s, resource.getrusage(resource.RUSAGE_CHILDREN)
    return Cost(wall_s, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def _contents(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.glob("*/*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def _packets(path: Path) -> dict[str, list[Any]]:
    """Timestamps of the frames, and timestamps and bytes of the sound."""
    with av.open(str(path)) as container:
        found: dict[str, list[Any]] = {"video": [], "audio": []}
        for packet in container.demux():
            if packet.size:
                is_video = packet.stream.type == "video"
                found[packet.stream.type].append(packet.pts if is_video else (packet.pts, bytes(packet)))
    return {"video": sorted(found["video"]), "audio": found["audio"]}


if __name__ == "__main__":
    typer.run(main)

"""From the command to the first frame: seconds, the imports among them, and memory.

Every run is a process of its own, begun as a user begins it and watched from outside: with ``--max-frames 1`` the file
of results appears under its name once its one frame has been detected, drawn and shown, and all is closed. The camera
is scripted, and opens at once unless ``--camera-opens`` says that it takes its time, as real ones do. ``--against``
takes another checkout of the app in turns with this one, so that a change shows on a busy machine too.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import machine
import typer

ROOT = Path(__file__).parents[1]
SAMPLE = ROOT / "samples" / "astronaut.mp4"
MARK_S = 1.0
TOP = 15
POLL_S = 0.001
TIMEOUT_S = 120.0
APP = "from realtime.cli import run_cli; run_cli()"
CAMERA = f"""
import os, time, cv2, numpy as np
class Camera:
    def __init__(self, *_):
        time.sleep(float(os.environ["CAMERA_OPENS_S"]))
        self.image = np.random.default_rng(0).integers(256, size=(720, 1280, 3), dtype=np.uint8)
    def isOpened(self): return True
    def get(self, key): return {{cv2.CAP_PROP_FRAME_WIDTH: 1280.0, cv2.CAP_PROP_FRAME_HEIGHT: 720.0}}.get(key, 30.0)
    def set(self, *_): return True
    def read(self):
        time.sleep(1 / 30)
        return True, self.image.copy()
    def release(self): pass
cv2.VideoCapture = Camera
{APP}
"""
IMPORT_LINE = re.compile(r"import time:\s*(\d+) \|\s*(\d+) \| *(\S+)")


@dataclass(frozen=True, slots=True)
class Case:
    """One way to start the app."""

    program: str
    arguments: tuple[str, ...]
    needs_display: bool = False
    has_result: bool = True
    """False for a command without frames: its end counts."""


ONE_FRAME = ("--provider", "cpu", "--max-frames", "1", "--jsonl", "{result}")
CASES = {
    "help": Case(APP, ("--help",), has_result=False),
    "video": Case(APP, ("video", str(SAMPLE), *ONE_FRAME)),
    "camera": Case(CAMERA, ("cam", "--no-window", *ONE_FRAME)),
    "window": Case(CAMERA, ("cam", *ONE_FRAME), needs_display=True),
}

IMPORTS = ("help", "video")
"""Cases whose imports are listed."""


@dataclass(frozen=True, slots=True)
class Start:
    """How one start went."""

    wall_s: float
    """From the command to the first frame, or to the end where there is none."""
    cpu_s: float
    """Of the whole process, its end included."""
    peak_mib: float
    """Most memory that it held."""


def measure(
    rounds: Annotated[int, typer.Option(min=1, help="Starts of each kind.")] = 11,
    against: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Another checkout of the app, to take turns with this one.")
    ] = None,
    only: Annotated[str | None, typer.Option(help=f"Some of {','.join(CASES)}; by default all.")] = None,
    camera_opens: Annotated[float, typer.Option(min=0, help="Seconds that the camera takes to open.")] = 0.0,
    json_out: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.")] = None,
) -> None:
    """Measure how long the app takes to show something."""
    if against and not (against / "realtime" / "cli.py").is_file():
        raise typer.BadParameter(f"expected a checkout of this project, found no realtime/cli.py in {against}")
    checkouts = {"": ROOT} | ({str(against): against.resolve()} if against else {})
    wanted = chosen(only)
    with display() as environment:
        environment["CAMERA_OPENS_S"] = str(camera_opens)
        cases = {name: case for name, case in wanted.items() if "DISPLAY" in environment or not case.needs_display}
        starts = in_turns(cases, checkouts, environment, rounds)
        imports = {name: imported(cases[name], environment, rounds) for name in IMPORTS if name in cases}
    figures = {label: summary(rows) for label, rows in starts.items()}
    frames = [figures[name]["wall_s"]["median"] for name, case in cases.items() if case.has_result]
    met = max(frames) <= MARK_S if frames else None
    report = {
        "machine": machine.describe(), "rounds": rounds, "starts": figures, "imports": imports,
        "camera_opens_s": camera_opens, "mark": {"first_frame_s": MARK_S, "met": met},
    }  # fmt: skip
    typer.echo(table(report))
    if left_out := ", ".join(wanted.keys() - cases.keys()):
        typer.echo(f"left out, since there is neither a display nor Xvfb: {left_out}")
    if json_out:
        json_out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def chosen(only: str | None) -> dict[str, Case]:
    """The cases of these names."""
    names = only.split(",") if only else list(CASES)
    if unknown := [name for name in names if name not in CASES]:
        raise typer.BadParameter(f"expected some of {','.join(CASES)}, found {','.join(unknown)}", param_hint="--only")
    return {name: CASES[name] for name in names}


@contextmanager
def display() -> Iterator[dict[str, str]]:
    """The environment of the runs: with a display if there is one, or Xvfb to make one."""
    environment = dict(os.environ)
    if "DISPLAY" in environment or not shutil.which("Xvfb"):
        yield environment
        return
    environment.pop("WAYLAND_DISPLAY", None)
    read_end, write_end = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(write_end), "-screen", "0", "1280x800x24", "-nolisten", "tcp", "-noreset"],
        pass_fds=[write_end], stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(write_end)
    try:
        with os.fdopen(read_end) as pipe:
            number = pipe.readline().strip()
        yield environment | ({"DISPLAY": f":{number}"} if number else {})
    finally:
        server.terminate()
        server.wait()


def in_turns(
    cases: dict[str, Case], checkouts: dict[str, Path], environment: dict[str, str], rounds: int
) -> dict[str, list[Start]]:
    """The starts of every case and checkout, after one each that only brings the files into memory."""
    turns = [
        (f"{name} {label}".strip(), case, root) for name, case in cases.items() for label, root in checkouts.items()
    ]
    starts: dict[str, list[Start]] = {label: [] for label, _, _ in turns}
    for number in range(rounds + 1):
        for label, case, root in turns if number % 2 == 0 else reversed(turns):
            one = start(case, root, environment)
            if number:
                starts[label].append(one)
    return starts


def start(case: Case, root: Path, environment: dict[str, str]) -> Start:
    """Start the app of a checkout once, and wait for its first frame and its end."""
    with tempfile.TemporaryDirectory() as folder:
        result, errors = Path(folder) / "result.jsonl", Path(folder) / "errors"
        command = [sys.executable, "-c", case.program, *(text.format(result=result) for text in case.arguments)]
        with errors.open("w") as stderr:
            begun_s = time.perf_counter()
            process = subprocess.Popen(
                command,
                cwd=folder,
                env=environment | {"PYTHONPATH": machine.python_path(root)},
                stdout=subprocess.DEVNULL,
                stderr=stderr,
            )
            shown_s = None
            while True:
                if shown_s is None and result.exists():
                    shown_s = time.perf_counter()
                pid, status, usage = os.wait4(process.pid, os.WNOHANG)
                if pid:
                    break
                if time.perf_counter() - begun_s > TIMEOUT_S:
                    process.kill()
                time.sleep(POLL_S)
        ended_s = time.perf_counter()
        process.returncode = os.waitstatus_to_exitcode(status)
        if shown_s is None and result.exists():
            shown_s = ended_s
        if process.returncode or (case.has_result and shown_s is None):
            said = errors.read_text().strip().splitlines()
            sys.exit(
                f"error: {' '.join(case.arguments[:1])} ended with {process.returncode}: {said[-1] if said else ''}"
            )
    peak_mib = usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    return Start((shown_s or ended_s) - begun_s, usage.ru_utime + usage.ru_stime, peak_mib)


def summary(rows: list[Start]) -> dict[str, dict[str, float]]:
    """Median and quartiles of each figure."""
    return {name: machine.spread([getattr(row, name) for row in rows]) for name in Start.__slots__}


def imported(case: Case, environment: dict[str, str], rounds: int) -> dict[str, Any]:
    """What a start imports: ``python -X importtime``, medians over the rounds, modules summed by package."""
    runs: list[dict[str, tuple[int, float]]] = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(rounds):
            arguments = [text.format(result=Path(folder) / f"{number}.jsonl") for text in case.arguments]
            done = subprocess.run(
                [sys.executable, "-X", "importtime", "-c", case.program, *arguments], check=True, text=True,
                cwd=folder, env=environment | {"PYTHONPATH": machine.python_path(ROOT)},
                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            )  # fmt: skip
            runs.append(by_package(done.stderr.splitlines()))
    totals_ms = [sum(own_ms for _, own_ms in run.values()) for run in runs]
    packages: list[dict[str, Any]] = [
        {"name": name, "modules": modules, "own_ms": machine.spread([run[name][1] for run in runs if name in run])}
        for name, (modules, _) in runs[0].items()
    ]
    packages.sort(key=lambda package: -package["own_ms"]["median"])
    modules = sum(package["modules"] for package in packages)
    return {"total_ms": machine.spread(totals_ms), "modules": modules, "packages": packages[:TOP]}


def by_package(lines: Sequence[str]) -> dict[str, tuple[int, float]]:
    """Modules and their own milliseconds, without those that they import, of each top-level package."""
    packages: dict[str, tuple[int, float]] = {}
    for match in filter(None, map(IMPORT_LINE.match, lines)):
        name = match[3].partition(".")[0]
        modules, own_ms = packages.get(name, (0, 0.0))
        packages[name] = modules + 1, own_ms + int(match[1]) / 1000
    return packages


def table(report: dict[str, Any]) -> str:
    """The figures as aligned tables."""
    width = max(map(len, report["starts"])) + 2
    lines = [f"{'start':<{width}}{'s':>7}{'q1':>7}{'q3':>7}{'CPU s':>8}{'MiB':>7}"]
    for name, row in report["starts"].items():
        wall = row["wall_s"]
        lines.append(
            f"{name:<{width}}{wall['median']:>7.3f}{wall['q1']:>7.3f}{wall['q3']:>7.3f}"
            f"{row['cpu_s']['median']:>8.3f}{row['peak_mib']['median']:>7.0f}"
        )
    for name, row in report["imports"].items():
        total = row["total_ms"]["median"]
        width = max(len(package["name"]) for package in row["packages"]) + 2
        lines += ["", f"{'imports of ' + name:<{width}}{'modules':>8}{'ms':>8}{'q1':>8}{'q3':>8}"]
        for package in row["packages"]:
            own = package["own_ms"]
            lines.append(
                f"{package['name']:<{width}}{package['modules']:>8}{own['median']:>8.1f}{own['q1']:>8.1f}{own['q3']:>8.1f}"
            )
        lines.append(f"{'all':<{width}}{row['modules']:>8}{total:>8.1f}")
    met = {True: "met", False: "not met", None: "not measured"}[report["mark"]["met"]]
    where = f"{machine.named(report['machine'])}, {report['rounds']} rounds"
    return "\n".join([*lines, "", f"mark, first frame within {MARK_S:.1f} s: {met}", where])


if __name__ == "__main__":
    typer.run(measure)

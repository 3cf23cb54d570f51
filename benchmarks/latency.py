"""Age of what a live run shows: a scripted camera writes the time into its images, and the shown image is read.

The camera exposes at a fixed rate; the time at which an image was due stands in blocks of black and white at its
lower edge. It passes through the live pipeline as any image does. Where the app would show it, the time is read back
out of the drawn image: that is its age, whatever the app itself says. Rates take turns.

Mark: 95 % of the shown frames are no older than one inference, one frame interval and 5 ms.
"""

import json
import threading
import time
import zlib
from collections.abc import Sequence
from fractions import Fraction
from itertools import cycle
from pathlib import Path
from typing import Annotated, Any

import cv2
import machine
import numpy as np
import typer
from scenes import images, size_of

from realtime.controls import Controls
from realtime.inference.detector import OnnxDetector, find_model
from realtime.inference.providers import Provider
from realtime.inference.timed import Detector
from realtime.pipeline import Pipeline
from realtime.regions.tiles import Reach
from realtime.results import Result
from realtime.sinks.base import ClosingSink, Ending, Sink
from realtime.sources.base import LIVE_TIME_BASE, FrameSource
from realtime.structures import Frame
from realtime.ui.overlay import Toast
from realtime.ui.snapshot import Snapshots
from realtime.ui.view import View
from realtime.ui.window import WindowSink

ALLOWANCE_MS = 5.0
RATES = (30, 60)
"""Frames per second, if none are given."""
HELD_FRAMES = 48
WARM_UP_FRAMES = 10
"""The first that are shown do not count."""
TIME_BYTES = 6
"""Of microseconds: nine years."""
BITS = 8 * (TIME_BYTES + 1)
"""The last byte checks the others."""
STRIP_SHARE = 1 / 30
"""Height of the blocks, of the image's."""


def measure(
    rate: Annotated[
        list[int] | None, typer.Option(min=1, help="Of the camera, in frames per second; may be repeated.")
    ] = None,
    size: Annotated[str, typer.Option(metavar="WxH", help="Of its images.")] = "1280x720",
    seconds: Annotated[float, typer.Option(min=0.1, help="Length of each run.")] = 10.0,
    rounds: Annotated[int, typer.Option(min=1)] = 5,
    window: Annotated[bool, typer.Option("--window", help="Show them in the app's window; needs a display.")] = False,
    model: Annotated[str, typer.Option(help="Name of a shipped model, or an ONNX file.")] = "nano",
    reach: Annotated[str, typer.Option(help="near, auto, far or a grid such as 3x2.")] = "near",
    json_out: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.")] = None,
) -> None:
    """Measure the age of shown frames, and how many are dropped."""
    detector = OnnxDetector(find_model(model), provider=Provider.CPU)
    scene = images(size_of(size), HELD_FRAMES)
    for image in scene[:WARM_UP_FRAMES]:
        detector.detect(image)
    rates = rate or list(RATES)
    runs: dict[int, list[dict[str, float]]] = {one: [] for one in rates}
    for number in range(rounds):
        for one in rates if number % 2 == 0 else reversed(rates):
            runs[one].append(run_live(scene, one, detector, seconds, reach=Reach.parse(reach), window=window))
    report = {
        "machine": machine.describe(),
        "model": model,
        "reach": reach,
        "frame_wh": size_of(size),
        "window": window,
        "seconds": seconds,
        "rounds": rounds,
        "rates": {str(one): summary(rows, one) for one, rows in runs.items()},
    }
    typer.echo(table(report))
    if json_out:
        json_out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def write_time(image: np.ndarray, time_us: int) -> None:
    """Write a time into the lower edge of an image uint8 (H,W,3), in place: a white block for each bit that is set."""
    digits = time_us.to_bytes(TIME_BYTES, "big")
    bits = np.unpackbits(np.frombuffer(digits + check_of(digits), np.uint8))[None] * np.uint8(255)
    strip = image[-strip_height(image) :]
    strip[:] = cv2.resize(bits, strip.shape[1::-1], interpolation=cv2.INTER_NEAREST_EXACT)[..., None]


def read_time(image: np.ndarray) -> int | None:
    """The time in microseconds that ``write_time`` wrote, also into a larger image; None if it is not whole."""
    columns = ((np.arange(BITS) + 0.5) * image.shape[1] / BITS).astype(int)
    bits = image[-max(1, strip_height(image) // 2), columns].mean(axis=1) > 127
    read = np.packbits(bits).tobytes()
    digits, check = read[:TIME_BYTES], read[TIME_BYTES:]
    return int.from_bytes(digits, "big") if check == check_of(digits) else None


def check_of(digits: bytes) -> bytes:
    """One byte that tells whether the others are right; 0 for none of them, as in a black image, is not."""
    return bytes([zlib.crc32(digits) & 0xFF])


def strip_height(image: np.ndarray) -> int:
    """Of the blocks, in pixels."""
    height: int = image.shape[0]
    return max(2, round(STRIP_SHARE * height))


class ClockCamera(FrameSource):
    """A camera that exposes at a fixed rate and writes the time of it into the image.

    A reader who comes late gets the newest image; those before it are lost, and counted.
    """

    is_live = True
    time_base = LIVE_TIME_BASE

    def __init__(self, scene: Sequence[np.ndarray], frame_rate: int) -> None:
        """``scene``: images uint8 (H,W,3) BGR that follow each other, again and again."""
        self.size_wh = scene[0].shape[1], scene[0].shape[0]
        self.frame_rate = Fraction(frame_rate)
        self._scene = cycle(scene)
        self._interrupted = threading.Event()
        self._opened_s = time.monotonic()
        self._next = 0

    def read(self) -> Frame | None:
        """Wait for the next exposure; None once interrupted."""
        image = next(self._scene).copy()
        newest = int((time.monotonic() - self._opened_s) * self.frame_rate)
        if newest > self._next:
            self.dropped += newest - self._next
            self._next = newest
        due_s = self._opened_s + float(self._next / self.frame_rate)
        if self._interrupted.wait(max(0.0, due_s - time.monotonic())):
            return None
        write_time(image, round(1e6 * due_s))
        image.flags.writeable = False
        self._next += 1
        return Frame(image, self._next - 1, due_s - self._opened_s, time.monotonic())

    def interrupt(self) -> None:
        """End the wait."""
        self._interrupted.set()

    def close(self) -> None:
        """Nothing is held."""


class AgeReader(ClosingSink):
    """Where the app would show an image: notes how old it is."""

    is_slow = False

    def __init__(self, watched: "WatchedView | None" = None) -> None:
        """``watched``: makes the images of a window, which comes before this one in the row."""
        self.needs_canvas = watched is None
        self.ages_ms: list[float] = []
        self.unreadable = 0
        """Images whose time is covered by something."""
        self._watched = watched

    def write(self, result: Result) -> None:
        """Look at the clock, then at the image."""
        now_s = time.monotonic()
        time_us = read_time(self._watched.shown if self._watched else result.canvas)
        if time_us is None:
            self.unreadable += 1
        else:
            self.ages_ms.append(1000 * now_s - time_us / 1000)

    def close(self, ending: Ending) -> None:
        """Nothing is held."""


class WatchedView(View):
    """The view of a window that lets its images be looked at."""

    shown = np.zeros((2, BITS, 3), np.uint8)

    def render(self, result: Result, within_wh: tuple[int, int]) -> np.ndarray:
        """As the view's own."""
        self.shown = super().render(result, within_wh)
        return self.shown


def run_live(
    scene: Sequence[np.ndarray],
    rate: int,
    detector: Detector,
    seconds: float,
    *,
    reach: Reach | None = None,
    window: bool = False,
) -> dict[str, float]:
    """One run: percentiles of the ages in milliseconds, and what else belongs to them."""
    camera, controls = ClockCamera(scene, rate), Controls(detector.metadata.threshold)
    shown, reader = in_window(detector, controls) if window else (None, AgeReader())
    sinks: list[Sink] = [shown, reader] if shown else [reader]
    on_idle = shown.refresh if shown else None
    stats = Pipeline(camera, detector, sinks, controls, reach=reach, on_idle=on_idle).run(duration_s=seconds)
    ages_ms = reader.ages_ms[WARM_UP_FRAMES:]
    if not ages_ms:
        raise typer.BadParameter(f"{stats.frames} frames were shown in {seconds:g} s: run for longer (--seconds)")
    p50, p95, p99 = np.percentile(ages_ms, [50, 95, 99]).tolist()
    return {
        "p50_ms": p50, "p95_ms": p95, "p99_ms": p99, "frames_per_s": stats.frames_per_s,
        "dropped": stats.dropped / (stats.dropped + stats.frames), "unreadable": reader.unreadable,
        "inference_ms": stats.stages_ms["infer"]["p50"],
    }  # fmt: skip


def in_window(detector: Detector, controls: Controls) -> tuple[WindowSink, AgeReader]:
    """The app's window, and a reader of what is in it."""
    names, toast = detector.metadata.class_names, Toast()
    view = WatchedView(
        controls, toast, names, model="nano on CPU", is_live=True, source_status=lambda: "", is_recorded=False
    )
    snapshots = Snapshots(Path(), toast.show)
    return WindowSink("latency", view, controls, snapshots, paced=False, instead="no --window"), AgeReader(view)


def summary(rows: list[dict[str, float]], rate: int) -> dict[str, Any]:
    """Medians and quartiles over the runs, and whether the mark is met."""
    figures = machine.spread_of_each(rows)
    limits = [row["inference_ms"] + 1000 / rate + ALLOWANCE_MS for row in rows]
    over = machine.spread([row["p95_ms"] - limit for row, limit in zip(rows, limits, strict=True)])
    return {
        **figures,
        "interval_ms": round(1000 / rate, 3),
        "limit_ms": machine.spread(limits),
        "p95_over_limit_ms": over,
        "met": over["median"] <= 0,
    }


def table(report: dict[str, Any]) -> str:
    """The figures as an aligned table."""
    columns = (("p50_ms", "p50 ms"), ("p95_ms", "p95 ms"), ("p99_ms", "p99 ms"), ("inference_ms", "infer ms"))
    lines = [f"{'FPS':<6}" + "".join(f"{title:>22}" for _, title in columns) + f"{'shown/s':>9}{'dropped':>9}"]
    for rate, row in report["rates"].items():
        cells = (f"{row[key]['median']:.1f} ({row[key]['q1']:.1f}-{row[key]['q3']:.1f})" for key, _ in columns)
        rest = f"{row['frames_per_s']['median']:>9.1f}{row['dropped']['median']:>9.0%}"
        lines.append(f"{rate:<6}" + "".join(f"{cell:>22}" for cell in cells) + rest)
    for rate, row in report["rates"].items():
        parts = f"{row['inference_ms']['median']:.1f} + {row['interval_ms']:.1f} + {ALLOWANCE_MS:g}"
        met = "met" if row["met"] else f"not met, by {row['p95_over_limit_ms']['median']:.1f} ms"
        if row["unreadable"]["median"]:
            lines.append(f"at {rate} FPS, {row['unreadable']['median']:g} images a run were unreadable: not counted")
        lines.append(f"mark at {rate} FPS: p95 at most {parts} = {row['limit_ms']['median']:.1f} ms: {met}")
    width, height = report["frame_wh"]
    setting = f"{width}x{height}, {report['rounds']} runs of {report['seconds']:g} s each, {report['model']}"
    lines.append(f"{machine.named(report['machine'])}; {setting}")
    return "\n".join(lines)


if __name__ == "__main__":
    typer.run(measure)

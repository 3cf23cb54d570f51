"""benchmarks/latency.py: the time survives in the shown image, ages are those of the clock, the script runs."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import latency
import numpy as np
import pytest
import scenes
from fakes import FakeDetector, stub_model

from realtime.controls import Controls
from realtime.drawing.marks import Mark
from realtime.drawing.render import draw
from realtime.results import Result
from realtime.structures import Detections, Frame
from realtime.ui.overlay import Toast

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "latency.py"
TIMES_US = [0, 1, 1_000_000, 123_456_789_012, 2**48 - 1]


class Clock:
    """Stands for ``time``."""

    def __init__(self, now_s: float = 100.0) -> None:
        self.now_s = now_s

    def monotonic(self) -> float:
        return self.now_s


@pytest.mark.parametrize("size_wh", [(1280, 720), (1920, 1080), (320, 180), (641, 361)])
@pytest.mark.parametrize("time_us", TIMES_US)
def test_the_time_is_read_back_from_a_drawn_canvas(size_wh, time_us):
    canvas = scenes.images(size_wh, 1)[0].copy()
    latency.write_time(canvas, time_us)
    width, height = size_wh
    draw(canvas, [Mark((0.2 * width, 0.1 * height, 0.8 * width, 0.8 * height), "face", 0.99, (0, 159, 230))])

    assert latency.read_time(canvas) == time_us


@pytest.mark.parametrize("scale", [0.5, 0.77, 1.6])
def test_the_time_is_read_back_from_a_window_of_another_size(scale):
    canvas = np.zeros((720, 1280, 3), np.uint8)
    latency.write_time(canvas, TIMES_US[3])

    assert latency.read_time(cv2.resize(canvas, None, fx=scale, fy=scale)) == TIMES_US[3]


def test_a_time_that_something_covers_is_not_read():
    canvas = np.zeros((180, 320, 3), np.uint8)
    assert latency.read_time(canvas + np.uint8(200)) is None
    latency.write_time(canvas, TIMES_US[3])
    for block in range(latency.BITS):
        covered = canvas.copy()
        x = int((block + 0.5) * 320 / latency.BITS)
        covered[-6:, x : x + 2] = 255 - covered[-6:, x : x + 2]
        assert latency.read_time(covered) is None


def test_ages_are_those_of_the_clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(latency, "time", clock)
    reader = latency.AgeReader()
    for age_s in (0.0123, 0.040):
        canvas = np.zeros((180, 320, 3), np.uint8)
        latency.write_time(canvas, round(1e6 * (clock.now_s - age_s)))
        reader.write(Result(Frame(canvas, 0, 0.0, 0.0), Detections.empty(), canvas))
    reader.write(Result(Frame(canvas, 0, 0.0, 0.0), Detections.empty(), canvas + np.uint8(90)))

    assert reader.ages_ms == pytest.approx([12.3, 40])
    assert reader.unreadable == 1


def test_what_counts_of_a_window_is_the_image_in_it(monkeypatch):
    """Smaller than the frame, with the overlay on it; the frame's own time is not looked at."""
    clock = Clock()
    monkeypatch.setattr(latency, "time", clock)
    view = latency.WatchedView(
        Controls(0.5),
        Toast(),
        ("face",),
        model="nano on CPU",
        is_live=True,
        source_status=lambda: "",
        is_recorded=False,
    )
    reader = latency.AgeReader(view)
    shown, next_one = (scenes.images((1280, 720), 1)[0].copy() for _ in range(2))
    latency.write_time(shown, round(1e6 * (clock.now_s - 0.05)))
    latency.write_time(next_one, round(1e6 * clock.now_s))
    view.render(Result(Frame(shown, 0, 0.0, 99.0), Detections.empty(), shown), (960, 540))

    reader.write(Result(Frame(next_one, 1, 0.0, 99.0), Detections.empty(), next_one))

    assert not reader.needs_canvas
    assert reader.ages_ms == pytest.approx([50])


def test_the_camera_keeps_its_rate_and_counts_what_a_late_reader_missed(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(latency, "time", clock)
    camera = latency.ClockCamera(scenes.images((320, 180), 2), 50)
    seen = []
    for now_s in (100.0, 100.02, 100.095, 100.1):
        clock.now_s = now_s
        frame = camera.read()
        seen.append((frame.index, latency.read_time(frame.image), camera.dropped))

    assert seen == [(0, 100_000_000, 0), (1, 100_020_000, 0), (4, 100_080_000, 2), (5, 100_100_000, 2)]


def test_an_interrupted_camera_waits_no_longer(monkeypatch):
    monkeypatch.setattr(latency, "time", Clock())
    camera = latency.ClockCamera(scenes.images((320, 180), 1), 1)
    assert camera.read() is not None
    camera.interrupt()
    assert camera.read() is None


def test_a_live_run_reads_what_it_shows(monkeypatch):
    monkeypatch.setattr(latency, "WARM_UP_FRAMES", 0)
    figures = latency.run_live(scenes.images((320, 180), 4), 100, FakeDetector(), 0.5)

    assert 0 < figures["p50_ms"] <= figures["p95_ms"] <= figures["p99_ms"]
    assert figures["unreadable"] == 0
    assert 0 <= figures["dropped"] < 1


def test_the_mark_is_inference_interval_and_five_ms():
    row = {"inference_ms": 8.0, "p95_ms": 46.0}
    late = {"inference_ms": 8.0, "p95_ms": 48.0}

    figures = latency.summary([row, row, late], 30)
    assert figures["limit_ms"]["median"] == pytest.approx(8 + 1000 / 30 + 5, abs=1e-3)
    assert figures["met"]
    assert not latency.summary([row, late, late], 30)["met"]
    assert not latency.summary([row], 60)["met"]


@pytest.mark.slow
def test_script_runs_through(tmp_path):
    out, model = tmp_path / "figures.json", stub_model(tmp_path / "stub.onnx")
    args = ["--rate", "100", "--rate", "200", "--size", "320x180", "--seconds", "2", "--rounds", "2"]

    done = subprocess.run(
        [sys.executable, SCRIPT, *args, "--model", model, "--json", out],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    figures = json.loads(out.read_text())
    assert list(figures["rates"]) == ["100", "200"]
    for rate, row in figures["rates"].items():
        assert row["interval_ms"] == 1000 / int(rate)
        assert 0 < row["p50_ms"]["median"] <= row["p95_ms"]["median"] <= row["p99_ms"]["median"]
        assert row["unreadable"]["median"] == 0
        assert row["met"] == (row["p95_over_limit_ms"]["median"] <= 0)
    assert "mark at 200 FPS: p95 at most" in done.stdout

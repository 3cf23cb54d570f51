"""The benchmarks of `realtime video`: figures right by construction, stages that do all frames, scripts that run."""

import json
import subprocess
import sys
from pathlib import Path

import av
import onnxruntime as ort
import outside
import pipeline
import pytest
import scenes
import throughput
import typer
from fakes import read_video, stub_model

from realtime.inference.detector import OnnxDetector
from realtime.inference.providers import Provider

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
FRAMES = 7


@pytest.fixture
def model(tmp_path) -> Path:
    return stub_model(tmp_path / "stub.onnx")


def run(script: str, *args: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, BENCHMARKS / script, *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)


class Clocks:
    """Stands for ``time``: work says how long it took."""

    def __init__(self) -> None:
        self.wall_s = self.cpu_s = 100.0

    def perf_counter(self) -> float:
        return self.wall_s

    def process_time(self) -> float:
        return self.cpu_s

    def work(self, *, cpu_s: float, wall_s: float):
        def done() -> None:
            self.cpu_s += cpu_s
            self.wall_s += wall_s

        return done


def test_efficiency_is_what_the_stages_need_by_what_the_cores_could_give(monkeypatch):
    clocks = Clocks()
    monkeypatch.setattr(pipeline, "time", clocks)
    alone = {"decode": clocks.work(cpu_s=3.0, wall_s=1.5), "infer": clocks.work(cpu_s=4.0, wall_s=5.0)}

    figures = pipeline.compare(alone, clocks.work(cpu_s=7.2, wall_s=4.0), frames=10, rounds=3, cores=2)

    assert figures["stages"]["decode"]["cpu_ms"] == {"median": 300.0, "q1": 300.0, "q3": 300.0}
    assert figures["stages"]["infer"]["wall_ms"]["median"] == 500.0
    assert figures["needed_cpu_ms"]["median"] == 700.0
    assert figures["frames_per_s"]["median"] == 2.5
    assert figures["busy"]["median"] == 0.9  # 720 of the 800 ms that two cores have in 400
    assert figures["efficiency"]["median"] == 0.875
    assert figures["mark"] == {"efficiency": 0.9, "met": False}


def test_stages_and_whole_take_turns():
    turns: list[str] = []
    alone = {name: lambda name=name: turns.append(name) for name in ("decode", "encode")}

    pipeline.compare(alone, lambda: turns.append("whole"), frames=1, rounds=2, cores=1)

    assert turns == ["decode", "encode", "whole", "whole", "encode", "decode"]


def test_the_made_clip_has_size_frames_and_sound(tmp_path):
    clip = scenes.make_clip(tmp_path / "clip.mp4", (96, 54), FRAMES, held=4)

    assert [image.shape for _, image in read_video(clip)] == [(54, 96, 3)] * FRAMES
    with av.open(str(clip)) as container:
        sound = container.streams.audio[0]
        assert float(sound.duration * sound.time_base) == pytest.approx(FRAMES / 30, abs=0.05)
    assert list(tmp_path.iterdir()) == [clip]


def test_every_stage_alone_does_all_frames(tmp_path, model, monkeypatch):
    """Each counted by what it gives on, not by what it says."""
    clip = scenes.make_clip(tmp_path / "clip.mp4", (96, 54), FRAMES, held=4)
    detector = OnnxDetector(model, provider=Provider.CPU)
    out = tmp_path / "out.mp4"
    stages = pipeline.Stages(clip, detector, 100, out)
    done: list[str] = []
    for name in ("preprocess", "infer"):
        own = getattr(detector, name)
        monkeypatch.setattr(detector, name, lambda *a, name=name, own=own: (done.append(name), own(*a))[1])
    monkeypatch.setattr(pipeline.Taker, "write", lambda *_: done.append("render"))

    assert (stages.frames, stages.size_wh) == (FRAMES, (96, 54))
    for work in stages.alone.values():
        work()

    assert {name: done.count(name) for name in done} == dict.fromkeys(("preprocess", "infer", "render"), FRAMES)
    check_written(out)
    out.unlink()
    done.clear()
    stages.whole()
    assert {name: done.count(name) for name in done} == {"preprocess": FRAMES, "infer": FRAMES}
    check_written(out)


def check_written(path: Path) -> None:
    """All frames, in the clip's own time, with its sound."""
    assert [round(30 * time_s) for time_s, _ in read_video(path)] == list(range(FRAMES))
    with av.open(str(path)) as container:
        assert sum(frame.samples for frame in container.decode(audio=0)) > 0


def test_to_and_fro_never_jumps():
    assert list(scenes.to_and_fro([0, 1, 2, 3], 9)) == [0, 1, 2, 3, 2, 1, 0, 1, 2]
    assert list(scenes.to_and_fro([5], 3)) == [5, 5, 5]


def test_pipeline_runs_through(tmp_path, model):
    out = tmp_path / "figures.json"

    result = run("pipeline.py", "--size", "96x54", "--frames", 6, "--rounds", 2, "--model", model, "--json", out)

    assert result.returncode == 0, result.stderr
    figures = json.loads(out.read_text())
    assert list(figures["stages"]) == ["decode", "preprocess", "infer", "track, render", "encode"]
    assert all(row["cpu_ms"]["median"] >= 0 < row["wall_ms"]["median"] for row in figures["stages"].values())
    assert (figures["frames"], figures["frame_wh"], figures["rounds"]) == (6, [96, 54], 2)
    assert figures["mark"]["met"] == (figures["efficiency"]["median"] >= 0.9)
    assert result.stdout.splitlines()[1].split()[0] == "decode"


def test_throughput_is_frames_by_the_time_of_each_way(monkeypatch):
    clocks = Clocks()
    monkeypatch.setattr(throughput, "time", clocks)
    works = clocks.work(cpu_s=1, wall_s=4.0), clocks.work(cpu_s=1, wall_s=2.5)

    figures = throughput.compare(works, frames=100, rounds=3)

    assert figures["one_frames_per_s"]["median"] == 25.0
    assert figures["several_frames_per_s"]["median"] == 40.0
    assert figures["ratio"] == {"median": 1.6, "q1": 1.6, "q3": 1.6}


def test_throughput_runs_through(tmp_path, model):
    """Both ways do all frames: the lines of the last one are there to be counted."""
    out = tmp_path / "figures.json"
    works = throughput.ways(
        scenes.make_clip(tmp_path / "clip.mp4", (96, 54), FRAMES, held=4), str(model), 2, FRAMES, tmp_path
    )
    for one_way in works.values():
        for work in one_way:
            for file in (*tmp_path.glob("out.jsonl"), *tmp_path.glob("out.mp4")):
                file.unlink()
            work()
            assert len((tmp_path / "out.jsonl").read_text().splitlines()) == FRAMES
    check_written(tmp_path / "out.mp4")

    options = "--size", "96x54", "--frames", 6, "--rounds", 2, "--models", model, "--concurrency", 3, "--json", out
    result = run("throughput.py", *options)

    assert result.returncode == 0, result.stderr
    figures = json.loads(out.read_text())
    assert [row["written"] for row in figures["rows"]] == ["JSON lines", "JSON lines, video"]
    assert all(row["ratio"]["median"] > 0 for row in figures["rows"])
    assert (figures["frames"], figures["concurrency"]) == (6, 3)


def test_a_size_that_is_none_is_refused():
    assert scenes.size_of("1280x720") == (1280, 720)
    for text in ("full", "1280", "0x720", "1280x-1"):
        with pytest.raises(typer.BadParameter, match=f"expected WIDTHxHEIGHT such as 1280x720, found '{text}'"):
            scenes.size_of(text)


def test_the_share_outside_is_all_but_the_session():
    rows = [
        {"session.run": 6.0, "boxes": 0.5, "letterbox": 1.0, "render": 0.5},
        {"session.run": 8.0, "boxes": 0.5, "letterbox": 1.0, "render": 0.5},
        {"session.run": 6.0, "boxes": 1.0, "letterbox": 1.0, "render": 4.0},
    ]

    figures = outside.summary(rows)

    assert figures["stages_ms"]["boxes"] == {"median": 0.5, "q1": 0.5, "q3": 0.75}
    assert figures["frame_ms"]["median"] == 10.0
    assert figures["outside"] == {"median": 0.25, "q1": 0.225, "q3": 0.375}


def test_sessions_are_timed_alone_and_only_meanwhile(model, monkeypatch):
    clocks = Clocks()
    monkeypatch.setattr(outside, "time", clocks)
    own_run = ort.InferenceSession.run

    def run(*args):
        clocks.work(cpu_s=0, wall_s=0.25)()
        return own_run(*args)

    detector, image = OnnxDetector(model, provider=Provider.CPU), scenes.images((96, 54), 1)[0]
    expected = detector.detect(image).to_dicts()
    monkeypatch.setattr(ort.InferenceSession, "run", run)
    times_ms: list[float] = []
    with outside.timed_sessions(times_ms):
        found = detector.detect(image).to_dicts()
        clocks.work(cpu_s=1, wall_s=1)()
    detector.detect(image)

    assert found == expected
    assert times_ms == [250.0]


def test_outside_runs_through(tmp_path, model):
    out = tmp_path / "figures.json"

    result = run("outside.py", "--size", "96x54", "--frames", 5, "--rounds", 2, "--model", model, "--json", out)

    assert result.returncode == 0, result.stderr
    figures = json.loads(out.read_text())
    assert list(figures["ways"]) == ["thrown away", "video file"]
    for row in figures["ways"].values():
        assert list(row["stages_ms"]) == ["session.run", "boxes", "letterbox", "track", "render", "encode or show"]
        assert 0 < row["outside"]["median"] < 1
        assert row["frame_ms"]["median"] > row["stages_ms"]["session.run"]["median"] > 0
    assert "at most 25% outside of session.run" in result.stdout

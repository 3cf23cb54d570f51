"""benchmarks/growth.py and endurance.py: steps are what they are named after; times mean nothing here."""

import json
import os
import subprocess
import sys
from pathlib import Path

import endurance
import growth
import numpy as np
import pytest
from fakes import stub_model

from realtime.inference.detector import OnnxDetector
from realtime.inference.providers import Provider
from realtime.sources.video_file import VideoFileSource

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "growth.py"


def run(*args: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, SCRIPT, *map(str, args)], capture_output=True, text=True, timeout=600, check=False
    )


@pytest.fixture
def model(tmp_path) -> Path:
    return stub_model(tmp_path / "m.onnx")


def test_faces_and_threads_are_measured_in_turns(tmp_path):
    out = tmp_path / "growth.json"

    done = run("--series", "faces,threads", "--rounds", 2, "--per-round", 2, "--json", out)

    assert done.returncode == 0, done.stderr
    report = json.loads(out.read_text())
    assert {name: list(rows) for name, rows in report["series"].items()} == {
        "faces": ["0", "1", "5", "20"],
        "threads": ["1", "2"],
    }
    assert "endurance" not in report
    for rows in report["series"].values():
        for row in rows.values():
            assert 0 < row["frame_ms"]["q1"] <= row["frame_ms"]["median"] <= row["frame_ms"]["q3"]
            assert list(row["stages_ms"]) == ["preprocess", "infer", "track", "render"]
            assert min(row["stages_ms"].values()) > 0
    assert [report["series"]["faces"][count]["faces"] for count in "015"] == [0, 1, 5]
    heads = [line.split()[0] for line in done.stdout.splitlines() if line]
    assert heads[:8] == ["faces", "0", "1", "5", "20", "threads", "1", "2"]


@pytest.mark.parametrize(("name", "labels"), [("frame", ["640x360", "3840x2160"]), ("faces", ["0", "20"])])
def test_images_have_the_size_that_the_step_says(model, tmp_path, name, labels):
    steps = {step.label: step for step in growth.SERIES[name](growth.Setup(str(model), "nano", tmp_path))}
    for label in labels:
        width, height = map(int, label.split("x")) if "x" in label else growth.FRAME_WH
        assert {image.shape for image in steps[label].images} == {(height, width, 3)}
        assert not np.array_equal(*steps[label].images[:2])  # it moves


def test_every_round_counts_its_frames_and_not_the_warm_up(model):
    step = growth.Step("1", OnnxDetector(model, provider=Provider.CPU), growth.moving(1, (64, 48)))
    growth.run_in_turns([step], rounds=3, per_round=4)
    assert len(step.frame_ms) == 12
    assert {len(values) for values in step.stages_ms.values()} == {3}


@pytest.mark.slow
def test_graphs_of_their_own_have_the_size_and_the_proposals_asked_for(tmp_path):
    pytest.importorskip("torch")
    onnx = pytest.importorskip("onnx")
    detector = growth.own_graph(growth.Setup("nano", "nano", tmp_path), 64, rpn_post_nms_top_n_test=20)
    assert detector.metadata.input_wh == (64, 64)
    (graph,) = tmp_path.glob("*.onnx")
    (align,) = [node for node in onnx.load(graph).graph.node if node.op_type == "RoiAlign"]
    shapes = {value.name: value for value in onnx.shape_inference.infer_shapes(onnx.load(graph)).graph.value_info}
    assert shapes[align.output[0]].type.tensor_type.shape.dim[0].dim_value == 20


@pytest.mark.parametrize(
    ("arguments", "complaint"), [(["--series", "faces,gone"], "found gone"), (["--frames", "3"], "20")]
)
def test_a_wrong_argument_is_named(arguments, complaint):
    done = run(*arguments)
    assert done.returncode == 2
    assert complaint in done.stderr
    assert done.stdout == ""


class Hoarder:
    """Keeps 8 MiB a frame, much beside what else the process may give back meanwhile."""

    needs_canvas = False
    is_slow = False

    def __init__(self) -> None:
        self.kept: list[np.ndarray] = []

    def write(self, result: object) -> None:
        self.kept.append(np.ones(2**23, np.uint8))

    def close(self, ending: object) -> None:
        pass


def test_memory_is_that_of_the_process_that_runs(model):
    row = endurance.endure(str(model), 60, [Hoarder()])
    assert row["pid"] == os.getpid()
    grown_mib = row["rss_mib"]["end"] - row["rss_mib"]["settled"]
    assert 160 < grown_mib < 320  # 30 frames after the first 30
    assert row["growth"] == pytest.approx(grown_mib / row["rss_mib"]["settled"], abs=1e-3)
    assert row["mark"] == {"growth": 0.02, "met": False}


def test_the_endurance_run_has_a_process_of_its_own(model):
    row = growth.in_own_process(str(model), 40)
    assert row["frames"] == 40
    assert row["asked_by_pid"] == os.getpid() != row["pid"]
    assert row["settled_frames"] == 20
    assert list(row["rss_mib_after"])[::20] == ["20", "40"]
    assert row["rss_mib"]["end"] <= row["rss_mib"]["most"]
    assert "growth" in growth.endurance_table(row)


def test_drift_compares_the_first_tenth_with_the_last():
    watch = endurance.Watch(101)
    watch.times_s[1:] = np.cumsum([0.001, 0.019] * 45 + [0.003, 0.021] * 5)
    watch.rss_mib = {50: 100.0, 75: 103.0, 101: 101.0}
    row = endurance.figures(watch)
    assert row["frame_ms"] == {"first": 10.0, "last": 12.0}
    assert row["drift"] == pytest.approx(0.2)
    assert row["growth"] == pytest.approx(0.01)
    assert row["rss_mib"]["most"] == 103.0
    assert row["mark"]["met"]


def test_a_long_video_is_the_clip_again_and_again(clip, tmp_path):
    source = VideoFileSource(endurance.repeated(clip, tmp_path / "long.mp4", 150))
    try:
        times_s = [frame.pts_s for frame in iter(source.read, None)]
    finally:
        source.close()
    assert len(times_s) == 288  # twice 144
    assert np.diff(times_s) == pytest.approx(1 / 24, abs=1e-3)
    assert not source.errors

"""benchmarks/detectors.py: contenders take turns in processes of their own, and boxes are fitted to the labels."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from train.evaluation.matching import Boxes

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "detectors.py"


@pytest.fixture(scope="module")
def detectors():
    spec = importlib.util.spec_from_file_location("detectors", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, SCRIPT, *args], capture_output=True, text=True, timeout=600, check=False)


@pytest.mark.slow
def test_contenders_take_turns(tmp_path):
    ours, theirs = "ours:nano", "torchvision:fasterrcnn_mobilenet_v3_large_320_fpn:64"
    out = tmp_path / "figures.json"

    result = run("--contenders", f"{ours},{theirs}", "--images", "2", "--rounds", "2", "--json", str(out))

    assert result.returncode == 0, result.stderr
    figures = json.loads(out.read_text())
    assert list(figures["detectors"]) == [ours, theirs]
    for row in figures["detectors"].values():
        assert 0 < row["p10_ms"] <= row["p50_ms"] <= row["p90_ms"]
    assert [line.split()[0] for line in result.stdout.splitlines()[1:3]] == [ours, theirs]


@pytest.mark.slow
def test_a_contender_that_cannot_run_is_named():
    result = run("--contenders", "ours:gone", "--images", "1")

    assert result.returncode == 2
    assert "ours:gone does not run" in result.stderr


def boxes(*rows: tuple[float, float, float, float]) -> Boxes:
    return Boxes(np.array(rows, np.float32), np.array([1, 2][: len(rows)]), np.ones(len(rows), np.float32))


def test_boxes_are_fitted_to_the_labels_class_by_class(detectors):
    """Found boxes that miss the labels by the same share of their sides everywhere fit exactly afterwards."""
    labelled, found = [], []
    for x, y, side in ((10, 20, 40), (100, 30, 80), (50, 60, 20)):
        found.append(boxes((x, y, x + side, y + side), (x, y, x + side, y + side / 2)))
        labelled.append(boxes((x - side / 4, y, x + side, y + side * 1.5), (x, y, x + side, y + side / 2)))

    edges = detectors.calibration(found, labelled)

    assert edges[1] == pytest.approx([-0.25, 0, 0, 0.5])
    assert edges[2] == pytest.approx([0, 0, 0, 0])
    for one, label in zip(found, labelled, strict=True):
        assert np.allclose(detectors.calibrated(one, edges).boxes, label.boxes, atol=1e-3)


def test_boxes_far_from_every_label_teach_nothing(detectors):
    assert detectors.calibration([boxes((0, 0, 10, 10))], [boxes((50, 50, 60, 60))]) == {}
    nothing = Boxes(np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, np.float32))
    assert len(detectors.calibrated(nothing, {}).boxes) == 0


@pytest.mark.parametrize("is_own", [True, False], ids=["this Python", "another Python"])
def test_contenders_find_the_packages_that_this_process_has(detectors, monkeypatch, tmp_path, is_own):
    """A site directory of PYTHONPATH may hold another onnxruntime; another Python must not be given its packages."""
    started = []
    monkeypatch.setattr(detectors.subprocess, "Popen", lambda _, env, **__: started.append(env["PYTHONPATH"]))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    detectors.Contender("ours:nano", sys.executable if is_own else "python-of-another", tmp_path / "listing", 1)

    root = str(SCRIPT.parents[1])
    assert started == [f"{root}{os.pathsep}{tmp_path}" if is_own else root]

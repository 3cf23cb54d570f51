"""benchmarks/robustness.py: changed images keep their boxes on their objects, and the script runs through."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny_data import RED, make_data_set

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "robustness.py"
PARTS = ("face", "eye", "eyebrow", "nose", "mouth")


@pytest.fixture(scope="module")
def robustness():
    spec = importlib.util.spec_from_file_location("robustness", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def photo():
    """A red rectangle away from the centre, and its box."""
    image = np.full((120, 160, 3), 128, np.uint8)
    image[40:56, 90:130] = RED
    return image, np.array([[90, 40, 130, 56]], np.float32), np.array([0])


def extent_of_red(image):
    ys, xs = np.nonzero((image[..., 0] > 170) & (image[..., 1] < 100))
    return [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]


@pytest.mark.parametrize(("name", "strength"), [("rotated", 90), ("rotated", 180), ("shrunk", 0.5), ("shrunk", 1)])
def test_boxes_follow_their_objects(robustness, photo, name, strength):
    image, boxes, classes = getattr(robustness, name)(photo, strength)

    assert image.shape == photo[0].shape
    assert classes.tolist() == [0]
    assert boxes[0] == pytest.approx(extent_of_red(image), abs=1.01)


@pytest.mark.parametrize("change", ["lit", "motion_blurred", "noisy", "compressed"])
def test_changes_of_quality_leave_boxes_and_change_pixels(robustness, photo, change):
    strength = {"lit": 0.5, "motion_blurred": 0.05, "noisy": 20, "compressed": 10}[change]

    image, boxes, _ = getattr(robustness, change)(photo, strength)

    assert boxes.tolist() == photo[1].tolist()
    assert (image != photo[0]).any()
    assert image.dtype == np.uint8


@pytest.mark.parametrize("count", [2, 3, 4, 6])
def test_faces_are_set_side_by_side_without_overlap(robustness, photo, count):
    taken = np.zeros((480, 640), int)
    for index in range(count):
        frame, boxes, _, (x1, y1, x2, y2) = robustness.in_cell(photo, index, count)
        taken[y1:y2, x1:x2] += 1
        assert boxes[0] == pytest.approx(extent_of_red(frame), abs=3)  # enlarged edges are soft
        assert boxes[0, 0] >= x1
        assert boxes[0, 3] <= y2
    assert taken.max() == 1


@pytest.mark.slow
def test_script_runs_through(tmp_path):
    data = make_data_set(tmp_path / "data", train=1, val=8, names=PARTS)

    done = subprocess.run(
        [sys.executable, SCRIPT, data, "--every", "2", "--out", tmp_path], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "robustness.json").read_text())["results"]
    assert set(results["JPEG quality"]["20"]["f1"]) == {"face", "eye"}  # those that are labelled
    assert results["neighbours"]["2"].keys() == {"recall_alone", "recall_together"}
    assert (tmp_path / "robustness.png").stat().st_size > 10_000

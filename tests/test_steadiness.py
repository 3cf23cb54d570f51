"""benchmarks/steadiness.py: its measures are right on series whose answer is known, and the script runs through."""

import importlib.util
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "steadiness.py"
BOX = np.array([10.0, 20.0, 50.0, 60.0])


@pytest.fixture(scope="module")
def steadiness():
    spec = importlib.util.spec_from_file_location("steadiness", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["steadiness"] = module  # its dataclass looks itself up
    spec.loader.exec_module(module)
    return module


def still(frames=200, tremble_px=0.0, seed=0):
    return BOX + np.random.default_rng(seed).normal(0, tremble_px, (frames, 4))


@pytest.mark.parametrize("measure", ["about_mean", "about_even_motion"])
def test_jitter_is_the_deviation_of_the_edges(steadiness, measure):
    raw, shown = {(1, "face"): still(4000, 2.0)}, {(1, "face"): still(4000, 0.5)}
    row = steadiness.jitter(raw, shown, getattr(steadiness, measure))["face"]
    assert row["raw_px"] == pytest.approx(2, rel=0.05)
    assert row["shown_px"] == pytest.approx(0.5, rel=0.05)
    assert row["raw_percent"] == pytest.approx(100 * 2 / 40, rel=0.05)


def test_even_motion_is_no_jitter_and_breaks_are_left_out(steadiness):
    moving = BOX + np.arange(200)[:, None] * [1.0, 0, 1, 0]
    moving[100:103] = np.nan
    moving[103:] += 500
    row = steadiness.jitter({(1, "nose"): moving}, {(1, "nose"): moving}, steadiness.about_even_motion)["nose"]
    assert row["raw_px"] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("late", [0, 0.5, 2])
def test_lag_is_found_to_a_part_of_a_frame(steadiness, late):
    way = steadiness.stop_and_go(150, 30, 0.2)
    frames = np.arange(150)
    boxes = BOX + 640 * np.interp(frames - late, frames, way)[:, None] * [1, 0, 1, 0]
    boxes[40:43] = np.nan
    assert steadiness.lag_of(boxes, way) == pytest.approx(late, abs=0.03)


def test_a_part_that_is_found_now_and_then_has_no_lag(steadiness):
    way = np.sin(np.arange(60) / 7) * 40 + 100
    boxes = np.stack([way - 10, way, way + 10, way + 20], axis=1)
    rare = np.where(np.arange(60)[:, None] == 30, boxes, np.nan)
    found = steadiness.lag({"face": boxes, "nose": rare}, {"face": boxes, "nose": rare}, way)
    assert found == {"mean": 0.0, "most": 0.0}


def test_the_way_has_its_speed_and_rests(steadiness):
    way = steadiness.stop_and_go(300, 30, 0.2)
    speeds = np.abs(np.diff(way)) * 30
    assert speeds.max() == pytest.approx(0.2)
    assert (speeds < 1e-9).mean() == pytest.approx(
        steadiness.REST_S / (steadiness.REST_S + steadiness.WAY / 0.2), abs=0.1
    )
    assert np.ptp(way) == pytest.approx(steadiness.WAY)


def test_flicker_counts_short_absences_and_short_appearances(steadiness):
    boxes = still(100)
    boxes[10:12] = np.nan  # short
    boxes[20:30] = np.nan  # long: gone
    blip = np.full((100, 4), np.nan)
    blip[50] = BOX
    counted = steadiness.flicker({(1, "nose"): boxes, (1, "mouth"): blip, (1, "face"): still(100)})
    assert counted["boxes"] == 88 + 1 + 100
    assert counted["gaps_per_1000"] == pytest.approx(1000 / 189)
    assert counted["blips_per_1000"] == pytest.approx(1000 / 189)


def test_a_change_of_number_is_one_in_the_same_place_only(steadiness):
    before, after, elsewhere = still(100), still(100), still(100) + 300
    before[50:], after[:50], elsewhere[:70] = np.nan, np.nan, np.nan
    faces = {(1, "face"): before, (2, "face"): after, (3, "face"): elsewhere, (3, "nose"): elsewhere}
    assert steadiness.switches(faces) == 1
    assert steadiness.switches({key: faces[key] for key in ((1, "face"), (3, "face"))}) == 0


def test_the_filmed_photo_moves_as_asked(steadiness):
    picture = np.zeros((60, 100, 3), np.uint8)
    picture[20:40, 40:60] = 255
    first, second = steadiness.filmed(picture, np.array([0, 0.1]), 30, 2.0)
    columns = [np.flatnonzero(frame.image[30, :, 0] > 128) for frame in (first, second)]
    assert columns[1].mean() - columns[0].mean() == pytest.approx(10, abs=0.6)
    assert second.pts_s == pytest.approx(1 / 30)


@pytest.mark.slow
def test_script_runs_through(tmp_path):
    done = subprocess.run(
        [sys.executable, SCRIPT, "--frames", "24", "--speed", "0.8", "--json", tmp_path / "steadiness.json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "steadiness.json").read_text())
    assert list(results["lag_frames"]) == ["0.8"]
    assert len(results["jitter"]) == 3
    for parts in results["jitter"].values():
        assert set(parts) == {"face", "left_eye", "right_eye", "left_eyebrow", "right_eyebrow", "nose", "mouth"}
        assert all(0 < min(row.values()) <= max(row.values()) < math.inf for row in parts.values())
    # One person, and a model of a space shuttle that nano takes for a second one.
    assert results["identities"]["switches"] == 0
    assert results["identities"]["faces"] <= 2
    assert "lag behind the raw boxes" in done.stdout

"""The scripts in ``benchmarks/`` work: at sizes at which their figures mean nothing."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_data import make_data_set

ROOT = Path(__file__).parent.parent
SMALL = ["--size", "64", "--batch-size", "2", "--steps", "2", "--rounds", "2", "--device", "cpu"]


def train_loading(*args: str) -> subprocess.CompletedProcess[str]:
    script = ROOT / "benchmarks" / "train_loading.py"
    return subprocess.run([sys.executable, script, *SMALL, *args], capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_train_loading_compares_on_a_made_data_set(tmp_path):
    result = train_loading("--image-px", "64", "--workers", "1", "--json", str(tmp_path / "loading.json"))

    assert result.returncode == 0, result.stderr
    figures = json.loads((tmp_path / "loading.json").read_text())
    assert list(figures["images_per_s"]) == ["steps, from workers", "steps, from memory", "workers alone"]
    assert all(len(values) == 2 and min(values) > 0 for values in figures["images_per_s"].values())
    lost = 1 - figures["median"]["steps, from workers"] / figures["median"]["steps, from memory"]
    assert figures["speed_lost"] == pytest.approx(lost)
    assert f"reading and augmenting costs {lost:.1%} of the speed" in result.stdout


def test_train_loading_takes_a_data_set_and_says_if_it_is_too_small(tmp_path):
    result = train_loading(str(make_data_set(tmp_path, train=6)), "--workers", "0")

    assert result.returncode == 2
    assert "4 steps wanted" in result.stderr

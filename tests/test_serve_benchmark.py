"""benchmarks/serve.py runs: its figures mean nothing at this size."""

import json
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
import serve
from browser import needs_browser

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "serve.py"


@needs_browser
@pytest.mark.slow
def test_the_script_reads_ages_from_the_page(tmp_path):
    done = subprocess.run(
        [sys.executable, SCRIPT, "--seconds", "2", "--rounds", "1", "--size", "320x180", "--model", "pico",
         "--json", tmp_path / "figures.json"],
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "figures.json").read_text())
    for way in ("webrtc", "jpeg"):
        row = report["browser"][way]
        assert 0 < row["p50_ms"]["median"] <= row["p95_ms"]["median"]
        assert row["frames_per_s"]["median"] > 1
        assert row["apart_frames"]["median"] <= 1
    assert report["cameras"]["share"]["median"] > 0
    assert "command to first frame in the browser" in done.stdout


def test_a_time_that_was_not_read_whole_is_known():
    time_us = 123_456_789_012
    check = zlib.crc32(time_us.to_bytes(6, "big")) & 0xFF
    assert serve.is_whole(time_us, check)
    assert not serve.is_whole(time_us + 1, check)

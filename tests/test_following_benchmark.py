"""benchmarks/following.py: it runs both modes on the same frames, and refuses a model that cannot follow."""

import json

import following
from typer.testing import CliRunner

APP = following.typer.Typer()
APP.command()(following.main)


def test_both_ways_show_the_face_and_one_of_them_looks_at_few_whole_frames(tmp_path):
    out = tmp_path / "following.json"
    result = CliRunner().invoke(APP, ["--frames", "20", "--rounds", "1", "--json", str(out)])
    assert result.exit_code == 0, result.output
    figures = json.loads(out.read_text())
    whole, followed = figures["whole"], figures["followed"]
    assert whole["frames_with_a_face"] == followed["frames_with_a_face"] == figures["frames"] == 20
    assert whole["frames_without_a_look_at_the_whole"] == 0
    assert followed["frames_without_a_look_at_the_whole"] > 14
    assert figures["iou_p05"] > 0.85
    assert whole["ms_p50"] > 0 < followed["ms_p50"]


def test_a_model_without_a_narrow_companion_is_refused():
    result = CliRunner().invoke(APP, ["--model", "pico"])
    assert result.exit_code == 2
    assert "pico has no narrow companion" in result.output

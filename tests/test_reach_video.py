"""The benchmark of far faces in moving images."""

import json

import numpy as np
from composites import SIZE_WH
from reach_video import FRAME_RATE, clips
from tiny_data import make_data_set
from typer.testing import CliRunner

from train.data.data_yaml import load_data_config
from train.data.dataset import load_split

NAMES = ("face", "eye", "eyebrow", "nose", "mouth")


def made_clips(tmp_path, count, seconds):
    data = make_data_set(tmp_path, names=NAMES, val=8)
    return clips(load_split(load_data_config(data), "val"), 0, count, seconds)


def test_clips_are_the_same_each_time_and_their_faces_lie_where_the_boxes_are(tmp_path):
    first, again = (made_clips(tmp_path / name, 2, 0.5) for name in ("a", "b"))
    assert [len(clip.actors) for clip in first] == [0, 2]
    for (frame, boxes), (same, _) in zip(first[1].frames(), again[1].frames(), strict=True):
        np.testing.assert_array_equal(frame.image, same.image)
        assert frame.pts_s == frame.index / FRAME_RATE
        for one, actor in zip(boxes, first[1].actors, strict=True):
            x1, y1, x2, y2 = one[actor.patch.classes == 0][0]
            assert 0 <= x1 < x2 <= SIZE_WH[0]
            assert 0 <= y1 < y2 <= SIZE_WH[1]
            blue, green, red = frame.image[int((y1 + y2) / 2), int((x1 + x2) / 2)].astype(int)
            assert red > 150 > max(blue, green) - 60


def test_faces_move(tmp_path):
    (*_, clip) = made_clips(tmp_path, 2, 1.0)
    places = [clip.actors[0].place(time_s) for time_s in (0.0, 1.0)]
    assert places[0] != places[1]


def test_the_script_runs_through(tmp_path):
    from reach_video import main  # as a command
    from typer import Typer

    app = Typer()
    app.command()(main)
    data = make_data_set(tmp_path, names=NAMES, val=4)
    out = tmp_path / "r.json"
    reaches = [word for reach in ("near", "live auto", "still near") for word in ("--reach", reach)]
    line = [str(data), "--model", "pico", *reaches, "--clips", "2", "--seconds", "0.1", "--json", str(out)]
    result = CliRunner().invoke(app, line)
    assert result.exit_code == 0, result.output
    results = json.loads(out.read_text())["results"]
    assert results["pico near"]["looks_per_frame"] == 1.0
    assert results["pico still near"]["frames"] == 4
    assert 1 < results["pico live auto"]["looks_per_frame"] <= 2

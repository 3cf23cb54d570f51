"""What is perhaps to be hidden, and was not, is reported."""

import subprocess
import sys

import cv2
import numpy as np
import pytest
from fakes import make_video, stub_model

from realtime.commands.unsure import UnsureFrames
from realtime.drawing.hiding import Hider
from realtime.results import Result
from realtime.score_levels import UNCALIBRATED
from realtime.structures import Detections, Frame

RUN = [sys.executable, "-c", "from realtime.cli import run_cli; run_cli()"]
NAMES = ("face", "eye")
FACE = [10, 10, 40, 40]


def detections(*found):
    """Of (label, score, box)."""
    labels, scores, boxes = zip(*found, strict=True) if found else ((), (), ())
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4), np.array(labels, np.int64), np.array(scores, np.float32), NAMES
    )


def result(pts_s, shown=(), candidates=()):
    frame = Frame(np.zeros((60, 80, 3), np.uint8), 0, pts_s, 0.0)
    return Result(frame, detections(*shown), candidates=detections(*shown, *candidates))


def rendered(hider, frames, shown):
    """As in a run, where a result is drawn before it is looked at."""
    hider(shown.frame, shown.detections)
    frames.write(shown)


@pytest.mark.parametrize(
    ("shown", "candidates", "is_reported"),
    [
        ([], [(0, 0.5, FACE)], True),
        ([], [(0, 0.2, FACE)], False),
        ([], [(1, 0.5, FACE)], False),
        ([(0, 0.9, FACE)], [(0, 0.5, [12, 12, 42, 42])], False),
        ([(0, 0.9, FACE)], [(0, 0.5, [50, 10, 70, 30])], True),
        ([(1, 0.9, FACE)], [(0, 0.5, FACE)], True),
        ([(0, 0.9, FACE)], [], False),
    ],
)
def test_a_possible_face_that_no_hidden_one_covers_is_reported(shown, candidates, is_reported):
    frames = UnsureFrames(hider := Hider(NAMES), UNCALIBRATED.candidate)
    rendered(hider, frames, result(1.0, shown, candidates))
    assert (frames.report is not None) == is_reported


def test_a_face_that_stays_hidden_while_it_is_missed_is_not_reported():
    frames = UnsureFrames(hider := Hider(NAMES), UNCALIBRATED.candidate)
    rendered(hider, frames, result(0.0, [(0, 0.9, FACE)]))
    rendered(hider, frames, result(0.04, candidates=[(0, 0.5, FACE)]))
    assert frames.report is None


def test_times_are_joined_and_at_most_a_few():
    frames = UnsureFrames(hider := Hider(NAMES), UNCALIBRATED.candidate)
    for pts_s in (3.0, 3.5, 4.2, 9.0, 20.0, 30.0, 40.0, 50.0, 60.0):
        rendered(hider, frames, result(pts_s, candidates=[(0, 0.5, FACE)]))
    assert frames.report == (
        "9 frames may show more that is to be hidden, at 0:00:03 to 0:00:04, 0:00:09, 0:00:20, 0:00:30, 0:00:40 and "
        "2 other times; look there, or lower --threshold"
    )


@pytest.mark.parametrize(("threshold", "is_reported"), [("0.5", False), ("0.95", True)])
def test_the_commands_say_it(tmp_path, threshold, is_reported):
    stub_model(tmp_path / "m.onnx")
    make_video(tmp_path / "in.mp4", frames=3)
    cv2.imwrite(str(tmp_path / "in.png"), np.zeros((48, 64, 3), np.uint8))
    options = ["--blur", "face", "--model", "m.onnx", "--threshold", threshold]
    for arguments, line in (
        (["video", "in.mp4", "--out", "out.mp4"], "3 frames may show more that is to be hidden, at 0:00:00; "),
        (["image", "in.png", "--out", "drawn"], "1 image may show more that is to be hidden: in.png; "),
    ):
        done = subprocess.run([*RUN, *arguments, *options], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert any(text.startswith(line) for text in done.stderr.splitlines()) == is_reported, done.stderr

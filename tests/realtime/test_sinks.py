import json
import os

import numpy as np
import pytest
from fakes import ScriptedSource

from realtime.errors import SinkError
from realtime.results import Result
from realtime.sinks.base import Ending
from realtime.sinks.jsonl import JsonLinesSink
from realtime.structures import Detections

FOUND = Detections(
    np.array([[1.234, 2, 3, 4.5], [5, 6, 7, 8]], np.float32),
    np.array([1, 0]),
    np.array([0.98765, 0.5], np.float32),
    ("Gesicht", "œil"),
)


def result_of(frame, detections):
    return Result(frame, detections, frame.image)


def test_a_line_for_every_frame(tmp_path):
    path = tmp_path / "out.jsonl"
    sink = JsonLinesSink(path)
    source = ScriptedSource(2)
    sink.write(result_of(source.read(), FOUND))
    sink.write(result_of(source.read(), Detections.empty()))
    assert not path.exists()  # it appears when it is whole
    sink.close(Ending.COMPLETE)
    sink.close(Ending.COMPLETE)
    assert [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] == [
        {
            "frame": 0,
            "pts_s": 0.0,
            "detections": [
                {"label": "œil", "score": 0.9876, "box": [1.23, 2.0, 3.0, 4.5]},
                {"label": "Gesicht", "score": 0.5, "box": [5.0, 6.0, 7.0, 8.0]},
            ],
            "faces": [],
        },
        {"frame": 1, "pts_s": 0.04, "detections": [], "faces": []},
    ]
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_run_leaves_no_file(tmp_path):
    sink = JsonLinesSink(tmp_path / "out.jsonl")
    sink.write(result_of(ScriptedSource(1).read(), FOUND))
    sink.close(Ending.FAILED)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(SinkError, match=r"folder .*nowhere does not exist"):
        JsonLinesSink(tmp_path / "nowhere" / "out.jsonl")


def test_a_folder_is_not_overwritten(tmp_path):
    with pytest.raises(SinkError, match="it is a folder"):
        JsonLinesSink(tmp_path)


def test_files_are_readable_by_others_as_the_umask_says(tmp_path):
    sink = JsonLinesSink(tmp_path / "out.jsonl")
    sink.close(Ending.COMPLETE)
    (tmp_path / "usual").touch()
    assert (tmp_path / "out.jsonl").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_a_pipe_is_not_replaced_by_a_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SinkError, match="not a regular file but a pipe, and nobody reads it; start its reader first"):
        JsonLinesSink(tmp_path / "pipe")
    assert (tmp_path / "pipe").is_fifo()

"""What keys save: snapshots and recordings."""

import json
from datetime import datetime
from fractions import Fraction
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from fakes import ScriptedSource, read_video

from realtime.controls import Controls
from realtime.errors import SinkError
from realtime.results import Result
from realtime.sinks.base import Ending
from realtime.sinks.recorder import Recorder
from realtime.sinks.video_file import VideoFileSink
from realtime.structures import Detections, Frame
from realtime.ui.snapshot import Snapshots

FOUND = Detections(
    np.array([[1.5, 2, 30, 40]], np.float32), np.array([1]), np.array([0.75], np.float32), ("face", "eye")
)


def result(index=0, size_wh=(64, 48), pts_s=None):
    """Grey frame, and a canvas 100 levels brighter."""
    image = np.full((size_wh[1], size_wh[0], 3), 10 * index, np.uint8)
    return Result(Frame(image, index, index / 25 if pts_s is None else pts_s, 0.0), FOUND, image + 100)


def test_a_snapshot_is_the_clean_frame_with_what_was_found_in_it(tmp_path):
    said = []
    Snapshots(tmp_path, said.append).save(result(3))
    picture, description = sorted(tmp_path.iterdir(), reverse=True)
    assert np.array_equal(cv2.imread(str(picture)), result(3).frame.image)
    assert json.loads(description.read_text(encoding="utf-8")) == {
        "image": picture.name,
        "frame": 3,
        "pts_s": 0.12,
        "detections": [{"label": "eye", "score": 0.75, "box": [1.5, 2.0, 30.0, 40.0]}],
        "faces": [],
    }
    assert description.name == picture.with_suffix(".json").name
    assert said == [f"saved {picture}"]


def test_a_snapshot_of_a_run_that_hides_faces_hides_them_too(tmp_path):
    Snapshots(tmp_path, lambda _: None, canvas_only=True).save(result(3))
    (picture,) = tmp_path.glob("*.png")
    assert np.array_equal(cv2.imread(str(picture)), result(3).canvas)


def test_snapshots_never_overwrite(tmp_path, monkeypatch):
    class StoppedClock(datetime):
        @classmethod
        def now(cls):
            return cls(2026, 11, 22, 17, 0, 0, 123_456)

    monkeypatch.setattr("realtime.sinks.naming.datetime", StoppedClock)
    snapshots = Snapshots(tmp_path, lambda _: None)
    for i in range(3):
        snapshots.save(result(i))
    stems = ["realtime-20261122-170000-123", "realtime-20261122-170000-123_2", "realtime-20261122-170000-123_3"]
    assert {path.name for path in tmp_path.iterdir()} == {
        f"{stem}.{kind}" for stem in stems for kind in ("png", "json")
    }
    assert [json.loads((tmp_path / f"{stem}.json").read_text())["frame"] for stem in stems] == [0, 1, 2]


def test_a_snapshot_that_cannot_be_written_is_said_and_leaves_nothing(tmp_path):
    said = []
    Snapshots(tmp_path / "gone", said.append).save(result())
    assert len(said) == 1
    assert "gone does not exist" in said[0]
    assert list(tmp_path.iterdir()) == []


class Bench:
    """A recorder with what it is told and what it tells."""

    def __init__(self, folder, open_file=None):
        self.controls = Controls(0.5)
        self.said = []
        self.recorder = Recorder(self.controls, folder, open_file or self.open_file, self.said.append)

    @staticmethod
    def open_file(path, size_wh):
        return VideoFileSink(path, size_wh=size_wh, frame_rate=Fraction(25), time_base=Fraction(1, 90_000), audio=None)

    def write(self, *indices, recording, **changes):
        self.controls.recording = recording
        for index in indices:
            self.recorder.write(result(index, **changes))


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


def test_a_recording_that_is_still_being_finished_keeps_its_name(tmp_path, monkeypatch):
    monkeypatch.setattr("realtime.sinks.naming.datetime", SimpleNamespace(now=lambda: datetime(2026, 3, 14, 15, 9)))
    bench = Bench(tmp_path)
    for first in (0, 3, 6):
        bench.write(first, first + 1, recording=True)
        bench.write(first + 2, recording=False)
    bench.recorder.close(Ending.COMPLETE)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "realtime-20260314-150900-000.mp4", "realtime-20260314-150900-000_2.mp4", "realtime-20260314-150900-000_3.mp4"
    ]  # fmt: skip


def grey_levels(path):
    return [round(float(picture.mean()) / 10) * 10 for _, picture in read_video(path)]


def test_each_recording_is_a_file_of_the_drawn_frames_between_two_presses(bench, tmp_path):
    bench.write(0, 1, recording=False)
    assert not bench.recorder.needs_canvas
    bench.write(2, 3, 4, recording=True)
    assert bench.recorder.needs_canvas
    bench.write(5, recording=False)
    bench.write(6, 7, recording=True)
    bench.recorder.close(Ending.COMPLETE)
    first, second = sorted(tmp_path.iterdir())
    assert grey_levels(first) == [120, 130, 140]
    assert grey_levels(second) == [160, 170]
    assert sorted(bench.said) == [f"saved {first}", f"saved {second}"]


def test_the_time_of_a_recording_begins_with_it(bench, tmp_path):
    bench.write(10, 11, 12, recording=True)
    bench.recorder.close(Ending.COMPLETE)
    (path,) = tmp_path.iterdir()
    assert [time_s for time_s, _ in read_video(path)] == pytest.approx([0, 0.04, 0.08])


@pytest.mark.parametrize("ending", Ending)
def test_a_recording_is_kept_however_the_run_ends(bench, tmp_path, ending):
    bench.write(0, 1, recording=True)
    bench.recorder.close(ending)
    bench.recorder.close(ending)
    (path,) = tmp_path.iterdir()
    assert len(read_video(path)) == 2


def test_frames_of_another_size_begin_a_new_file(bench, tmp_path):
    bench.write(0, 1, recording=True)
    bench.write(2, 3, recording=True, size_wh=(32, 24))
    bench.recorder.close(Ending.COMPLETE)
    assert [read_video(path)[0][1].shape[:2] for path in sorted(tmp_path.iterdir())] == [(48, 64), (24, 32)]


def test_a_folder_that_is_gone_ends_the_recording_and_not_the_run(tmp_path):
    bench = Bench(tmp_path / "gone")
    bench.write(0, recording=True)
    assert not bench.controls.recording
    assert "gone does not exist" in bench.said[0]
    bench.recorder.close(Ending.COMPLETE)


class FullDisk:
    """Refuses the second frame."""

    needs_canvas = True
    is_slow = True

    def __init__(self):
        self.endings = []

    def write(self, result):
        if result.frame.pts_s > 0:
            raise SinkError("cannot write x.mp4: No space left on device")

    def close(self, ending):
        self.endings.append(ending)


def test_a_full_disk_ends_the_recording_and_not_the_run(tmp_path):
    full = FullDisk()
    bench = Bench(tmp_path, lambda _path, _size_wh: full)
    bench.controls.recording = True
    source = ScriptedSource(10_000)
    while bench.controls.recording:  # the encoder is a thread: its refusal comes with one of the next frames
        frame = source.read()
        assert frame is not None, "nothing was said"
        bench.recorder.write(Result(frame, FOUND, frame.image))
    assert bench.said == ["cannot write x.mp4: No space left on device"]
    assert full.endings == [Ending.FAILED]
    bench.recorder.close(Ending.COMPLETE)


def test_a_refusal_at_the_very_end_is_said(tmp_path):
    full = FullDisk()
    bench = Bench(tmp_path, lambda _path, _size_wh: full)
    bench.write(0, 1, recording=True)
    bench.recorder.close(Ending.COMPLETE)
    assert bench.said == ["cannot write x.mp4: No space left on device"]
    assert full.endings == [Ending.FAILED]

"""Looking closer at moving images, with a real network: a face across the room in a video and before a camera."""

import threading
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import cv2
import numpy as np
import pytest
from fakes import WAIT_S, FakeDetector, RecordingSink, ScriptedSource
from typer.testing import CliRunner

import realtime
from realtime.cli import app
from realtime.controls import Controls
from realtime.faces.known import KnownFaces
from realtime.faces.tracker import FaceTracker
from realtime.image_io import read_image, write_image
from realtime.inference.detector import OnnxDetector, find_model
from realtime.inference.providers import Provider
from realtime.inference.timed import OneAtATime
from realtime.pipeline import Pipeline
from realtime.regions.frames import FrameDetector
from realtime.regions.tiles import Reach
from realtime.sources.base import FrameSource
from realtime.sources.video_file import VideoFileSource
from realtime.structures import Frame

RATE = 24
FACE_PX = 40


class Scene(FrameSource):
    """A face of ``FACE_PX`` moves through 1280x720, where a single look does not see it."""

    is_live = False
    size_wh = (1280, 720)
    frame_rate = Fraction(RATE)
    time_base = Fraction(1, RATE)

    def __init__(self, photos, count):
        portrait = read_image(photos / "astronaut_close.jpg")
        scale = FACE_PX / (0.62 * portrait.shape[0])
        self._face = cv2.resize(portrait, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        self._room = cv2.resize(read_image(photos / "rocket.jpg"), self.size_wh, interpolation=cv2.INTER_CUBIC)
        self._count = count
        self._next = 0

    def read(self):
        index, self._next = self._next, self._next + 1
        if index == self._count:
            return None
        image = self._room.copy()
        x, y = self.corner(index)
        image[y : y + self._face.shape[0], x : x + self._face.shape[1]] = self._face
        image.flags.writeable = False
        return Frame(image, index, index / RATE, 0.0)

    def corner(self, index):
        return 850 + 2 * index, 500 - index

    def shows(self, face, index):
        """Whether a face is the one in this frame."""
        x, y = self.corner(index)
        centre = (face.box[0] + face.box[2]) / 2, (face.box[1] + face.box[3]) / 2
        return x < centre[0] < x + self._face.shape[1] and y < centre[1] < y + self._face.shape[0]


class Counting(OneAtATime):
    """Counts looks."""

    def __init__(self, network):
        self.metadata, self.concurrency, self.is_thread_safe = network.metadata, network.concurrency, True
        self.preprocess = network.preprocess
        self.looks = 0
        self._network = network

    def infer(self, network_input, transform):
        self.looks += 1
        return self._network.infer(network_input, transform)


def nano(concurrency=1):
    return OnnxDetector(find_model("nano"), provider=Provider.CPU, concurrency=concurrency)


def run(source, network, reach, **limits):
    sink = RecordingSink()
    Pipeline(source, network, [sink], Controls(network.metadata.threshold), reach=Reach.parse(reach)).run(**limits)
    return sink


@pytest.fixture(scope="module")
def network():
    return nano()


def test_a_face_across_the_room_is_followed_through_a_file_at_less_than_three_looks_a_frame(network, photos):
    scene, counting = Scene(photos, 20), Counting(network)
    sink = run(scene, counting, "auto")
    for index, faces in enumerate(sink.faces):
        (face,) = faces
        assert scene.shows(face, index)
        assert face.id == 1
        assert {"left_eye", "right_eye", "nose", "mouth"} <= set(face.features)
    assert counting.looks < 3 * 20 + 6  # all tiles in the first frame
    assert not any(run(Scene(photos, 3), network, "near").faces)


def test_the_same_file_gives_the_same_detections_whatever_the_number_of_threads(photos):
    alone, together = (run(Scene(photos, 12), nano(concurrency), "auto") for concurrency in (1, 5))
    for one, other in zip(alone.detections, together.detections, strict=True):
        np.testing.assert_array_equal(one.boxes, other.boxes)
        np.testing.assert_array_equal(one.scores, other.scores)
        np.testing.assert_array_equal(one.face_ids, other.face_ids)


def test_a_camera_shows_a_face_across_the_room_within_half_a_second_and_keeps_it(network, photos):
    """For the planner, a look takes 12 ms, and another one beside it 8 more: the machine's own times do not matter."""
    scene, counting = Scene(photos, 24), Counting(network)
    detector = FrameDetector(counting, Reach(), is_live=True, frame_wh=Scene.size_wh)
    tracker, shown, looks = FaceTracker(network.metadata.class_names), [], [0]
    try:
        for detected in detector.map(iter(scene.read, None)):
            tracked = tracker.update(
                detected.found,
                threshold=network.metadata.threshold,
                pts_s=detected.frame.pts_s,
                side_px=1280,
                looks=detected.looks,
            )
            taken_ms = 12.0 if counting.looks - looks[-1] == 1 else 20.0
            detector.note(replace(detected, preprocess_ms=0.0, infer_ms=taken_ms), tracker.known())
            faces = tracked.above_or_in_face(network.metadata.threshold).faces
            shown.append([face for face in faces if scene.shows(face, detected.frame.index)])
            looks.append(counting.looks)
    finally:
        detector.close()
    first = next(index for index, faces in enumerate(shown) if faces)
    assert first / RATE < 0.5
    assert [[face.id for face in faces] for faces in shown[first:]] == [[1]] * (24 - first)
    assert max(b - a for a, b in pairwise(looks)) <= 2
    assert {"left_eye", "right_eye", "nose", "mouth"} <= set(shown[-1][0].features)


@pytest.mark.parametrize("is_thread_safe", [True, False])
def test_the_closer_look_of_a_live_frame_goes_to_another_core_but_not_on_a_gpu(monkeypatch, photos, is_thread_safe):
    monkeypatch.setattr("realtime.regions.frames.core_count", lambda: 2)
    threads = []
    fake = FakeDetector(lambda: threads.append(threading.current_thread().name.rpartition("_")[0]))
    fake.is_thread_safe = is_thread_safe
    detector = FrameDetector(fake, Reach(), is_live=True, frame_wh=Scene.size_wh)
    for detected in detector.map(iter(Scene(photos, 4).read, None)):
        detector.note(replace(detected, preprocess_ms=0.0, infer_ms=1.0), KnownFaces.none())
    detector.close()
    assert set(threads) == ({"", "look"} if is_thread_safe else {""})
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("look")]


def test_small_videos_are_detected_in_as_many_frames_at_once_as_there_are_threads():
    together = threading.Barrier(6)  # nobody goes on before six are there
    detector = FakeDetector(lambda: together.wait(WAIT_S), concurrency=6)
    sink = RecordingSink()
    Pipeline(ScriptedSource(12), detector, [sink], Controls(0.5), reach=Reach()).run()
    assert len(sink.frames) == 12


def test_a_small_video_costs_and_gives_what_one_look_does(network, clip):
    counting = Counting(network)
    near, auto = (run(VideoFileSource(clip), counting, reach, max_frames=10) for reach in ("near", "auto"))
    assert counting.looks == 20
    for one, other in zip(near.detections, auto.detections, strict=True):
        np.testing.assert_array_equal(one.boxes, other.boxes)
        np.testing.assert_array_equal(one.scores, other.scores)


def test_a_stream_looks_as_far_as_its_detector(monkeypatch, photos):
    for reach, expected in (("auto", 1), ("near", 0)):
        monkeypatch.setattr("realtime.api._open", lambda *_: Scene(photos, 2))
        with realtime.stream("in.mp4", realtime.Detector("nano", provider="cpu", reach=reach)) as results:
            assert [len(result.faces) for result in results] == [expected, expected]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("", Reach()),
        ("--reach near", Reach.near()),
        ("--reach 3x2", Reach(grid=(3, 2))),
        ("--blur", replace(Reach.parse("far"), follows=False)),
        ("--blur face --reach auto", replace(Reach(), follows=False)),
    ],
)
def test_files_that_hide_faces_are_searched_as_far_as_can_be(tmp_path, monkeypatch, clip, arguments, expected):
    reaches = []
    image = tmp_path / "a.png"
    write_image(image, np.zeros((48, 64, 3), np.uint8))
    monkeypatch.setattr(
        "realtime.commands.video.run", lambda _source, _net, _out, options, *_, **__: reaches.append(options.reach)
    )
    monkeypatch.setattr("realtime.stills.with_reach", lambda network, reach: reaches.append(reach) or network)
    for command, path, out in (("video", clip, tmp_path / "out.mp4"), ("image", image, tmp_path / "out")):
        line = [command, str(path), "--out", str(out), "--model", "pico", "--provider", "cpu", *arguments.split()]
        result = CliRunner().invoke(app, line)
        assert result.exit_code == 0, result.output
    assert reaches == [expected, expected]


@pytest.mark.parametrize("command", ["video in.mp4", "image in.png", "cam", "bench"])
def test_an_unknown_reach_is_refused_before_anything_is_opened(command):
    result = CliRunner().invoke(app, [*command.split(), "--reach", "nearby"])
    assert str(result.exception).startswith("reach nearby: unknown reach; choose auto, near, far")

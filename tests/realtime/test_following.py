"""Near faces of a camera: followed in a part of the frame by the narrow companion, with a look at the whole in time."""

import threading
import time
from contextlib import closing
from dataclasses import replace
from itertools import count, pairwise

import numpy as np
import pytest
from fakes import WAIT_S, metadata, stub_model
from typer.testing import CliRunner

from realtime.cli import app
from realtime.errors import ModelError
from realtime.faces.boxes import iou
from realtime.faces.known import KnownFaces
from realtime.faces.looks import Looks
from realtime.faces.tracker import FaceTracker
from realtime.inference.companions import Companion
from realtime.inference.detector import OnnxDetector, companion_file, find_model
from realtime.inference.providers import Provider
from realtime.inference.timed import Detected
from realtime.regions.following import MIN_SURROUNDINGS, SURROUNDINGS, WHOLE_S, Follower
from realtime.regions.frames import FrameDetector, detect_together
from realtime.regions.planner import LivePlanner, Plan
from realtime.regions.tiles import Reach
from realtime.sources.video_file import VideoFileSource
from realtime.structures import Detections, Frame

WHOLE_WH, NARROW_WH = (256, 256), (192, 192)
VGA = (640, 480)
RATE = 30
CONTRACT = metadata(input_wh=WHOLE_WH)
FACE = (250.0, 150.0, 400.0, 320.0)
APART = [(30.0, 150.0, 180.0, 320.0), (480.0, 150.0, 630.0, 320.0)]


def boxes_of(*faces):
    return np.array(faces, float).reshape(-1, 4)


def frame(index, *, rate=RATE, size_wh=VGA):
    return Frame(np.zeros((size_wh[1], size_wh[0], 3), np.uint8), index, index / rate, 0.0)


# Which part


def part_of(*faces, size_wh=VGA):
    return Follower(WHOLE_WH, NARROW_WH).part(boxes_of(*faces), size_wh)


def test_the_part_is_a_square_around_the_face():
    x1, y1, x2, y2 = part_of(FACE)
    assert (x1 + x2) / 2 == pytest.approx(325, abs=1)
    assert (y1 + y2) / 2 == pytest.approx(235, abs=1)
    assert x2 - x1 == pytest.approx(y2 - y1, abs=1) == pytest.approx(SURROUNDINGS * 170, abs=2)


def test_the_part_ends_at_the_edges_of_the_frame():
    assert part_of((0, 0, 150, 170))[:2].tolist() == [0, 0]
    assert part_of((500, 320, 640, 480))[2:].tolist() == list(VGA)


def test_several_faces_share_a_part_if_it_shows_each_as_well_as_the_whole_frame():
    low = (250.0, 200.0, 330.0, 290.0)
    beside = (345.0, 200.0, 425.0, 290.0)
    part = part_of(low, beside)
    assert (part[:2] < np.array(low[:2])).all()
    assert (part[2:] > np.array(beside[2:])).all()
    assert part_of((540.0, 200.0, 620.0, 290.0), (20.0, 200.0, 100.0, 290.0)) is None


@pytest.mark.parametrize("faces", [[], [(700, 500, 800, 600)], [(100, 100, 100, 100)]])
def test_nothing_is_followed_without_a_face_in_the_frame(faces):
    assert part_of(*faces) is None


def test_a_very_near_face_is_followed_too():
    """The whole frame would show it larger, but no better."""
    assert part_of((150, 20, 500, 460)) is not None


def test_a_small_face_is_not_enlarged_without_bounds():
    x1, y1, x2, y2 = part_of((300, 200, 312, 214))
    assert (x2 - x1, y2 - y1) >= (76, 76)


def test_the_part_stays_while_the_face_is_well_within_it():
    follower = Follower(WHOLE_WH, NARROW_WH)
    first = follower.part(boxes_of(FACE), VGA)
    room = (SURROUNDINGS - MIN_SURROUNDINGS) / 2 * 170
    for shift, stays in ((0.8 * room, True), (1.2 * room, False)):
        moved = follower.part(boxes_of(FACE) + shift, VGA)
        assert (moved.tolist() == first.tolist()) is stays
    assert follower.part(boxes_of((310, 220, 340, 254)), VGA).tolist() != first.tolist()  # it would be shown too small


def test_another_size_of_the_frame_has_another_part():
    follower = Follower(WHOLE_WH, NARROW_WH)
    follower.part(boxes_of((400, 150, 800, 600)), (1280, 720))
    part = follower.part(boxes_of((300, 45, 640, 430)), VGA)  # the part of before would show this one well
    assert (part <= [*VGA, *VGA]).all()


# When


def detected(of, *faces, score=0.9, ms=0.0):
    boxes = boxes_of(*faces).astype(np.float32)
    found = Detections(boxes, np.zeros(len(boxes), int), np.full(len(boxes), score, np.float32), CONTRACT.class_names)
    return Detected(of, found, 0.0, ms)


def tracked(*faces, pts_s):
    boxes = boxes_of(*faces)
    return KnownFaces(boxes, np.zeros_like(boxes), np.full(len(boxes), 0.9), pts_s)


def run(planner, frames, seen=lambda _: [FACE], known=None, rate=RATE, ms=0.0, size_wh=VGA):
    plans = []
    for index in range(frames):
        this = frame(index, rate=rate, size_wh=size_wh)
        plans.append(planner.plan(this))
        faces = seen(index)
        planner.note(detected(this, *faces, ms=ms), tracked(*(known(index) if known else faces), pts_s=this.pts_s))
    return plans


def follows(plan):
    return plan is not None and plan.followed is not None


def wholes(plans):
    """Indices of the frames that are looked at as a whole."""
    return [index for index, plan in enumerate(plans) if plan is None or [0, 0, *VGA] in plan.regions.tolist()]


def test_a_known_face_is_followed_and_the_whole_frame_looked_at_in_time_for_new_faces():
    plans = run(LivePlanner(CONTRACT, Reach(), NARROW_WH), 91)
    assert [follows(plan) for plan in plans] == [False] + 90 * [True]
    assert max(b - a for a, b in pairwise(wholes(plans))) / RATE <= WHOLE_S + 1 / RATE
    assert len(wholes(plans)) <= 11


@pytest.mark.parametrize(("rate", "most"), [(5, 0.4), (2, 1.0)])
def test_of_slow_frames_every_other_one_is_looked_at_as_a_whole(rate, most):
    plans = run(LivePlanner(CONTRACT, Reach(), NARROW_WH), 20, rate=rate)
    gaps = np.diff(wholes(plans))
    assert gaps.min() == gaps.max() == 2
    assert gaps.max() / rate <= most


def test_a_machine_without_time_for_two_looks_takes_turns():
    plans = run(LivePlanner(CONTRACT, Reach(), NARROW_WH), 60, ms=60.0)
    assert len(wholes(plans)) > 4
    assert all(plan is None or len(plan.regions) == 1 for plan in plans)


def test_a_face_that_was_lost_is_looked_for_in_the_whole_frame():
    plans = run(
        LivePlanner(CONTRACT, Reach(), NARROW_WH), 8, lambda index: [FACE] if index < 3 else [], lambda _: [FACE]
    )
    assert [follows(plan) for plan in plans] == [False, True, True, True, False, False, False, False]


def test_people_who_are_apart_are_looked_at_in_the_whole_frame():
    plans = run(LivePlanner(CONTRACT, Reach(), NARROW_WH), 20, lambda _: APART)
    assert wholes(plans) == list(range(20))


def test_large_frames_have_tiles_beside_the_part_and_what_may_be_a_face_a_close_up():
    planner = LivePlanner(CONTRACT, Reach(), NARROW_WH)
    maybe = (900.0, 300.0, 930.0, 330.0)
    plans = run(planner, 40, lambda _: [FACE, maybe], lambda _: [FACE], size_wh=(1280, 720), ms=1.0)[3:]
    assert all(map(follows, plans))
    assert {len(plan.regions) + (len(plan.known) > 0) for plan in plans} == {2}
    closer = [plan.known.boxes.tolist() for plan in plans if len(plan.known)]
    assert closer
    assert all(boxes == [list(maybe)] for boxes in closer)


def test_without_a_narrow_network_or_where_faces_are_hidden_all_frames_are_looked_at_as_before():
    network = OnnxDetector(find_model("nano"), provider=Provider.CPU)
    hiding = replace(Reach(), follows=False)
    assert hiding.is_auto
    detector = FrameDetector(network, hiding, is_live=True, frame_wh=VGA)
    for planner in (LivePlanner(CONTRACT, Reach()), detector):
        assert run(planner, 20) == [None] * 20
    detector.close()


@pytest.mark.parametrize(("place", "expected"), [((300, 200, 340, 230), True), ((20, 20, 60, 60), False)])
def test_what_is_in_no_face_and_outside_the_part_is_not_missed(place, expected):
    """Other classes than those of a face: they would be seen in every tenth frame."""
    names = ("face", "hand")
    planner = LivePlanner(metadata(input_wh=WHOLE_WH, class_names=names), Reach(), NARROW_WH)
    plans = []
    for index in range(20):
        this = frame(index)
        plans.append(planner.plan(this))
        found = Detections(
            boxes_of(FACE, place).astype(np.float32), np.array([0, 1]), np.full(2, 0.9, np.float32), names
        )
        planner.note(Detected(this, found, 0.0, 0.0), tracked(FACE, pts_s=this.pts_s))
    assert all(follows(plan) is expected for plan in plans[1:])


@pytest.mark.parametrize(("arguments", "follows"), [([], True), (["--blur"], False), (["--hide", "solid"], False)])
def test_a_camera_whose_faces_are_hidden_is_looked_at_as_a_whole(monkeypatch, arguments, follows):
    """A person who comes in would be seen until the next look at the whole frame."""
    seen = []
    monkeypatch.setattr("realtime.commands.cam.open_both", lambda *_: (None, None))
    monkeypatch.setattr("realtime.commands.cam.speed_notices", lambda *_, **__: [])
    monkeypatch.setattr("realtime.commands.cam.run", lambda *given: seen.append(given[3].reach))
    result = CliRunner().invoke(app, ["cam", *arguments])
    assert result.exit_code == 0, result.output
    assert seen == [replace(Reach(), follows=follows)]


def test_several_cameras_whose_faces_are_hidden_are_looked_at_as_a_whole(monkeypatch):
    seen = []
    monkeypatch.setattr("realtime.commands.cam._run_many", lambda *given: seen.append(given[3].reach.follows))
    for arguments in ([], ["--blur"]):
        result = CliRunner().invoke(app, ["cam", "--device", "0", "--device", "1", *arguments])
        assert result.exit_code == 0, result.output
    assert seen == [True, False]


def test_a_small_face_that_leaves_does_not_come_back():
    """The part shows it large enough to know that it left; the whole frame would not show it."""
    small = boxes_of((300, 200, 336, 242)).astype(np.float32)
    whole, part = np.array([[0, 0, *VGA]], float), np.array([[260, 160, 380, 280]], float)
    tracker = FaceTracker(CONTRACT.class_names)
    shown = []
    for index in range(12):
        is_there = index < 6
        found = Detections(small, np.zeros(1, int), np.full(1, 0.9, np.float32), CONTRACT.class_names)
        looks = Looks(part, np.array([1.6])) if index < 8 else Looks(whole, np.array([0.4]))
        tracks = tracker.update(
            found if is_there else found[:0], threshold=0.5, pts_s=index / RATE, side_px=640, looks=looks
        )
        shown.append(len(tracks.above_or_in_face(0.5).faces))
    assert shown == [1] * 6 + [0] * 6


# What is found


def write_pair(folder):
    """A model that finds a face in the whole, and a companion that finds one in the part and another at its edge."""
    model = stub_model(folder / "m.onnx", rows=[([10.0, 10, 50, 50], 0.8, 0)])
    contract = metadata(input_wh=(32, 32))
    rows = [([8.0, 8, 24, 24], 0.9, 0), ([0.0, 8, 5, 24], 0.7, 0)]
    stub_model(folder / "m-narrow.onnx", rows=rows, contract=contract)
    return OnnxDetector(model, provider=Provider.CPU)


def look(network, regions, followed):
    plan = Plan(np.array(regions), KnownFaces.none(), confirms=False, followed=boxes_of(followed))
    (result,) = detect_together(network, [(frame(0), plan)])
    return result


def test_the_part_goes_through_the_narrow_network_and_what_its_edge_cuts_off_is_left_out(tmp_path):
    network = write_pair(tmp_path)
    assert network.narrow_wh == (32, 32)
    result = look(network, [[320, 160, 480, 320]], (360, 200, 440, 280))
    np.testing.assert_allclose(result.found.boxes, [[360, 200, 440, 280]], atol=0.1)
    assert result.looks.regions.tolist() == [[320, 160, 480, 320]]
    assert result.looks.scales.tolist() == [0.2]


def test_a_followed_face_that_reaches_the_edge_is_kept(tmp_path):
    result = look(write_pair(tmp_path), [[320, 160, 480, 320]], (300, 200, 350, 280))
    assert sorted(result.found.boxes[:, 0].tolist()) == pytest.approx([320, 360], abs=0.1)


def test_the_whole_frame_adds_what_is_elsewhere(tmp_path):
    result = look(write_pair(tmp_path), [[320, 160, 480, 320], [0, 0, *VGA]], (360, 200, 440, 280))
    assert sorted(result.found.boxes[:, 0].tolist()) == pytest.approx([100, 360], abs=0.1)


def test_a_face_that_the_part_cuts_off_is_the_whole_one_where_the_whole_frame_shows_it(tmp_path):
    model = stub_model(tmp_path / "m.onnx", rows=[([26.0, 20, 40, 36], 0.8, 0)])
    stub_model(tmp_path / "m-narrow.onnx", rows=[([0.0, 8, 16, 24], 0.9, 0)], contract=metadata(input_wh=(32, 32)))
    network = OnnxDetector(model, provider=Provider.CPU)
    result = look(network, [[320, 160, 480, 320], [0, 0, *VGA]], (260, 200, 400, 280))
    assert len(result.found) == 1
    assert result.found.boxes[0, 0] < 300


def test_a_narrow_network_that_cannot_be_opened_ends_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr("realtime.regions.frames.core_count", lambda: 2)
    network = write_pair(tmp_path)
    (tmp_path / "m-narrow.onnx").write_bytes(b"damaged")
    with pytest.raises(ModelError, match=r"m-narrow\.onnx"):
        play(FrameDetector(network, Reach(), is_live=True, frame_wh=VGA))


def play(detector):
    """Give a detector frames with a face until it follows that."""
    deadline = time.monotonic() + WAIT_S
    numbers = count()
    with closing(detector):
        while not follows(plan := detector.plan(this := frame(next(numbers)))) and time.monotonic() < deadline:
            detector.note(detected(this, FACE), tracked(FACE, pts_s=this.pts_s))
    return plan


@pytest.mark.parametrize("cores", [1, 2])
def test_a_narrow_network_is_opened_once_there_is_a_face_and_used_once_it_is_open(tmp_path, monkeypatch, cores):
    monkeypatch.setattr("realtime.regions.frames.core_count", lambda: cores)
    network = write_pair(tmp_path)
    opened = []
    monkeypatch.setattr(OnnxDetector, "narrow", property(lambda _: opened.append(threading.current_thread().name)))
    detector = FrameDetector(network, Reach(), is_live=True, frame_wh=VGA)
    detector.note(detected(frame(0)), tracked(pts_s=0.0))
    assert not opened
    assert follows(play(detector))
    assert opened == [threading.current_thread().name if cores == 1 else "look_0"]


def test_the_face_in_the_part_is_the_one_of_the_whole_frame(tmp_path):
    """What the whole frame shows of a face that the part shows well is left out."""
    result = look(write_pair(tmp_path), [[80, 20, 560, 500], [0, 0, *VGA]], (200, 140, 440, 380))
    np.testing.assert_allclose(result.found.boxes[0], [200, 134, 440, 374], atol=8)


# The networks


def test_nano_is_followed_by_pico_and_others_by_a_file_beside_them(tmp_path):
    nano = OnnxDetector(find_model("nano"), provider=Provider.CPU)
    assert nano.narrow_wh == nano.narrow.metadata.input_wh == NARROW_WH
    assert nano.narrow.narrow is None
    assert OnnxDetector(find_model("pico"), provider=Provider.CPU).narrow_wh is None
    assert companion_file(tmp_path / "nano.onnx", Companion.NARROW) is None
    write_pair(tmp_path)
    assert companion_file(tmp_path / "m.onnx", Companion.NARROW) == tmp_path / "m-narrow.onnx"


def test_a_batch_has_no_narrow_companion(tmp_path):
    model = stub_model(tmp_path / "m.onnx", contract=metadata(batch=2))
    stub_model(tmp_path / "m-narrow.onnx", contract=metadata(input_wh=(32, 32)))
    network = OnnxDetector(model, provider=Provider.CPU)
    assert (network.narrow_wh, network.narrow) == (None, None)


def test_a_face_of_a_real_clip_is_shown_where_a_look_at_each_whole_frame_shows_it(clip):
    network = OnnxDetector(find_model("nano"), provider=Provider.CPU)
    assert network.narrow  # opened now, not beside the first frames
    shown, looks = {}, {}
    for name, reach in (("followed", Reach()), ("whole", Reach.near())):
        detector = FrameDetector(network, reach, is_live=True, frame_wh=VGA)
        tracker, levels = FaceTracker(network.metadata.class_names), []
        with VideoFileSource(clip) as source:
            frames = [frame for _ in range(40) if (frame := source.read())]
        for found in detector.map(iter(frames)):
            tracks = tracker.update(found.found, threshold=0.5, pts_s=found.frame.pts_s, side_px=640, looks=found.looks)
            detector.note(replace(found, preprocess_ms=0.0, infer_ms=5.0), tracker.known())
            levels.append(tracks.above_or_in_face(0.5).faces)
            looks.setdefault(name, []).append(found.looks)
        detector.close()
        shown[name] = levels
    part = [look.regions[0].tolist() != [0, 0, 640, 360] for look in looks["followed"] if look is not None]
    assert sum(part) > 30
    for followed, whole in zip(shown["followed"], shown["whole"], strict=True):
        assert [face.id for face in followed] == [1]
        assert max(iou(np.array(followed[0].box), np.array(face.box)) for face in whole) > 0.85
        assert {"left_eye", "right_eye", "nose", "mouth"} <= set(followed[0].features)

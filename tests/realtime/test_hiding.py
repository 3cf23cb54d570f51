import cv2
import numpy as np
import pytest

from realtime.drawing.hiding import GROWTH_PER_S, HOLD_S, HeldBox, Hider, Hiding, hide, hold
from realtime.errors import ModelError
from realtime.structures import Detections, Frame

NAMES = ("face", "eye")
NOISE = np.random.default_rng(0).integers(0, 255, (120, 160, 3), np.uint8)


def found(*boxes, label=0):
    count = len(boxes)
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4), np.full(count, label, np.int64), np.ones(count, np.float32)
    )


def boxes_at(now_s, *boxes):
    return [HeldBox(np.array(box, np.float32), now_s) for box in boxes]


def frame(pts_s=0.0, image=NOISE):
    return Frame(image, round(25 * pts_s), pts_s, 0.0)


def changed(picture, image=NOISE):
    return (picture != image).any(2)


def test_what_is_hidden_is_a_few_blocks_and_the_rest_untouched():
    before = NOISE.copy()
    picture = Hider(NAMES)(frame(), found([40, 30, 100, 90]))
    assert len(np.unique(picture[30:90, 40:100].reshape(-1, 3), axis=0)) <= 36
    assert changed(picture)[20:100, 30:110].mean() > 0.99  # the margin too
    assert not changed(picture)[:, 115:].any()
    assert not changed(picture)[105:].any()
    np.testing.assert_array_equal(before, NOISE)


@pytest.mark.parametrize("size", [8, 30, 110])
def test_detail_is_gone_at_every_size(size):
    """What is left of a drawn eye has no edges inside of its blocks, and at most 5 of them along a side."""
    image = np.full((120, 160, 3), 180, np.uint8)
    cv2.circle(image, (80, 60), size // 8, (0, 0, 0), -1)
    half = size / 2
    picture = Hider(NAMES).still(image, found([80 - half, 60 - half, 80 + half, 60 + half]))
    rows = np.flatnonzero(np.diff(picture[:, 80, 0].astype(int)) != 0)
    assert len(rows) <= 6


@pytest.mark.parametrize("box", [[-50, -40, 30, 30], [140, 100, 400, 300], [-9, -9, 500, 500], [300, 300, 400, 400]])
def test_boxes_at_the_edge_and_beyond(box):
    picture = Hider(NAMES)(frame(), found(box))
    x1, y1, x2, y2 = np.clip(box, 0, [160, 120, 160, 120])
    assert changed(picture)[y1:y2, x1:x2].mean() > 0.95 if x2 > x1 else not changed(picture).any()


def test_a_box_without_size_is_no_trouble():
    Hider(NAMES)(frame(), found([10, 10, 10, 10]))


def test_chosen_features_alone_are_hidden():
    both = Detections(
        np.array([[10, 10, 50, 50], [100, 60, 120, 70]], np.float32), np.array([0, 1]), np.ones(2, np.float32)
    )
    picture = Hider(NAMES, Hiding(classes="eye"))(frame(), both)
    assert not changed(picture)[:, :60].any()
    assert changed(picture)[60:70, 100:120].mean() > 0.95
    assert changed(Hider(NAMES, Hiding(classes="eye, face"))(frame(), both))[10:50, 10:50].mean() > 0.95


def test_an_unknown_feature_is_reported():
    with pytest.raises(ModelError, match=r"^hide_classes hair: the model has no such class; choose from face, eye"):
        Hider(NAMES, Hiding(classes="face,hair"))


def test_a_missed_frame_shows_no_face():
    blur = Hider(NAMES)
    blur(frame(0.0), found([40, 30, 100, 90]))
    for pts_s in (0.04, 0.2, 0.48):
        picture = blur(frame(pts_s), found())
        assert changed(picture)[30:90, 40:100].mean() > 0.99
    assert not changed(blur(frame(0.6), found())).any()


@pytest.mark.parametrize("interval_s", [1.0, 20.0])
def test_a_missed_frame_shows_no_face_however_far_frames_are_apart(interval_s):
    blur = Hider(NAMES)
    blur(frame(0.0), found([40, 30, 100, 90]))
    assert changed(blur(frame(interval_s), found()))[30:90, 40:100].mean() > 0.99


def test_a_held_box_keeps_its_place_when_the_stream_changes_its_size():
    blur = Hider(NAMES)
    blur(frame(0.0), found([40, 30, 100, 90]))
    larger = np.random.default_rng(1).integers(0, 255, (240, 320, 3), np.uint8)
    hidden = changed(blur(frame(0.04, larger), found()), larger)
    assert hidden[60:180, 80:200].mean() > 0.99
    assert not hidden[:, 260:].any()


def test_a_held_box_grows_as_its_face_may_have_moved():
    held = [HeldBox(np.array([60, 40, 80, 60], np.float32), 0.0)]
    areas = [changed(hide(NOISE, held, now_s)).sum() for now_s in (0.0, 0.4)]
    assert areas[1] > (1 + GROWTH_PER_S * 0.4) * areas[0]


def test_a_found_face_takes_the_place_of_the_held_one_and_no_other():
    left, right = np.array([10, 10, 50, 50], np.float32), np.array([90, 10, 130, 50], np.float32)
    held = hold([], boxes_at(0.0, left, right), 0.0)
    moved = left + 8
    held = hold(held, boxes_at(0.1, moved), 0.1)
    assert [(item.box.tolist(), item.seen_s) for item in held] == [(moved.tolist(), 0.1), (right.tolist(), 0.0)]


def test_a_small_false_find_inside_does_not_lift_the_hold():
    held = hold([], boxes_at(0.0, [0, 0, 100, 100]), 0.0)
    assert len(hold(held, boxes_at(0.1, [45, 45, 55, 55]), 0.1)) == 2


def test_held_boxes_do_not_pile_up():
    held, box = [], np.array([10, 10, 50, 50], np.float32)
    for i in range(1000):
        held = hold(held, boxes_at(i / 25, box + i % 7), i / 25)
        assert len(held) == 1
    assert hold(held, [], 40 + HOLD_S + 0.1) == []


def test_time_that_jumps_back_lets_go():
    held = hold([], boxes_at(100.0, [10, 10, 50, 50]), 100.0)
    assert hold(held, [], 0.0) == []


def test_nothing_is_brought_back_where_two_boxes_overlap():
    checked = np.zeros((100, 100, 3), np.uint8)
    checked[::2, ::2] = checked[1::2, 1::2] = 255
    big, small = [0, 0, 100, 100], [47, 47, 53, 53]
    for boxes in ((big, small), (small, big)):
        picture = Hider(NAMES).still(checked, found(*boxes)).astype(int)
        assert np.abs(picture - 127.5).max() < 8  # an even grey: the squares are gone


def test_the_shipped_detector_finds_no_features_in_what_is_hidden(clip):
    from realtime.inference.detector import OnnxDetector, find_model
    from realtime.inference.providers import Provider
    from realtime.sources.video_file import VideoFileSource

    source = VideoFileSource(clip)
    picture = source.read()
    source.close()
    detector = OnnxDetector(find_model("nano"), provider=Provider.CPU)
    threshold, names = detector.metadata.threshold, detector.metadata.class_names
    seen = detector.detect(picture.image).above(threshold)
    assert names.index("face") in seen.labels
    hidden = Hider(names)(picture, seen)
    left = detector.detect(hidden).above(threshold)
    inside = seen.boxes[seen.labels == names.index("face")][0]
    middles = (left.boxes[:, :2] + left.boxes[:, 2:]) / 2
    within = ((middles > inside[:2]) & (middles < inside[2:])).all(1)
    assert not within.any()

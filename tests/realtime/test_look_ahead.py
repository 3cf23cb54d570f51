"""In files, faces are hidden before they are found and while they are missed."""

import numpy as np
import pytest

from realtime.drawing.look_ahead import LookAheadHider
from realtime.structures import Detections, Frame

NAMES = ("face", "eye")
STRIPES = np.full((100, 400, 3), 255, np.uint8)
STRIPES[::2] = 0


def found(*boxes, face_ids=None):
    count = len(boxes)
    ids = np.zeros(count, np.int64) if face_ids is None else np.array(face_ids)
    corners = np.array(boxes, np.float32).reshape(-1, 4)
    return Detections(
        corners, np.zeros(count, np.int64), np.ones(count, np.float32), NAMES, ids, np.zeros(count, np.int64)
    )


def items_of(frames, interval_s):
    for i, detections in enumerate(frames):
        yield Frame(STRIPES, i, i * interval_s, 0.0), detections


def hidden_in(frames, interval_s=0.04):
    """For each frame, given by its detections, the hidden columns of row 50."""
    hider = LookAheadHider(NAMES)
    shown = [hider(*item) for item in hider.delayed(items_of(frames, interval_s), lambda item: item)]
    assert len(shown) == len(frames)
    return [(image != STRIPES).any(axis=2)[50] for image in shown]


def test_a_face_is_hidden_before_it_is_found():
    frames = [found()] * 30 + [found([100, 30, 140, 70], face_ids=[1])] * 3
    hidden = hidden_in(frames)
    assert not any(columns.any() for columns in hidden[:17])
    assert all(columns[100:140].all() for columns in hidden[18:])


def test_a_face_that_is_lost_for_a_while_is_hidden_where_it_passes():
    frames = [found([20, 30, 60, 70], face_ids=[1])] + [found()] * 11 + [found([260, 30, 300, 70], face_ids=[1])]
    for i, columns in enumerate(hidden_in(frames)):
        x = 20 + 20 * i
        assert columns[x : x + 40].all(), i


def test_what_is_found_in_a_frame_is_not_hidden_where_it_will_be_too():
    frames = [found([20 + 10 * i, 30, 60 + 10 * i, 70], face_ids=[1]) for i in range(20)]
    assert not hidden_in(frames)[0][90:].any()


@pytest.mark.parametrize("interval_s", [1.0, 20.0])
def test_the_next_frame_counts_however_far_it_is(interval_s):
    hidden = hidden_in([found(), found([100, 30, 140, 70])], interval_s)
    assert hidden[0][100:140].all()


def test_clocks_that_jump_back_lose_no_frame():
    hider = LookAheadHider(NAMES)
    items = [(Frame(STRIPES, i, pts_s, 0.0), found()) for i, pts_s in enumerate([0.0, 0.1, -5.0, 0.2, 0.3])]
    assert [item[0].index for item in hider.delayed(iter(items), lambda item: item)] == [0, 1, 2, 3, 4]


def test_frames_that_wait_are_given_out_before_an_error():
    def broken():
        yield from items_of([found()] * 3, 0.04)
        raise OSError("disk")

    delayed = LookAheadHider(NAMES).delayed(broken(), lambda item: item)
    assert [next(delayed)[0].index for _ in range(3)] == [0, 1, 2]
    with pytest.raises(OSError, match="disk"):
        next(delayed)


def test_few_frames_wait_if_they_are_large(monkeypatch):
    monkeypatch.setattr("realtime.drawing.look_ahead.MAX_BYTES", 3 * STRIPES.nbytes)
    items = items_of([found()] * 20, 0.01)
    next(LookAheadHider(NAMES).delayed(items, lambda item: item))
    assert next(items)[0].index == 4

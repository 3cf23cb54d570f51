"""Which regions of each frame are looked at: tiles in turn, close-ups of known faces, no more than time allows."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from fakes import metadata

from realtime.faces.kalman import BoxKalmanFilter
from realtime.faces.known import KnownFaces
from realtime.faces.looks import Looks
from realtime.inference.timed import Detected
from realtime.regions.budget import FrameBudget
from realtime.regions.cuts import MIN_SHOT_S, CutDetector
from realtime.regions.planner import LAG_FRAMES, FilePlanner, LivePlanner, NearPlanner, planner_for
from realtime.regions.rotation import ROUND_S, TileRotation
from realtime.regions.tiles import Reach, regions_of
from realtime.structures import Detections, Frame

INPUT_WH = (256, 256)
HD = (1280, 720)
CONTRACT = metadata(input_wh=INPUT_WH)
NOTHING = Detections.empty(CONTRACT.class_names)


def frame(index, *, rate=24, size_wh=HD, level=90):
    image = np.full((size_wh[1], size_wh[0], 3), level, np.uint8)
    return Frame(image, index, index / rate, 0.0)


def known(*boxes, pts_s=0.0, speed=0.0):
    boxes = np.array(boxes, float).reshape(-1, 4)
    return KnownFaces(boxes, np.full_like(boxes, speed), np.full(len(boxes), 0.9), pts_s)


def small_face(x, y=300, side=40):
    return [x, y, x + side, y + side]


def detected(of, found=NOTHING, ms=0.0):
    return Detected(of, found, 0.0, ms)


# Tiles in turn


@pytest.mark.parametrize(("rate", "frames"), [(60, 24), (30, 12), (24, 10), (25, 11)])
def test_all_tiles_have_their_turn_in_one_round(rate, frames):
    rotation = TileRotation(INPUT_WH, Reach())
    tiles = rotation.tiles(HD)
    assert len(tiles) == 6
    taken = [tuple(rotation.take(i / rate)[0]) for i in range(frames * 20) if rotation.is_due(i / rate)]
    assert set(taken[:6]) == {tuple(tile) for tile in tiles}
    assert len(taken) == pytest.approx(20 * frames / rate / ROUND_S * 6, rel=0.1)
    assert max(Counter(taken).values()) - min(Counter(taken).values()) <= 1


def test_where_frames_are_far_apart_each_has_a_tile_and_a_jump_back_changes_nothing():
    rotation = TileRotation(INPUT_WH, Reach())
    rotation.tiles(HD)
    for pts_s in (0.0, 0.2, 0.4, 9.0, 1.0, 1.2):
        assert rotation.is_due(pts_s)
        rotation.take(pts_s)
        assert not rotation.is_due(pts_s)


def test_small_frames_have_no_tiles_and_other_sizes_have_others():
    rotation = TileRotation(INPUT_WH, Reach())
    assert not len(rotation.tiles((640, 360)))
    assert len(rotation.tiles(HD)) == 6
    portrait = rotation.tiles((720, 1280))
    assert portrait[:, 3].max() == 1280
    assert not len(rotation.tiles((320, 240)))


def test_large_frames_and_other_reaches_have_the_tiles_of_still_images():
    for size_wh, reach in (((3840, 2160), Reach()), (HD, Reach.parse("far")), (HD, Reach.parse("3x1"))):
        expected = regions_of(size_wh, INPUT_WH, reach)[1:]
        np.testing.assert_array_equal(TileRotation(INPUT_WH, reach).tiles(size_wh), expected)


def test_wide_tiles_are_few_and_small_frames_have_one_too():
    rotation = TileRotation(INPUT_WH, Reach(), tile_wh=(640, 384))
    assert len(rotation.tiles(HD)) == 4
    assert rotation.tiles((640, 360)).tolist() == [[0, 0, 640, 360]]
    assert not len(rotation.tiles((320, 240)))


# Files


def run_file(planner, count, known_after=lambda _: KnownFaces.none(), **kwargs):
    plans = []
    for index in range(count):
        plans.append(planner.plan(frame(index, **kwargs)))
        planner.note(detected(frame(index, **kwargs)), known_after(index))
    return plans


def test_near_and_small_frames_are_looked_at_once():
    assert isinstance(planner_for(CONTRACT, Reach.near(), is_live=False, frame_wh=HD), NearPlanner)
    assert isinstance(planner_for(CONTRACT, Reach.near(), is_live=True, frame_wh=HD), NearPlanner)
    for is_live in (False, True):
        planner = planner_for(CONTRACT, Reach(), is_live=is_live, frame_wh=(640, 360))
        faces = known(small_face(100, 100))
        assert run_file(planner, 12, lambda _, faces=faces: faces, size_wh=(640, 360)) == [None] * 12


def test_a_file_has_all_tiles_where_a_shot_begins_and_then_one_in_every_other_frame():
    regions = [len(plan.regions) for plan in run_file(FilePlanner(CONTRACT, Reach()), 48)]
    assert regions[0] == 7
    assert set(regions[1:]) == {1, 2}
    assert sum(regions[1:]) / 47 < 1.7


def test_far_has_all_tiles_in_every_frame_of_a_file():
    plans = run_file(FilePlanner(CONTRACT, Reach.parse("far")), 3)
    assert [len(plan.regions) for plan in plans] == 3 * [len(regions_of(HD, INPUT_WH, Reach.parse("far")))]


def test_the_faces_of_a_fixed_number_of_frames_before_are_followed_where_they_are_by_now():
    plans = run_file(
        FilePlanner(CONTRACT, Reach()), 9, lambda index: known(small_face(10 * index), pts_s=index / 24, speed=24.0)
    )
    assert [len(plan.known) for plan in plans] == [0] * LAG_FRAMES + [1] * (9 - LAG_FRAMES)
    moved = plans[LAG_FRAMES + 2].known.boxes[0, 0] - 20
    assert 0.7 * LAG_FRAMES < moved < LAG_FRAMES


def test_faces_that_the_whole_frame_shows_well_or_that_left_it_are_not_followed():
    near, left = small_face(100, 100, side=300), small_face(1290)
    plans = run_file(FilePlanner(CONTRACT, Reach()), LAG_FRAMES + 1, lambda _: known(near, left, small_face(50)))
    assert plans[-1].known.boxes.tolist() == [small_face(50)]


def test_a_shot_begins_at_the_first_frame_and_at_a_cut_but_not_at_every_flash():
    cuts = CutDetector()
    levels = [90] * 12 + [200] * 24 + [20, 200] * 12
    begins = [index for index, level in enumerate(levels) if cuts.begins_shot(frame(index, level=level))]
    assert begins[:2] == [0, 12]
    assert begins[2] == 36
    assert all(later - sooner >= MIN_SHOT_S * 24 for sooner, later in pairwise(begins))


def test_another_size_begins_a_shot_and_slow_changes_do_not():
    cuts = CutDetector()
    assert cuts.begins_shot(frame(0))
    assert not any(cuts.begins_shot(frame(index, level=90 + 2 * index)) for index in range(1, 40))
    assert cuts.begins_shot(frame(40, size_wh=(64, 48)))


# Live


def run_live(planner, count, known_after=lambda _: KnownFaces.none(), found=NOTHING, ms=0.0, rate=30):
    plans = []
    for index in range(count):
        plans.append(planner.plan(frame(index, rate=rate)))
        planner.note(detected(frame(index, rate=rate), found, ms), known_after(index))
    return plans


def looks_in(plan):
    return len(plan.regions) + bool(len(plan.known))


def test_a_live_frame_has_one_look_more_at_most():
    for faces in ([], [small_face(100)], [small_face(50 * i) for i in range(20)]):
        plans = run_live(LivePlanner(CONTRACT, Reach()), 60, lambda i, faces=faces: known(*faces, pts_s=i / 30))
        assert max(map(looks_in, plans)) == 2
        assert not any(plan.confirms for plan in plans)
        assert max(len(plan.known) for plan in plans) <= 4
        for reach in ("far", "4x4"):
            assert max(map(looks_in, run_live(LivePlanner(CONTRACT, Reach.parse(reach)), 20))) == 2


def test_tiles_and_close_ups_take_turns():
    plans = run_live(LivePlanner(CONTRACT, Reach()), 40, lambda i: known(small_face(100), pts_s=i / 30))[2:]
    assert sum(len(plan.regions) == 2 for plan in plans) == pytest.approx(19, abs=1)
    assert sum(len(plan.known) == 1 for plan in plans) == pytest.approx(19, abs=1)


def test_every_face_of_a_crowd_has_its_turn():
    crowd = [small_face(60 * i) for i in range(10)]
    plans = run_live(LivePlanner(CONTRACT, Reach()), 13, lambda i: known(*crowd, pts_s=i / 30))
    seen = Counter(box[0] for plan in plans for box in plan.known.boxes.tolist())
    assert set(seen) == {box[0] for box in crowd}
    assert max(seen.values()) - min(seen.values()) <= 1


def test_what_may_be_a_face_gets_a_close_up_next_but_not_again_if_that_did_not_show_it():
    boxes = np.array([small_face(100), small_face(400), small_face(700)], np.float32)
    found = Detections(boxes, np.array([0, 1, 0]), np.array([0.4, 0.4, 0.2], np.float32), CONTRACT.class_names)
    planner = LivePlanner(CONTRACT, Reach())
    _, first, second, third = run_live(planner, 4, found=found)
    assert len(first.regions) == 2
    assert second.known.boxes.tolist() == [small_face(100)]
    assert second.known.scores.tolist() == pytest.approx([0.4])
    assert not len(third.known)


def test_a_machine_too_slow_for_the_whole_frame_looks_no_closer():
    plans = run_live(LivePlanner(CONTRACT, Reach()), 40, ms=40.0)
    assert sum(map(looks_in, plans[10:])) == 30


@pytest.mark.parametrize(("rate", "least", "most"), [(30, 0.28, 0.38), (5, 0.4, 0.5), (200, 0.0, 0.02)])
def test_closer_looks_take_the_time_that_frames_leave_and_half_of_a_look_at_most(rate, least, most):
    """A look takes 20 ms and two take 40: 0.8 of 33 ms are one look and a third, and 1.5 is the most."""
    budget, closer = FrameBudget(), 0
    for index in range(100):
        budget.begin(frame(index, rate=rate))
        allowed = budget.allows_more
        closer += allowed
        budget.end(0.04 if allowed else 0.02, looked_closer=allowed)
    assert least <= closer / 100 <= most


def test_cores_that_do_two_looks_at_once_look_closer_in_nearly_every_frame():
    budget, closer = FrameBudget(), 0
    for index in range(100):
        budget.begin(frame(index, rate=30))
        allowed = budget.allows_more
        closer += allowed
        budget.end(0.016 if allowed else 0.012, looked_closer=allowed)
    assert closer > 80


def test_after_a_hiccup_and_with_dropped_frames_there_is_time_again():
    budget = FrameBudget()
    for index in (0, 1, 2):
        budget.begin(frame(index, rate=30))
        budget.end(5.0 if index == 1 else 0.01, looked_closer=False)
    assert not budget.allows_more
    for index in range(10, 40, 3):  # two of three were dropped
        budget.begin(frame(index, rate=30))
        budget.end(0.01, looked_closer=False)
    assert budget.allows_more


# Where things are


def test_faces_move_on_as_their_filter_predicts():
    kalman = BoxKalmanFilter(np.array([0.0, 0.0, 40.0, 40.0]))
    for i in range(1, 6):
        kalman.predict(0.04)
        kalman.update(np.array([3.0 * i, i, 40.0 + 3 * i, 40.0 + i]))
    now = KnownFaces(kalman.box[None], kalman.speed[None], np.ones(1), 1.0)
    kalman.predict(0.2)
    np.testing.assert_allclose(now.at(1.2).boxes[0], kalman.box)
    np.testing.assert_array_equal(now.at(0.5).boxes, now.boxes)


def test_a_face_is_as_high_as_the_closest_look_shows_it():
    looks = Looks(np.array([[0, 0, 1280, 720], [0, 0, 640, 720], [90.5, 90, 180, 180]]), np.array([0.2, 0.4, 2.0]))
    boxes = np.array([[100, 100, 140, 140], [600, 100, 640, 200], [1000, 0, 1100, 50], [2000, 0, 2100, 50]], float)
    assert looks.heights_px(boxes).tolist() == pytest.approx([80, 40, 10, 0])
    assert looks.heights_px(boxes[:0]).shape == (0,)

from itertools import combinations

import pytest

from realtime.drawing.placement import place_labels

FRAME_WH = (1280, 720)
FACE = (746, 143, 1062, 516)
FEATURES = [
    (765, 184, 885, 237), (916, 205, 1057, 268), (789, 225, 870, 269), (944, 246, 1025, 290),
    (837, 238, 955, 376), (800, 369, 980, 456),
]  # fmt: skip
"""Eyebrows, eyes, nose and mouth of one face, as the shipped model found them."""


def rects(boxes, size_wh, frame_wh=FRAME_WH):
    places = place_labels(boxes, [size_wh] * len(boxes), frame_wh)
    return [(x, y, x + size_wh[0], y + size_wh[1]) for x, y in places]


def overlap_px2(a, b):
    return max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))


def test_a_lone_label_stands_on_its_box():
    assert rects([(100, 100, 200, 200)], (60, 20)) == [(100, 80, 160, 100)]


def test_labels_of_a_face_hide_neither_features_nor_each_other():
    labels = rects([FACE, *FEATURES], (90, 23))
    edge_px2 = 5 * 90  # the map is coarse: an edge may be off by less than one of its cells
    assert all(overlap_px2(a, b) <= edge_px2 for a, b in combinations(labels, 2))
    assert all(overlap_px2(label, feature) <= edge_px2 for label in labels for feature in FEATURES)


@pytest.mark.parametrize("box", [(0, 0, 1280, 720), (-40, -40, 30, 30), (1270, 700, 1300, 740), (0, 300, 10, 310)])
def test_labels_stay_inside_the_frame(box):
    ((x1, y1, x2, y2),) = rects([box], (90, 23))
    assert 0 <= x1 < x2 <= 1280
    assert 0 <= y1 < y2 <= 720


def test_where_nothing_is_free_the_least_is_covered():
    """Every place at the small box in the corner lies on the large one; to its right it is half off it."""
    small, large = (0, 0, 20, 20), (20, 0, 50, 100)
    first, _ = rects([small, large], (60, 20), frame_wh=(100, 100))
    places = [(0, 0), (0, 20), (20, 0)]
    assert overlap_px2(first, large) == min(overlap_px2((x, y, x + 60, y + 20), large) for x, y in places)


def test_what_must_stay_clear_is_never_covered():
    """The label moves to the other side, and is left out where there is none."""
    box = (40, 40, 80, 60)
    ((x, y),) = place_labels([box], [(40, 15)], (200, 100), keep_clear=[(30, 20, 90, 40)])
    assert overlap_px2((x, y, x + 40, y + 15), (30, 20, 90, 40)) == 0
    assert place_labels([box], [(40, 15)], (200, 100), keep_clear=[(0, 0, 200, 100)]) == [None]


def test_a_label_larger_than_the_frame_does_no_harm():
    assert rects([(2, 2, 8, 8)], (60, 20), frame_wh=(16, 12)) == [(0, 0, 60, 20)]


def test_no_boxes_have_no_labels():
    assert place_labels([], [], FRAME_WH) == []

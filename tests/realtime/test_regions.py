"""Looking closer: tiles, close-ups, and one set of detections from all of them."""

import itertools
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from fakes import metadata

from realtime.errors import RegionError
from realtime.faces.known import KnownFaces
from realtime.image_io import read_image
from realtime.inference.detector import OnnxDetector, find_model
from realtime.inference.providers import Provider
from realtime.inference.timed import OneAtATime
from realtime.regions.close_ups import COLUMNS, close_ups
from realtime.regions.detector import CloserDetector, detect_closer
from realtime.regions.merge import Seen, cut_off, merge
from realtime.regions.targets import Targets, is_candidate, replace_by_views
from realtime.regions.tiles import MAX_TILES, MAX_WIDE_TILES, OVERLAP, Reach, grid_for, regions_of
from realtime.structures import Detections

NAMES = ("face", "eye")
INPUT_WH = (256, 256)


def found(*rows):
    """Detections of (label, score, box)."""
    rows = sorted(rows, key=lambda row: -row[1])
    labels, scores, boxes = zip(*rows, strict=True) if rows else ((), (), ())
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4), np.array(labels, np.int64), np.array(scores, np.float32), NAMES
    )


def seen(region, *rows, scale=1.0):
    return Seen(found(*rows), np.array(region), scale)


# Tiles


@pytest.mark.parametrize("text", ["", "Auto", "0x2", "3x", "10x10", "3 x 2", "2x2x2"])
def test_a_reach_that_is_none_is_refused_with_what_there_is(text):
    with pytest.raises(RegionError, match="unknown reach; choose auto, near, far or columns x rows of tiles"):
        Reach.parse(text)


def test_near_looks_at_the_whole_frame_alone():
    assert Reach.parse("near").is_near
    assert not Reach.parse("auto").is_near
    np.testing.assert_array_equal(regions_of((1280, 720), INPUT_WH, Reach.parse("near")), [[0, 0, 1280, 720]])


@pytest.mark.parametrize("text", ["auto", "far", "3x2", "1x4"])
@pytest.mark.parametrize("frame_wh", [(1280, 720), (720, 1280), (640, 480), (6000, 4000), (97, 61), (5000, 40)])
def test_tiles_cover_the_frame_lie_in_it_and_overlap(text, frame_wh):
    whole, *tiles = regions_of(frame_wh, INPUT_WH, Reach.parse(text)).tolist()
    assert whole == [0, 0, *frame_wh]
    assert len(tiles) <= MAX_TILES
    covered = np.zeros(frame_wh[::-1], bool)
    for x1, y1, x2, y2 in tiles:
        assert 0 <= x1 < x2 <= frame_wh[0]
        assert 0 <= y1 < y2 <= frame_wh[1]
        covered[y1:y2, x1:x2] = True
    assert covered.all() or not tiles
    for axis in (0, 1):
        spans = sorted({(tile[axis], tile[axis + 2]) for tile in tiles})
        for (_, end), (start, next_end) in itertools.pairwise(spans):
            assert end - start >= OVERLAP * (next_end - start) - 2  # whole pixels


def test_a_grid_has_as_many_tiles_as_the_scale_needs_and_small_images_have_none():
    assert grid_for((1280, 720), INPUT_WH, 0.36) == (2, 1) or grid_for((1280, 720), INPUT_WH, 0.36) == (2, 2)
    assert grid_for((320, 240), INPUT_WH, 0.36) == (1, 1)
    columns, rows = grid_for((1920, 1080), INPUT_WH, 0.36)
    assert columns * rows > 4
    columns, rows = grid_for((20_000, 20_000), INPUT_WH, 0.36)
    assert 16 <= columns * rows <= MAX_TILES


WIDE_WH = (640, 384)


@pytest.mark.parametrize(
    ("frame_wh", "reach", "tiles"),
    [
        ((1280, 720), "auto", 4),
        ((1280, 720), "far", 9),
        ((1280, 720), "near", 0),
        ((1280, 720), "3x1", 3),
        ((1280, 720), "1x1", 1),
        ((640, 480), "auto", 1),
        ((320, 240), "auto", 0),
        ((9000, 6000), "far", MAX_WIDE_TILES),
    ],
)
def test_a_wide_input_has_few_and_fine_tiles(frame_wh, reach, tiles):
    whole, *cut = regions_of(frame_wh, INPUT_WH, Reach.parse(reach), tile_wh=WIDE_WH).tolist()
    assert whole == [0, 0, *frame_wh]
    assert len(cut) == tiles
    if tiles == 1:
        assert cut == [whole]  # the same pixels, four times as many of them in the network


# Merging


def test_a_face_seen_in_two_tiles_is_one_and_its_box_lies_between():
    merged = merge(
        [seen([0, 0, 100, 100], (0, 0.9, [40, 40, 60, 60])), seen([20, 0, 120, 100], (0, 0.8, [42, 40, 62, 60]))],
        (120, 100), 10,
    )  # fmt: skip
    assert len(merged) == 1
    assert merged.scores[0] == np.float32(0.9)
    assert 40 < merged.boxes[0, 0] < 42


def test_what_overlaps_little_or_is_of_another_class_stays():
    rows = [(0, 0.9, [0, 0, 20, 20]), (0, 0.8, [12, 0, 32, 20]), (1, 0.7, [0, 0, 20, 20])]
    merged = merge([seen([0, 0, 100, 100], *rows)], (100, 100), 10)
    assert sorted(merged.labels.tolist()) == [0, 0, 1]
    assert merged.scores.tolist() == sorted(merged.scores.tolist(), reverse=True)


def test_a_piece_at_the_edge_of_a_tile_gives_way_to_the_whole_face_even_with_a_better_score():
    whole = seen([0, 0, 200, 100], (0, 0.7, [80, 20, 140, 90]))
    piece = seen([0, 0, 100, 100], (0, 0.95, [80, 20, 100, 90]))
    merged = merge([whole, piece], (200, 100), 10)
    assert merged.boxes.tolist() == [[80, 20, 140, 90]]
    assert merge([piece], (200, 100), 10).boxes.tolist() == [[80, 20, 100, 90]]  # better than nothing


def test_the_edge_of_the_frame_cuts_nothing_off():
    one = seen([0, 0, 100, 100], (0, 0.9, [0, 40, 20, 60]), (0, 0.8, [85, 40, 100, 60]), (0, 0.7, [40, 40, 60, 60]))
    assert cut_off(one, (200, 100)).tolist() == [False, True, False]
    assert cut_off(one, (100, 100)).tolist() == [False, False, False]


def test_a_face_in_a_face_is_a_mistake_but_a_neighbour_is_not():
    rows = [(0, 0.9, [0, 0, 100, 100]), (0, 0.8, [40, 60, 70, 90]), (0, 0.7, [90, 0, 130, 40])]
    assert merge([seen([0, 0, 200, 200], *rows)], (200, 200), 10).boxes[:, 0].tolist() == [0, 90]


def test_nothing_found_is_nothing():
    assert len(merge([seen([0, 0, 10, 10]), seen([5, 0, 15, 10])], (15, 10), 10)) == 0


# Close-ups


def test_what_is_found_in_a_close_up_lies_where_it_was_in_the_frame():
    image = np.zeros((400, 600, 3), np.uint8)
    faces = np.array([[100, 100, 120, 124], [560, 10, 596, 50], [300, 350, 310, 362], [20, 380, 60, 400], [5, 5, 9, 9]])
    for x1, y1, x2, y2 in faces:
        image[y1:y2, x1:x2] = 255
    views = []
    for cells in close_ups(image, faces.astype(float), INPUT_WH):
        assert cells.image.shape == (256, 256, 3)
        rows = []
        for cell in cells.cells:
            x1, y1, x2, y2 = cell
            ys, xs = np.nonzero(cells.image[y1:y2, x1:x2, 0] > 180)
            rows.append((0, 0.9, [x1 + xs.min(), y1 + ys.min(), x1 + xs.max() + 1, y1 + ys.max() + 1]))
        views += cells.split(found(*rows))
    assert len(views) == 5
    for view, face in zip(views, faces, strict=True):
        np.testing.assert_allclose(view.boxes, [face], atol=1.2)


def test_close_ups_are_four_to_an_image_and_none_spills_into_the_next():
    image = np.full((200, 200, 3), 7, np.uint8)
    (cells,) = close_ups(image, np.array([[0.0, 0.0, 20.0, 20.0]]), INPUT_WH)
    x1, y1, x2, y2 = cells.cells[0]
    outside = cells.image.copy()
    outside[y1:y2, x1:x2] = 114
    assert (outside == 114).all()
    assert (cells.image[y1:y2, x1:x2] == 7).any()
    assert len(close_ups(image, np.tile([0, 0, 9, 9], (COLUMNS**2 + 1, 1)), INPUT_WH)) == 2


def test_mirrored_close_ups_show_more_around_the_face_and_give_its_place_without_mirror():
    image = np.zeros((400, 600, 3), np.uint8)
    image[100:124, 100:120] = 255
    image[100:124, 120:140] = 128  # on its right
    face = np.array([[100.0, 100.0, 120.0, 124.0]])
    (plain,) = close_ups(image, face, INPUT_WH)
    (mirrored,) = close_ups(image, face, INPUT_WH, are_mirrored=True)
    assert mirrored.scales < plain.scales
    ys, xs = np.nonzero(mirrored.image[..., 0] > 180)
    greys = np.nonzero((mirrored.image[..., 0] > 116) & (mirrored.image[..., 0] < 140))[1]
    assert greys.min() < xs.min()
    (view,) = mirrored.split(found((0, 0.9, [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])))
    np.testing.assert_allclose(view.boxes, face, atol=1.2)


FAR_FACE = np.array([300.0, 200.0, 312.0, 214.0])


def scores_after(opinions, known=None):
    """Of one face, whose scores in one look after the other are given, 0 for none; no look more must be asked for."""
    image = np.zeros((480, 640, 3), np.uint8)
    contract = metadata(input_wh=INPUT_WH, calibration={"a": 1.0, "b": 1.0, "factors": [1.0, 1.0]})
    network = SimpleNamespace(metadata=contract, tile_wh=None)
    steps = detect_closer(network, image, np.array([[0, 0, 640, 480]]), known)
    next(steps)
    answers = [found((0, opinions[0], FAR_FACE))]
    for opinion, are_mirrored in zip(opinions[1:], (False, True), strict=False):
        (look,) = steps.send(answers)
        (pack,) = close_ups(image, FAR_FACE[None], INPUT_WH, are_mirrored=are_mirrored)
        assert (look.image == pack.image).all()
        x1, y1, x2, y2 = FAR_FACE * pack.scales + np.tile(pack.matrices[0, :, 2], 2)
        shown = [INPUT_WH[0] - x2, y1, INPUT_WH[0] - x1, y2] if are_mirrored else [x1, y1, x2, y2]
        answers = [found((0, opinion, shown)) if opinion else found()]
    with pytest.raises(StopIteration) as end:
        steps.send(answers)
    return end.value.value[0].scores.tolist()


@pytest.mark.parametrize(
    ("opinions", "score"),
    [
        ((0.4, 0.5, 0.9), 0.6),
        ((0.6, 0.6, 0.0), 0.4),  # the mirrored close-up shows no face
        ((0.8, 0.8), 0.8),
        ((0.1, 0.3), 0.2),
        ((0.9, 0.0), None),  # the close-up shows none
    ],
)
def test_a_third_look_is_asked_for_where_it_may_move_the_mean_across_the_threshold(opinions, score):
    assert scores_after(opinions) == pytest.approx([] if score is None else [score])


def test_in_moving_images_later_frames_are_the_further_opinions():
    assert scores_after((0.4, 0.5), KnownFaces.none()) == pytest.approx([0.45])


ALL_NAMES = ("face", "eye", "eyebrow", "nose", "mouth")


@pytest.mark.parametrize(
    ("height", "buffer", "names", "nose", "score"),
    [
        (40, 0.0, ALL_NAMES, 0.1, 0.2),  # a quarter of 0.4
        (40, 0.0, ALL_NAMES, 0.0, None),
        (40, 0.0, ALL_NAMES, 0.6, 0.8),
        (15, 0.0, ALL_NAMES, 0.1, 0.8),  # too small to show its parts
        (40, 0.4, ALL_NAMES, 0.1, 0.8),  # known from earlier frames: it may have turned away
        (40, 0.0, ("face", "eye", "cap", "nose", "glasses"), 0.1, 0.8),  # a model that does not know a face's parts
    ],
)
def test_a_new_face_without_parts_is_less_likely(height, buffer, names, nose, score):
    face = np.array([100.0, 100.0, 100.0 + height, 100.0 + height])
    part = [100 + 0.4 * height, 100 + 0.4 * height, 100 + 0.6 * height, 100 + 0.7 * height]
    first = Detections(face[None].astype(np.float32), np.array([0]), np.array([0.7], np.float32), names)
    view = Detections(np.array([face, part], np.float32), np.array([0, 3]), np.array([0.9, nose], np.float32), names)
    targets = Targets(first.boxes, first.scores, np.array([buffer]), np.ones(1, bool), np.ones(1, bool))
    shown = replace_by_views(metadata(class_names=names), first, targets, [view], np.array([0.8]))
    assert shown.scores[shown.labels == 0].tolist() == pytest.approx([] if score is None else [score])


# With a real network


@pytest.fixture(scope="module")
def network():
    return OnnxDetector(find_model("nano"), provider=Provider.CPU)


@pytest.fixture(scope="module")
def far_face(photos):
    """A face of 17 px in an image of 1280x720, and the place of the portrait that it is in."""
    portrait = read_image(photos / "astronaut_close.jpg")
    scale = 26 / (0.62 * portrait.shape[0])
    small = cv2.resize(portrait, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    image = cv2.resize(read_image(photos / "rocket.jpg"), (1280, 720), interpolation=cv2.INTER_CUBIC)
    x, y = 900, 500
    image[y : y + small.shape[0], x : x + small.shape[1]] = small
    return image, np.array([x, y, x + small.shape[1], y + small.shape[0]])


def faces_of(detections, threshold):
    return detections.boxes[(detections.labels == 0) & (detections.scores >= threshold)]


def test_a_face_across_the_room_is_found_with_its_parts_where_one_look_sees_nothing(network, far_face):
    image, place = far_face
    threshold = network.metadata.threshold
    assert not len(faces_of(network.detect(image), threshold))
    closer = CloserDetector(network, Reach.parse("far")).detect(image)
    shown = closer.above(threshold)
    there = shown[((shown.boxes[:, :2] >= place[:2] - 2) & (shown.boxes[:, 2:] <= place[2:] + 2)).all(axis=1)]
    assert there.names.count("face") == 1
    assert {"eye", "nose", "mouth"} <= set(there.names)


def test_a_near_face_is_found_as_before(network, photos):
    image = read_image(photos / "astronaut_close.jpg")
    threshold = network.metadata.threshold
    expected = network.detect(image).above(threshold)
    closer = CloserDetector(network, Reach.parse("auto")).detect(image).above(threshold)
    assert closer.boxes.tolist() == expected.boxes.tolist()


def test_a_candidate_that_its_close_up_does_not_show_is_dropped(network, photos):
    image = read_image(photos / "chelsea.jpg")

    class Imagines(OneAtATime):
        metadata = network.metadata
        preprocess = staticmethod(network.preprocess)

        def infer(self, network_input, transform):
            detections = network.infer(network_input, transform)
            if transform.frame_wh != (image.shape[1], image.shape[0]):
                return detections
            box, score = np.array([[10, 10, 40, 44]], np.float32), np.array([0.99], np.float32)
            return Detections(box, np.array([0]), score, detections.class_names)

    closer = CloserDetector(Imagines(), Reach.parse("auto")).detect(image)
    assert not len(faces_of(closer, 0.3))


@pytest.mark.parametrize(("calibration", "wanted"), [(None, [True, False, False]), ("some", [True, True, False])])
def test_what_gets_a_close_up_depends_on_what_scores_mean(calibration, wanted):
    contract = metadata(calibration=calibration and {"a": 1.0, "b": 1.0, "factors": [1.0, 1.0]})
    faces = found((0, 0.31, [0, 0, 9, 9]), (0, 0.1, [20, 0, 29, 9]), (0, 0.05, [40, 0, 49, 9]))
    assert is_candidate(faces, contract).tolist() == wanted

"""What hides a face cannot be undone."""

import cv2
import numpy as np
import pytest

from realtime.drawing.covers import BLOCKS, Cover
from realtime.errors import SourceError
from realtime.image_io import read_image

NOISE = np.random.default_rng(0).integers(0, 255, (120, 160, 3), np.uint8)
BOX = np.array([50, 30, 110, 90], np.float32)


def covered(image=NOISE, box=BOX, **options):
    canvas = image.copy()
    Cover(**options).put(canvas, box)
    return canvas


def with_other_detail(image):
    """Another image whose blocks below ``BOX`` have the same means: each is turned upside down."""
    other, side = image.copy(), 60 // BLOCKS
    for y in range(30, 90, side):
        for x in range(50, 110, side):
            other[y : y + side, x : x + side] = image[y : y + side, x : x + side][::-1, ::-1]
    return other


@pytest.mark.parametrize("how", ["pixelate", "blur", "solid"])
def test_two_faces_with_the_same_blocks_look_the_same_once_hidden(how):
    """No attack can tell them apart, whatever it knows: all that is shown is made from the means of 25 blocks."""
    other = with_other_detail(NOISE)
    assert (other != NOISE).any(axis=2)[30:90, 50:110].mean() > 0.9
    shown, other_shown = covered(how=how, margin=0), covered(other, how=how, margin=0)
    assert np.abs(shown[30:90, 50:110].astype(int) - other_shown[30:90, 50:110]).max() <= 1


@pytest.mark.parametrize("side", [10, 30, 60, 110])
def test_at_most_five_blocks_are_left_along_a_side_whatever_its_size(side):
    x, y = 80 - side // 2, 60 - side // 2
    part = covered(box=np.array([x, y, x + side, y + side], np.float32), margin=0)[y : y + side, x : x + side]
    assert len(np.unique(part.reshape(-1, 3), axis=0)) <= BLOCKS**2


@pytest.mark.parametrize("how", ["pixelate", "blur", "solid"])
@pytest.mark.parametrize("shape", ["box", "ellipse"])
def test_the_shipped_detector_finds_no_features_in_what_is_hidden_nor_in_its_blocks_enlarged(photos, how, shape):
    from realtime.inference.detector import OnnxDetector, find_model
    from realtime.inference.providers import Provider

    detector = OnnxDetector(find_model("nano"), provider=Provider.CPU)
    photo = read_image(photos / "astronaut_close.jpg")
    faces = detector.detect(photo).above(0.5)
    box = faces.boxes[faces.labels == 0][0]
    hidden = covered(photo, box, how=how, shape=shape)
    x1, y1, x2, y2 = np.clip(box, 0, 10_000).astype(int)
    small = cv2.resize(hidden[y1:y2, x1:x2], (BLOCKS, BLOCKS), interpolation=cv2.INTER_AREA)
    for attack in (hidden, cv2.resize(small, (200, 240), interpolation=cv2.INTER_CUBIC)):
        found = detector.detect(attack).above(detector.metadata.threshold)
        assert not (found.labels != 0).any()  # the head may still be seen as one


def test_solid_leaves_nothing():
    assert not covered(how="solid", margin=0)[30:90, 50:110].any()


def test_an_ellipse_leaves_the_corners_and_covers_the_middle():
    changed = (covered(how="solid", shape="ellipse", margin=0) != NOISE).any(axis=2)
    assert not changed[30:34, 50:54].any()
    assert changed[30:90, 50:110].mean() == pytest.approx(np.pi / 4, abs=0.04)
    assert changed[40:80, 65:95].mean() > 0.99


def test_the_usual_margin_makes_an_ellipse_cover_the_corners_of_the_face():
    changed = (covered(how="solid", shape="ellipse") != NOISE).any(axis=2)
    assert changed[32:88, 52:108].mean() > 0.99


@pytest.mark.parametrize("margin", [0.0, 0.2, 1.0])
def test_the_margin_is_a_share_of_the_longer_side(margin):
    image = np.full((400, 400, 3), 255, np.uint8)
    shown = covered(image, np.array([150, 170, 250, 230]), how="solid", margin=margin)
    assert len(np.flatnonzero((shown == 0).any(axis=(1, 2)))) == pytest.approx(60 + 2 * margin * 100, abs=2)


def test_a_face_at_the_edge_has_blocks_of_the_same_size():
    shown = covered(box=np.array([-60, 0, 60, 120], np.float32), margin=0)[0:120, 0:60]
    assert len(np.unique(shown.reshape(-1, 3), axis=0)) <= 15


def test_an_image_takes_the_place_of_the_face(tmp_path):
    """Where it is transparent, blocks are seen, never the face."""
    image = np.zeros((20, 20, 4), np.uint8)
    image[5:15, 5:15] = (10, 200, 30, 255)
    cv2.imwrite(str(tmp_path / "a.png"), image)
    shown = covered(how=f"image:{tmp_path / 'a.png'}", margin=0)
    assert tuple(shown[60, 80]) == (10, 200, 30)
    np.testing.assert_array_equal(shown[31:36, 51:56], covered(margin=0)[31:36, 51:56])


@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_may_be_grey_or_without_opacity(tmp_path, channels):
    cv2.imwrite(str(tmp_path / "a.png"), np.full((9, 9, channels), 77, np.uint8))
    assert (covered(how=f"image:{tmp_path / 'a.png'}", margin=0)[30:90, 50:110] == 77).all()


@pytest.mark.parametrize("wrong", [{"how": "smear"}, {"how": "image:"}, {"margin": -1}, {"shape": "star"}])
def test_what_cannot_hide_is_refused(wrong):
    with pytest.raises(ValueError, match=r"expected|is not a valid"):
        Cover(**wrong)


def test_a_missing_image_is_reported(tmp_path):
    with pytest.raises(SourceError, match="not found"):
        Cover(how=f"image:{tmp_path / 'no.png'}")

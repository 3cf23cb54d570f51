import cv2
import numpy as np
import pytest

from realtime.drawing.render import BLACK, PALETTE_BGR, WHITE, LabelledBox, colour_of, draw, ink_on, labelled_boxes
from realtime.structures import Detections

NAMES = ("face", "eye")


def one(box, label=0):
    return labelled_boxes(
        Detections(np.array([box], np.float32), np.array([label]), np.array([0.9], np.float32), NAMES)
    )


@pytest.mark.parametrize("background", [0, 128, 255])
@pytest.mark.parametrize("size_hw", [(180, 320), (2160, 3840)])
def test_a_box_is_drawn_in_the_colour_of_its_class(background, size_hw):
    canvas = np.full((*size_hw, 3), background, np.uint8)
    height, width = size_hw
    draw(canvas, one([width / 4, height / 4, width / 2, height / 2], label=1))
    assert tuple(canvas[3 * height // 8, width // 2]) == PALETTE_BGR[1]  # on the right edge
    assert (canvas[3 * height // 8, 3 * width // 8] == background).all()  # inside


def test_lines_and_letters_grow_with_the_image():
    def edge_and_label_px(size_hw):
        canvas = np.zeros((*size_hw, 3), np.uint8)
        height, width = size_hw
        draw(canvas, one([width / 4, height / 4, width / 2, height / 2]))
        coloured = (canvas == PALETTE_BGR[0]).all(axis=2)
        return coloured[3 * height // 8].sum(), coloured[: height // 4].any(axis=1).sum()

    small, large = edge_and_label_px((180, 320)), edge_and_label_px((2160, 3840))
    assert large[0] >= 5 * small[0]
    assert large[1] >= 4 * small[1] >= 40  # small images keep letters that can be read


def test_a_bright_box_on_a_white_image_has_a_dark_rim():
    canvas = np.full((720, 1280, 3), 255, np.uint8)
    draw(canvas, [LabelledBox((200, 200, 400, 400), "", (66, 228, 240))])
    assert (canvas[300, 395:405] == 0).all(axis=1).any()


@pytest.mark.parametrize("box", [[-50, -50, 20, 20], [300, 0, 400, 90], [0, 0, 320, 240], [5, 5, 5, 5]])
def test_boxes_and_labels_at_the_border_do_no_harm(box):
    canvas = np.zeros((240, 320, 3), np.uint8)
    draw(canvas, one(box))
    assert canvas.any()


def test_nothing_found_draws_nothing():
    canvas = np.full((48, 64, 3), 7, np.uint8)
    draw(canvas, labelled_boxes(Detections.empty(NAMES)))
    assert (canvas == 7).all()


def test_without_labels_only_the_box_is_drawn():
    canvas = np.zeros((240, 320, 3), np.uint8)
    draw(canvas, one([100, 100, 200, 200]), labels=False)
    assert not canvas[:98].any()
    assert canvas[99:102].any()


def test_labels_say_name_and_score():
    names, scores = ("Gesicht", "œil"), np.array([0.987, 0.5], np.float32)
    found = Detections(np.zeros((2, 4), np.float32), np.array([1, 0]), scores, names)
    assert [(box.label, box.colour) for box in labelled_boxes(found)] == [
        ("œil 99", colour_of(1)),
        ("Gesicht 50", colour_of(0)),
    ]


def test_hidden_classes_are_left_out():
    found = Detections(np.zeros((2, 4), np.float32), np.array([1, 0]), np.array([0.9, 0.5], np.float32), NAMES)
    assert [box.label for box in labelled_boxes(found, hidden={1})] == ["face 50"]


def test_a_box_follows_an_image_that_is_scaled_and_mirrored():
    box = LabelledBox((10, 20, 30, 60), "left eye", WHITE).scaled(2).mirrored(200)
    assert box.box == (140, 40, 180, 120)
    assert box.label == "left eye"  # whose left it is does not depend on the mirror


@pytest.mark.parametrize("colour", PALETTE_BGR)
def test_what_is_written_on_a_colour_can_be_read(colour):
    """Contrast ratio of at least 4.5, as WCAG 2.2 asks for text (success criterion 1.4.3)."""
    light, dark = sorted((luminance(colour), luminance(ink_on(colour))), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 4.5


def luminance(bgr):
    """Relative luminance as WCAG 2.2 defines it."""
    srgb = np.array(bgr[::-1]) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


# Sight without red and without green cones, for linear RGB: Machado, Oliveira and Fernandes, 2009.
NO_RED = ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998))
NO_GREEN = ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.01182, 0.04294, 0.968881))


@pytest.mark.parametrize("sight", [np.eye(3), NO_RED, NO_GREEN], ids=["usual", "no red", "no green"])
def test_colours_stay_apart_for_the_colour_blind(sight):
    srgb = np.array(PALETTE_BGR)[:, ::-1] / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4) @ np.transpose(sight)
    seen = (linear.clip(0, 1) ** (1 / 2.4) * 1.055 - 0.055).clip(0, 1).astype(np.float32)
    lab = cv2.cvtColor(seen[None], cv2.COLOR_RGB2Lab)[0]
    distances = np.linalg.norm(lab[:, None] - lab[None], axis=2)[np.triu_indices(len(lab), 1)]
    assert distances.min() > 10  # a difference of about 2 is just noticed


def test_black_is_written_on_bright_grounds_and_white_on_dark_ones():
    assert (ink_on((255, 255, 0)), ink_on((120, 0, 0))) == (BLACK, WHITE)

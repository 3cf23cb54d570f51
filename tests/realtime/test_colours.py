"""Colours can be read, told apart, and survive video."""

from fractions import Fraction

import cv2
import numpy as np
import pytest
from fakes import read_video

from realtime.drawing import tags
from realtime.drawing.colours import BLACK, PALETTE_BGR, WHITE, contrast, ink_on
from realtime.drawing.marks import Mark
from realtime.drawing.render import draw
from realtime.drawing.styles import Labels, Shape, Style
from realtime.results import Result
from realtime.sinks.base import Ending
from realtime.sinks.video_file import VideoFileSink
from realtime.structures import Detections, Frame


@pytest.mark.parametrize("colour", PALETTE_BGR)
def test_what_is_written_on_a_colour_can_be_read(colour):
    """Contrast ratio of at least 4.5, as WCAG 2.2 asks for text (success criterion 1.4.3)."""
    assert contrast(colour, ink_on(colour)) >= 4.5
    canvas = np.full((60, 200, 3), 128, np.uint8)
    tags.put(canvas, "eyebrow 97%", (10, 10), colour, 20)
    assert (canvas == colour).all(axis=2).any()
    assert (canvas == ink_on(colour)).all(axis=2).any()


def test_contrast_is_that_of_the_standard():
    assert contrast(BLACK, WHITE) == pytest.approx(21)
    assert contrast((119, 119, 119), WHITE) == pytest.approx(4.48, abs=0.01)


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


def encoded(image, path):
    """The image as a viewer of the video sees it."""
    height, width = image.shape[:2]
    sink = VideoFileSink(path, size_wh=(width, height), frame_rate=Fraction(25), time_base=Fraction(1, 25))
    for index in range(2):
        sink.write(Result(Frame(image, index, index / 25, 0.0), Detections.empty(("face",))))
    sink.close(Ending.COMPLETE)
    return read_video(path)[-1][1][..., ::-1]


def hues(bgr):
    """Hue in degrees and saturation 0..1 of (N,3)."""
    return cv2.cvtColor(np.float32(bgr).reshape(1, -1, 3) / 255, cv2.COLOR_BGR2HSV)[0, :, :2].T


def grounds(size_hw):
    noise = np.random.default_rng(0).integers(0, 255, (size_hw[0] // 12, size_hw[1] // 12, 3), np.uint8)
    yield np.full((*size_hw, 3), 20, np.uint8)
    yield np.full((*size_hw, 3), 240, np.uint8)
    yield cv2.resize(noise, size_hw[::-1], interpolation=cv2.INTER_NEAREST)


@pytest.mark.parametrize("size_hw", [(240, 426), (720, 1280), pytest.param((2160, 3840), marks=pytest.mark.slow)])
@pytest.mark.parametrize("shape", [Shape.BOXES, Shape.CORNERS, Shape.OUTLINE])
def test_colours_survive_video(tmp_path, size_hw, shape):
    """At even and odd places, on dark, light and busy images: the hue of a line is that of its class."""
    height, width = size_hw
    marks = []
    for i, colour in enumerate(PALETTE_BGR):
        for odd in (0, 1):
            x, y = width * (i / len(PALETTE_BGR) + 0.02) + odd, height * (0.1 + 0.4 * odd) + odd
            marks.append(Mark((x, y, x + 0.1 * width, y + 0.3 * height), "", 1.0, colour))
    for canvas in grounds(size_hw):
        draw(canvas, marks, Style(shape=shape, labels=Labels.NONE))
        seen = encoded(canvas, tmp_path / "out.mp4")
        for colour in PALETTE_BGR:
            hue, saturation = hues(seen[(canvas == colour).all(axis=2)])
            (expected_hue,), (expected_saturation,) = hues(np.array(colour))
            assert np.median(np.abs((hue - expected_hue + 180) % 360 - 180)) < 12
            assert np.median(saturation) > 0.8 * expected_saturation

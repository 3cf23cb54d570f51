import numpy as np
import pytest

from realtime.render import PALETTE_BGR, draw, draw_status
from realtime.structures import Detections

NAMES = ("face", "eye")


def one(box, label=0):
    return Detections(np.array([box], np.float32), np.array([label]), np.array([0.9], np.float32))


@pytest.mark.parametrize("background", [0, 128, 255])
@pytest.mark.parametrize("size_hw", [(240, 320), (2160, 3840)])
def test_a_box_is_drawn_in_the_colour_of_its_class(background, size_hw):
    image = np.full((*size_hw, 3), background, np.uint8)
    height, width = size_hw
    canvas = draw(image, one([width / 4, height / 4, width / 2, height / 2], label=1), NAMES)
    assert tuple(canvas[3 * height // 8, width // 2]) == PALETTE_BGR[1]  # on the right edge
    assert (canvas[3 * height // 8, 3 * width // 8] == background).all()  # inside
    assert (image == background).all()  # the original is left alone


def test_lines_grow_with_the_picture():
    def edge_width(size_hw):
        canvas = draw(np.zeros((*size_hw, 3), np.uint8), one([10, 10, size_hw[1] / 2, size_hw[0] - 10]), NAMES)
        return int((canvas[size_hw[0] // 2] == PALETTE_BGR[0]).all(axis=1).sum())

    assert edge_width((2160, 3840)) > 2 * edge_width((240, 320))


@pytest.mark.parametrize("box", [[-50, -50, 20, 20], [300, 0, 400, 90], [0, 0, 320, 240], [5, 5, 5, 5]])
def test_boxes_and_labels_at_the_border_do_no_harm(box):
    canvas = draw(np.zeros((240, 320, 3), np.uint8), one(box), NAMES)
    assert canvas.shape == (240, 320, 3)
    assert canvas.any()


def test_nothing_found_draws_nothing():
    image = np.full((48, 64, 3), 7, np.uint8)
    assert (draw(image, Detections.empty(), NAMES) == 7).all()


def test_status_stands_in_the_upper_left_corner():
    canvas = np.zeros((480, 640, 3), np.uint8)
    draw_status(canvas, "30.0 FPS")
    assert (canvas[:40, :200] == 255).any()
    assert not canvas[100:].any()

import numpy as np
import pytest

from realtime.preprocess import Letterbox

SIZES_WH = [(1280, 720), (720, 1280), (64, 64), (31, 17), (640, 361), (3840, 2160), (1, 500)]


@pytest.mark.parametrize("size_wh", SIZES_WH)
def test_boxes_return_to_where_they_were(size_wh):
    width, height = size_wh
    _, transform = Letterbox((256, 192), 114)(np.zeros((height, width, 3), np.uint8))
    boxes = np.array([[0, 0, width, height], [width / 4, height / 3, width / 2, height / 2]], np.float32)
    scale, offset = np.array(transform.scale_xy * 2), np.array(transform.offset_xy * 2)
    np.testing.assert_allclose(transform.to_frame((boxes * scale + offset).astype(np.float32)), boxes, atol=2e-3)


def test_boxes_are_clipped_to_the_picture():
    _, transform = Letterbox((64, 64), 0)(np.zeros((32, 64, 3), np.uint8))
    np.testing.assert_array_equal(transform.to_frame(np.array([[-5, 0, 90, 64]], np.float32)), [[0, 0, 64, 32]])


def test_a_picture_lies_centred_on_the_padding():
    picture = np.full((100, 200, 3), 200, np.uint8)
    network_input, transform = Letterbox((64, 64), 114)(picture)
    assert network_input.shape == (1, 64, 64, 3)
    assert transform.offset_xy == (0, 16)
    assert (network_input[0, 16:48] == 200).all()
    assert (network_input[0, :16] == 114).all()
    assert (network_input[0, 48:] == 114).all()


def test_the_border_is_clean_after_the_pictures_change_size():
    letterbox = Letterbox((64, 64), 114)
    letterbox(np.full((200, 100, 3), 255, np.uint8))
    network_input, _ = letterbox(np.full((100, 200, 3), 255, np.uint8))
    assert (network_input[0, :16] == 114).all()


def test_the_buffer_is_reused():
    letterbox = Letterbox((64, 64), 114)
    picture = np.zeros((100, 200, 3), np.uint8)
    assert letterbox(picture)[0] is letterbox(picture)[0]


def test_a_black_bar_keeps_its_place():
    picture = np.full((400, 800, 3), 255, np.uint8)
    picture[100:200, 400:600] = 0
    network_input, transform = Letterbox((256, 256), 114)(picture)
    dark = np.argwhere(network_input[0, :, :, 0] < 60)
    (y1, x1), (y2, x2) = dark.min(axis=0), dark.max(axis=0) + 1
    found = transform.to_frame(np.array([[x1, y1, x2, y2]], np.float32))
    np.testing.assert_allclose(found, [[400, 100, 600, 200]], atol=3.2)  # one input pixel is 3.125 px here

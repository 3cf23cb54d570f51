import multiprocessing
import os
import re

import cv2
import numpy as np
import pytest

from realtime.errors import ImageError
from realtime.letterbox import PADDING_VALUE, BatchLetterbox, Letterbox

SIZES_WH = [(1280, 720), (720, 1280), (64, 64), (31, 17), (640, 361), (3840, 2160), (1, 500)]


@pytest.mark.parametrize("size_wh", SIZES_WH)
def test_boxes_return_to_where_they_were(size_wh):
    width, height = size_wh
    _, transform = Letterbox((256, 192), 114)(np.zeros((height, width, 3), np.uint8))
    boxes = np.array([[0, 0, width, height], [width / 4, height / 3, width / 2, height / 2]], np.float32)
    scale, offset = np.array(transform.scale_xy * 2), np.array(transform.offset_xy * 2)
    np.testing.assert_allclose(transform.to_frame((boxes * scale + offset).astype(np.float32)), boxes, atol=2e-3)


def test_boxes_are_clipped_to_the_image():
    _, transform = Letterbox((64, 64), 0)(np.zeros((32, 64, 3), np.uint8))
    np.testing.assert_array_equal(transform.to_frame(np.array([[-5, 0, 90, 64]], np.float32)), [[0, 0, 64, 32]])


def test_an_image_lies_centred_on_the_padding():
    picture = np.full((100, 200, 3), 200, np.uint8)
    network_input, transform = Letterbox((64, 64), 114)(picture)
    assert network_input.shape == (1, 64, 64, 3)
    assert transform.offset_xy == (0, 16)
    assert (network_input[0, 16:48] == 200).all()
    assert (network_input[0, :16] == 114).all()
    assert (network_input[0, 48:] == 114).all()


def test_the_border_is_clean_after_the_images_change_size():
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


@pytest.mark.parametrize("size_wh", [(640, 480), (1280, 720), (1920, 1080), (1278, 721), (3840, 2160)])
def test_large_images_are_averaged_over_areas_as_small_ones_are(size_wh):
    """The network learnt from such averages; a blur of the noise keeps it to what a lens lets through."""
    noise = np.random.default_rng(0).integers(0, 256, (size_wh[1], size_wh[0], 3), np.uint8)
    picture = cv2.GaussianBlur(noise, (0, 0), 2)
    network_input, transform = Letterbox((256, 256), 114)(picture)
    (left, top), (scale_x, scale_y) = transform.offset_xy, transform.scale_xy
    width, height = round(scale_x * size_wh[0]), round(scale_y * size_wh[1])
    expected = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)

    away = cv2.absdiff(network_input[0, top : top + height, left : left + width], expected)

    is_halved = size_wh[1] % 2 == 0
    assert away.mean() <= (2 if is_halved else 0)
    assert away.max() <= (16 if is_halved else 0)


@pytest.mark.parametrize(
    ("wh", "size_wh", "content"),
    [
        ((100, 50), (64, 64), (0, 16, 64, 48)),
        ((50, 100), (64, 64), (16, 0, 48, 64)),
        ((20, 10), (64, 64), (0, 16, 64, 48)),
        ((640, 480), (96, 64), (5, 0, 90, 64)),
        ((64, 64), (64, 64), (0, 0, 64, 64)),
        ((1000, 1), (64, 64), (0, 31, 64, 32)),
    ],
)
def test_letterbox_scales_to_fit_and_centres_on_grey(wh, size_wh, content):
    boxed, transform = Letterbox(size_wh)(np.full((wh[1], wh[0], 3), 255, np.uint8))

    x1, y1, x2, y2 = content
    expected = np.full((size_wh[1], size_wh[0], 3), PADDING_VALUE, np.uint8)
    expected[y1:y2, x1:x2] = 255
    np.testing.assert_array_equal(boxed[0], expected)
    corners = transform.matrix @ np.array([[0, wh[0]], [0, wh[1]], [1, 1]])
    np.testing.assert_allclose(corners.T.flatten(), content)


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((100, 200), np.uint8),
        np.zeros((100, 200, 1), np.uint8),
        np.zeros((100, 200, 4), np.uint8),
        np.zeros((100, 200, 3), np.float32),
        np.zeros((0, 200, 3), np.uint8),
    ],
)
def test_what_is_no_colour_image_is_refused_and_never_answered_with_the_one_before(wrong):
    letterbox = Letterbox((64, 64))
    letterbox(np.full((100, 200, 3), 255, np.uint8))
    with pytest.raises(ImageError, match=re.escape(f"{wrong.dtype} {wrong.shape}")):
        letterbox(wrong)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_process_letterboxes_batches_too():
    images = [np.full((40, 60, 3), value, np.uint8) for value in (1, 2, 3)]
    for _ in range(20):  # until threads wait for work
        expected = batch_of(images)
    context = multiprocessing.get_context("fork")
    with context.Pool(1) as pool:  # the threads of this process are not there
        found = pool.apply_async(batch_of, (images[:2],)).get(timeout=60)

    assert (found[:2] == expected[:2]).all()


def batch_of(images):
    return BatchLetterbox((32, 32), batch=3)(images)[0]

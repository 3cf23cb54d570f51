"""Images in memory, of the kinds that people have."""

import re
from types import SimpleNamespace

import numpy as np
import pytest

from realtime.errors import ImageError
from realtime.image_arrays import as_bgr

BGR = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
GREY = BGR[..., 0]


def test_a_bgr_image_is_passed_on_without_a_copy():
    assert as_bgr(BGR) is BGR


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (BGR[:, ::-1], BGR[:, ::-1]),  # not contiguous
        (GREY, np.dstack([GREY] * 3)),
        (GREY[..., None], np.dstack([GREY] * 3)),
        (np.dstack([BGR, GREY]), BGR),  # alpha is dropped
        (BGR / 255, BGR),
        ((BGR / 255).astype(np.float32), BGR),
        ((BGR / 255).astype(np.float16), BGR),
        (BGR.astype(np.uint16) * 257, BGR),
    ],
)
def test_other_kinds_are_converted(image, expected):
    converted = as_bgr(image)
    np.testing.assert_array_equal(converted, expected)
    assert converted.flags.c_contiguous
    assert converted.dtype == np.uint8


@pytest.mark.parametrize(
    ("image", "found"),
    [
        (BGR.transpose(2, 0, 1), "channels first (3, 6, 8); transpose it with image.transpose(1, 2, 0)"),
        (BGR[None], "found (1, 6, 8, 3)"),
        (BGR[..., :2], "found (6, 8, 2)"),
        (BGR[0, 0], "found (3,)"),
        (np.zeros((0, 8, 3), np.uint8), "found uint8 (0, 8, 3)"),
        (np.zeros((0, 8), np.uint8), "found (0, 8)"),
        (BGR.astype(np.int64), "found int64"),
        (BGR.astype(bool), "found bool"),
        (BGR.astype(np.float32), "expected floats from 0 to 1, found 0 to 249; scale them first"),
        (BGR / 255 - 0.5, "expected floats from 0 to 1, found -0.5"),
        (np.full((4, 4, 3), np.nan), "expected floats from 0 to 1, found some that are infinite or no number"),
        ([[1, 2], [3, 4]], "found list"),
        (None, "found NoneType"),
    ],
)
def test_what_is_no_image_is_refused_in_one_line(image, found):
    with pytest.raises(ImageError, match=re.escape(found)) as caught:
        as_bgr(image)
    assert "\n" not in str(caught.value)


def test_a_pil_image_is_taken_as_rgb():
    class Image(SimpleNamespace):
        def convert(self, mode):
            assert mode == "RGB"
            return np.ascontiguousarray(BGR[..., ::-1])

    np.testing.assert_array_equal(as_bgr(Image(getbands=lambda: ("P",))), BGR)

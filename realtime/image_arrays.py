"""Images in memory, of the kinds that people have, as what the detector takes."""

import math
from typing import Any

import cv2
import numpy as np

from realtime.errors import ImageError
from realtime.letterbox import check_image

EXPECTED = "expected an image (height, width), (height, width, 3) BGR or (height, width, 4) BGRA"


def as_bgr(image: Any) -> np.ndarray:
    """Convert an image in memory to uint8 BGR.

    Args:
        image: an array (H,W) or (H,W,1) grey, (H,W,3) BGR or (H,W,4) BGRA, of uint8, of uint16 over its full range, or
            of floats from 0 to 1; or a PIL image of any mode. Alpha is dropped.

    Returns:
        uint8 (H,W,3), BGR; ``image`` itself where it is that already.

    Raises:
        ImageError: another shape, dtype or range; the message says what was found.
    """
    if hasattr(image, "convert") and hasattr(image, "getbands"):  # PIL, which need not be installed
        return np.ascontiguousarray(np.asarray(image.convert("RGB"))[..., ::-1])
    if not isinstance(image, np.ndarray):
        raise ImageError(
            f"expected an image as a path, an array or a PIL image, found {type(image).__name__}", value=type(image)
        )
    pixels = _as_uint8(image)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    if pixels.ndim == 2 and pixels.size:
        pixels = cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_GRAY2BGR)
    elif pixels.ndim == 3 and pixels.shape[2] == 4:
        pixels = pixels[..., :3]
    elif pixels.ndim == 3 and pixels.shape[0] in (1, 3, 4) and pixels.shape[2] > 4:
        raise ImageError(
            f"{EXPECTED}, found channels first {image.shape}",
            value=image.shape,
            remedy="transpose it with image.transpose(1, 2, 0)",
        )
    if pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ImageError(f"{EXPECTED}, found {image.shape}", value=image.shape)
    check_image(pixels)
    return np.ascontiguousarray(pixels)


def _as_uint8(image: np.ndarray) -> np.ndarray:
    if image.dtype == np.uint8:
        return image
    if image.dtype == np.uint16:
        return (image >> 8).astype(np.uint8)
    if image.dtype.kind != "f":
        raise ImageError(f"expected pixels of uint8, uint16 or float, found {image.dtype}", value=image.dtype)
    low, high = (float(image.min()), float(image.max())) if image.size else (0.0, 0.0)
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ImageError("expected floats from 0 to 1, found some that are infinite or no number", value=(low, high))
    if not (low >= 0 and high <= 1):
        raise ImageError(
            f"expected floats from 0 to 1, found {low:.3g} to {high:.3g}", value=(low, high), remedy="scale them first"
        )
    pixels: np.ndarray = np.rint(image * 255).astype(np.uint8)
    return pixels

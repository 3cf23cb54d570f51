"""Decoded pictures as BGR, whatever their matrix, range, depth and transfer function."""

from typing import Any

import numpy as np

from realtime.ffmpeg import av

UNSPECIFIED = 2
"""In H.273's tables of matrices, primaries and transfer functions."""
BT709 = 1
BT601 = 5
BT2020 = 9
HDR_TRANSFERS = frozenset({16, 18})
"""PQ (SMPTE ST 2084) and HLG (ARIB STD-B67) in H.273's table of transfer functions."""
WIDE_PRIMARIES = frozenset({BT2020, 11, 12})
"""BT.2020, DCI-P3 and Display P3 in H.273's table of primaries."""


def to_bgr(picture: av.VideoFrame, size_wh: tuple[int, int] | None = None) -> np.ndarray:
    """Convert by the picture's own tags; high dynamic range and wide gamuts are mapped to BT.709.

    Pictures without a matrix are taken for BT.709 if they are larger than standard definition, else for BT.601, as
    players do.

    Args:
        picture: as decoded; its tags may be changed.
        size_wh: width and height in pixels of the result; by default the picture's own.

    Returns:
        uint8 (H,W,3), BGR.

    Raises:
        av.FFmpegError: there is no way to convert it.
    """
    width, height = size_wh or (picture.width, picture.height)
    if picture.colorspace == UNSPECIFIED and not picture.format.is_rgb:
        picture.colorspace = BT709 if picture.width >= 1280 or picture.height > 576 else BT601
    try:
        return picture.to_ndarray(format="bgr24", width=width, height=height, **_mapping(picture))
    except (av.FFmpegError, ValueError):  # tags that no one can serve: do without them
        picture.colorspace = BT709
        return picture.to_ndarray(format="bgr24", width=width, height=height)


def _mapping(picture: av.VideoFrame) -> dict[str, Any]:
    """The colours that the picture must be mapped to, if it is not of a common kind."""
    if picture.color_trc not in HDR_TRANSFERS and picture.color_primaries not in WIDE_PRIMARIES:
        return {}
    if picture.color_trc == UNSPECIFIED:
        picture.color_trc = BT709
    if picture.color_primaries == UNSPECIFIED:
        picture.color_primaries = BT2020
    return {"dst_color_trc": BT709, "dst_color_primaries": BT709}

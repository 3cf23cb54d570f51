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


class BgrConverter:
    """Converts the pictures of one video by their own tags; high dynamic range and wide gamuts are mapped to BT.709.

    Pictures without a matrix are taken for BT.709 if they are larger than standard definition, else for BT.601, as
    players do.
    """

    def __init__(self) -> None:
        # One for all pictures: it keeps the table of the mapping, which takes seconds to make.
        self._reformatter = av.video.reformatter.VideoReformatter()

    def __call__(self, picture: av.VideoFrame, size_wh: tuple[int, int]) -> np.ndarray:
        """Convert one picture.

        Args:
            picture: as decoded; its tags may be changed.
            size_wh: width and height in pixels of the result.

        Returns:
            uint8 (H,W,3), BGR.

        Raises:
            av.FFmpegError: there is no way to convert it.
        """
        if picture.colorspace == UNSPECIFIED and not picture.format.is_rgb:
            picture.colorspace = BT709 if picture.width >= 1280 or picture.height > 576 else BT601
        try:
            return self._converted(picture, size_wh, _mapping(picture))
        except (av.FFmpegError, ValueError):  # tags that no one can serve: do without them
            picture.colorspace = BT709
            return self._converted(picture, size_wh, {})

    def _converted(self, picture: av.VideoFrame, size_wh: tuple[int, int], mapping: dict[str, Any]) -> np.ndarray:
        width, height = size_wh
        return self._reformatter.reformat(picture, width, height, format="bgr24", **mapping).to_ndarray()


def _mapping(picture: av.VideoFrame) -> dict[str, Any]:
    """The colours that the picture must be mapped to, if it is not of a common kind."""
    if picture.color_trc not in HDR_TRANSFERS and picture.color_primaries not in WIDE_PRIMARIES:
        return {}
    if picture.color_trc == UNSPECIFIED:
        picture.color_trc = BT709
    if picture.color_primaries == UNSPECIFIED:
        picture.color_primaries = BT2020
    return {"dst_color_trc": BT709, "dst_color_primaries": BT709}

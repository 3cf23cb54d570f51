"""Decoded frames as BGR, whatever their matrix, range, depth and transfer function."""

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
    """Converts the frames of one video by their own tags; high dynamic range and wide gamuts are mapped to BT.709.

    Frames without a matrix are assumed to be BT.709 if they are larger than standard definition, else BT.601, as in
    players.
    """

    def __init__(self) -> None:
        # One for all frames: it keeps the table of the mapping, which takes seconds to compute.
        self._reformatter = av.video.reformatter.VideoReformatter()

    def __call__(self, frame: av.VideoFrame, size_wh: tuple[int, int]) -> np.ndarray:
        """Convert one frame.

        Args:
            frame: as decoded; its tags may be changed.
            size_wh: width and height in pixels of the result.

        Returns:
            uint8 (H,W,3), BGR.

        Raises:
            av.FFmpegError: it cannot be converted.
        """
        if frame.colorspace == UNSPECIFIED and not frame.format.is_rgb:
            frame.colorspace = BT709 if frame.width >= 1280 or frame.height > 576 else BT601
        try:
            return self._converted(frame, size_wh, _mapping(frame))
        except (av.FFmpegError, ValueError):  # tags that FFmpeg cannot apply: do without them
            frame.colorspace = BT709
            return self._converted(frame, size_wh, {})

    def _converted(self, frame: av.VideoFrame, size_wh: tuple[int, int], mapping: dict[str, Any]) -> np.ndarray:
        width, height = size_wh
        return self._reformatter.reformat(frame, width, height, format="bgr24", **mapping).to_ndarray()


def _mapping(frame: av.VideoFrame) -> dict[str, Any]:
    """The colours that the frame must be mapped to; empty for common ones."""
    if frame.color_trc not in HDR_TRANSFERS and frame.color_primaries not in WIDE_PRIMARIES:
        return {}
    if frame.color_trc == UNSPECIFIED:
        frame.color_trc = BT709
    if frame.color_primaries == UNSPECIFIED:
        frame.color_primaries = BT2020
    return {"dst_color_trc": BT709, "dst_color_primaries": BT709}

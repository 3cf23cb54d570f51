"""Rotation and mirroring by the display matrix of a video."""

import math
from typing import Any

import numpy as np

from realtime.ffmpeg import SideDataContainer, av


def apply_display_matrix(image: np.ndarray, frame: av.VideoFrame) -> np.ndarray:
    """Apply a frame's display matrix, if it has one: quarter turns, then perhaps a mirror.

    Args:
        image: uint8 (H,W,3), converted from ``frame``.
        frame: as decoded.
    """
    # Not frame.side_data: frame and side data then refer to each other, and both stay in memory, megabytes each, until
    # the garbage collector runs.
    try:
        found: Any = list(SideDataContainer(frame))  # type: ignore[call-arg]  # unknown to the stub
    except ValueError:  # PyAV does not know a kind of side data that FFmpeg does, such as the EXIF data of a JPEG
        return np.ascontiguousarray(np.rot90(image, round(frame.rotation / 90) % 4))
    matrix = next((bytes(data) for data in found if data.type.name == "DISPLAYMATRIX"), None)
    if matrix is None:
        return image
    # It takes a point (x, y), y downwards, to (a x + c y, b x + d y).
    a, b, _, c, d, *_ = np.frombuffer(matrix, np.int32).tolist()
    is_mirrored = a * d < b * c
    clockwise_rad = math.atan2(b, -a if is_mirrored else a)
    turned = np.rot90(image, round(-2 * clockwise_rad / math.pi) % 4)
    return np.ascontiguousarray(turned[:, ::-1] if is_mirrored else turned)

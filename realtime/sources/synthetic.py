"""Synthetic frames for the benchmark, so that it needs no file and no camera."""

import time
from fractions import Fraction

import numpy as np

from realtime.sources.base import FrameSource
from realtime.structures import Frame


class SyntheticSource(FrameSource):
    """A textured image that moves sideways by a few pixels per frame."""

    is_live = False
    frame_rate = Fraction(30)
    time_base = Fraction(1, 30)
    STEP_PX = 4

    def __init__(self, size_wh: tuple[int, int], frame_count: int) -> None:
        self.size_wh = size_wh
        self._frame_count = frame_count
        width, height = size_wh
        y, x = np.mgrid[0:height, 0 : 2 * width]
        waves = [128 + 90 * np.sin(x / (20 + 9 * c)) * np.cos(y / (31 - 7 * c)) for c in range(3)]
        self._texture = np.stack(waves, axis=-1).astype(np.uint8)
        self._next_index = 0

    def read(self) -> Frame | None:
        """The next frame; None after ``frame_count`` of them."""
        index = self._next_index
        if index == self._frame_count:
            return None
        self._next_index += 1
        width = self.size_wh[0]
        left = (index * self.STEP_PX) % width
        image = np.ascontiguousarray(self._texture[:, left : left + width])
        image.flags.writeable = False
        return Frame(image, index, float(index / self.frame_rate), time.monotonic())

    def close(self) -> None:
        """Nothing to free."""

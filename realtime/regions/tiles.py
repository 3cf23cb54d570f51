"""Overlapping tiles of a frame, and how many of them a frame needs."""

import math
import re
from dataclasses import dataclass

import numpy as np

from realtime.errors import RegionError

OVERLAP = 0.2
"""Share of its side by which a tile overlaps the next one: faces of up to that size are whole in one of them. Larger
ones are found in the whole frame."""
AUTO_SCALE, FAR_SCALE = 0.45, 0.8
"""Pixels of the network's input in a pixel of the tile, at least: a face of 22 px, or of 13 px, is then 10 px high,
about the smallest that a detector finds."""
MAX_TILES = 24
WIDE_GAIN = 5 / 3
"""By how much finer the tiles are that go through a wide input: it shows four times as much in the time of two."""
MAX_WIDE_TILES = 12
SAME_SCALE = 1.2
"""Tiles that enlarge the frame by less than this show nothing that the whole frame does not."""


@dataclass(frozen=True, slots=True)
class Reach:
    """How far faces are looked for."""

    min_scale: float = AUTO_SCALE
    """Pixels of the network's input in a pixel of the tile; 0 for the whole frame alone."""
    grid: tuple[int, int] | None = None
    """Columns and rows, in place of as many as ``min_scale`` needs."""
    follows: bool = True
    """Whether live frames may be looked at where the known faces are, and as a whole only now and then: then a new face
    is found some tenths of a second later, too late for those who hide faces."""

    @classmethod
    def near(cls) -> "Reach":
        """The whole frame alone, once."""
        return cls(0.0)

    @classmethod
    def parse(cls, text: str) -> "Reach":
        """Of ``auto``, ``near``, ``far`` or a grid such as ``3x2``.

        Raises:
            RegionError: it is none of these.
        """
        named = {"auto": cls(), "near": cls.near(), "far": cls(FAR_SCALE)}
        match = re.fullmatch(r"([1-9])x([1-9])", text)
        if text not in named and not match:
            remedy = "choose auto, near, far or columns x rows of tiles, such as 3x2"
            raise RegionError("unknown reach", parameter="reach", value=text, remedy=remedy)
        return named[text] if match is None else cls(grid=(int(match[1]), int(match[2])))

    @property
    def is_auto(self) -> bool:
        """True if an image or a video gets as many looks as are worth their time."""
        return self.min_scale == AUTO_SCALE and self.grid is None

    @property
    def is_near(self) -> bool:
        """True if the whole frame alone is looked at, once."""
        return self.min_scale == 0 and self.grid is None


def regions_of(
    frame_wh: tuple[int, int],
    input_wh: tuple[int, int],
    reach: Reach,
    *,
    tile_wh: tuple[int, int] | None = None,
    max_tiles: int | None = None,
) -> np.ndarray:
    """The whole frame and its tiles, (R,4) int64, xyxy in pixels of the frame.

    Args:
        frame_wh: width and height in pixels of the frame.
        input_wh: of the network's input.
        reach: how far to look.
        tile_wh: of the input that tiles go through, if it is a wider one; then the whole frame may be a tile too.
        max_tiles: that the scale of ``reach`` may ask for.
    """
    whole = np.array([[0, 0, *frame_wh]])
    is_wide = tile_wh is not None and tile_wh != input_wh
    min_scale = reach.min_scale * (WIDE_GAIN if is_wide else 1.0)
    if reach.grid is None and scale_of(frame_wh, input_wh) * SAME_SCALE >= min_scale:
        return whole
    limit = max_tiles or (MAX_WIDE_TILES if is_wide else MAX_TILES)
    columns, rows = reach.grid or grid_for(frame_wh, tile_wh or input_wh, min_scale, limit)
    if columns * rows == 1 and not is_wide:
        return whole
    (lefts, tile_w), (tops, tile_h) = _cut(frame_wh[0], columns), _cut(frame_wh[1], rows)
    return np.concatenate([whole, [[x, y, x + tile_w, y + tile_h] for y in tops for x in lefts]])


def scale_of(region_wh: tuple[int, int], input_wh: tuple[int, int]) -> float:
    """Pixels of the network's input in a pixel of a region, which is letterboxed into it."""
    return min(size / side for size, side in zip(input_wh, region_wh, strict=True))


def grid_for(
    frame_wh: tuple[int, int], tile_wh: tuple[int, int], min_scale: float, max_tiles: int = MAX_TILES
) -> tuple[int, int]:
    """Columns and rows of tiles at which each is scaled by ``min_scale`` or more, within ``max_tiles``."""
    if scale_of(frame_wh, tile_wh) * SAME_SCALE >= min_scale:
        return 1, 1
    while True:
        columns, rows = (_count(side, size / min_scale) for side, size in zip(frame_wh, tile_wh, strict=True))
        if columns * rows <= max_tiles:
            return columns, rows
        min_scale *= 0.9


def _count(side: int, tile: float) -> int:
    """Tiles of at most ``tile`` px in ``side`` px, a tenth more or less rounded in favour of fewer."""
    return max(1, math.ceil((side / tile - OVERLAP) / (1 - OVERLAP) - 0.1))


def _cut(side: int, count: int) -> tuple[list[int], int]:
    """Where ``count`` overlapping tiles begin, and their length."""
    length = min(side, math.ceil(side / (count - (count - 1) * OVERLAP)))
    return [round(i * (side - length) / max(1, count - 1)) for i in range(count)], length

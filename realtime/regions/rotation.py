"""Tiles of moving images, one after the other."""

import math

import numpy as np

from realtime.regions.tiles import Reach, regions_of

ROUND_S = 0.4
"""Time in which all tiles of a file have their turn, if the frames are close enough together."""
LIVE_ROUND_S = 0.3
"""The same for a live source, where some turns go to close-ups."""
IN_TURN, IN_TURN_FINE = Reach(0.36), Reach(0.6)
"""Tiles of ``auto``: no more than these, so that a round stays short, but finer ones where those are few."""
MAX_IN_TURN, MAX_WIDE_IN_TURN = 6, 4
"""Tiles of ``auto`` at least, where they show more than larger ones: one in every second or third frame at 30 frames/s;
a wide one takes the time of two."""


class TileRotation:
    """Which tile of a frame is looked at: one at most, so that they all have their turn in one round."""

    def __init__(
        self,
        input_wh: tuple[int, int],
        reach: Reach,
        round_s: float = ROUND_S,
        *,
        tile_wh: tuple[int, int] | None = None,
    ) -> None:
        """No frame is there yet.

        Args:
            input_wh: width and height in pixels of the network's input.
            reach: how far to look.
            round_s: length of a round.
            tile_wh: width and height in pixels of the input that tiles go through, if it is a wider one.
        """
        self._input_wh = input_wh
        self._tile_wh = tile_wh or input_wh
        self._max_in_turn = MAX_IN_TURN if self._tile_wh == input_wh else MAX_WIDE_IN_TURN
        self._reach = reach
        self._round_s = round_s
        self._frame_wh = (0, 0)
        self._tiles = np.zeros((0, 4), int)
        self._next = 0
        self._due_s = -math.inf

    def tiles(self, frame_wh: tuple[int, int]) -> np.ndarray:
        """All tiles (T,4) int64, xyxy px, of frames of this size; none where the whole frame shows as much.

        ``auto`` has others than for a still image: most of them are left to other frames.
        """
        if frame_wh != self._frame_wh:
            self._frame_wh = frame_wh
            reach = IN_TURN if self._reach.is_auto else self._reach
            self._tiles = self._cut(reach)
            if self._reach.is_auto and 0 < len(self._tiles) < self._max_in_turn:
                self._tiles = self._cut(IN_TURN_FINE, self._max_in_turn)
        return self._tiles

    def _cut(self, reach: Reach, max_tiles: int | None = None) -> np.ndarray:
        return regions_of(self._frame_wh, self._input_wh, reach, tile_wh=self._tile_wh, max_tiles=max_tiles)[1:]

    def is_due(self, pts_s: float) -> bool:
        """Whether it is time for the next tile; always after a jump back in time."""
        return pts_s >= self._due_s or pts_s < self._due_s - self._round_s

    def take(self, pts_s: float) -> np.ndarray:
        """The next tile (1,4) for the frame of this time, of the size that ``tiles`` was last asked for."""
        tile: np.ndarray = self._tiles[self._next % len(self._tiles)][None]
        self._next += 1
        pause_s = self._round_s / len(self._tiles)
        in_step = 0 <= pts_s - self._due_s <= pause_s
        self._due_s = (self._due_s if in_step else pts_s) + pause_s
        return tile

"""The part of a live frame that shows the known faces: it is looked at in place of the whole, in a smaller network."""

import numpy as np

from realtime.regions.close_ups import MAX_ENLARGEMENT
from realtime.regions.tiles import scale_of

SURROUNDINGS = 1.8
"""Side of the part in sides of a face: of the photos with one face in ``facial-features``, ``pico`` finds as much in it
(mAP50-95 0.635, mean F1 0.972) as ``nano`` in the whole (0.640, 0.973); at 2.2, 0.628."""
MIN_SURROUNDINGS = 1.4
"""The same, within which the part must still be so that it is kept."""
WHOLE_S = 0.3
"""Time after which the whole frame is looked at again, for new faces."""
ENOUGH_PX = 90.0
"""Side of a face in the network's input from which a larger one shows no more."""


class Follower:
    """Chooses that part, and keeps it while it is good: a face at rest is then sampled alike in each frame."""

    def __init__(self, whole_wh: tuple[int, int], narrow_wh: tuple[int, int]) -> None:
        """Nothing is followed yet.

        Args:
            whole_wh: width and height in pixels of the input that whole frames go through.
            narrow_wh: of the input that the part goes through.
        """
        self._whole_wh, self._narrow_wh = whole_wh, narrow_wh
        self._part, self._frame_wh = np.zeros(4, int), (0, 0)

    def part(self, faces: np.ndarray, frame_wh: tuple[int, int]) -> np.ndarray | None:
        """The part around faces, if the narrow network shows them there as well as the whole frame would.

        Args:
            faces: (F,4) float, where they are expected, xyxy px.
            frame_wh: width and height in pixels of the frame.

        Returns:
            (4,) int64, xyxy px; None without faces, or where the whole frame shows them better.
        """
        sides = (faces[:, 2:] - faces[:, :2]).max(axis=1, initial=0.0)
        if not (sides >= 1).any():
            return None
        stays = frame_wh == self._frame_wh and contains(self._part, _around(faces, MIN_SURROUNDINGS, frame_wh)[None])
        if not (stays and self._shows(self._part, sides, frame_wh)):
            self._frame_wh = frame_wh
            self._part = _around(faces, SURROUNDINGS, frame_wh, min(self._narrow_wh) / MAX_ENLARGEMENT)
        return self._part if self._shows(self._part, sides, frame_wh) else None

    def _shows(self, part: np.ndarray, sides: np.ndarray, frame_wh: tuple[int, int]) -> bool:
        width, height = (part[2:] - part[:2]).tolist()
        if width < 1 or height < 1:
            return False
        shown_px = sides * scale_of((width, height), self._narrow_wh)
        needed_px = np.minimum(sides * scale_of(frame_wh, self._whole_wh), ENOUGH_PX)
        return bool((shown_px >= needed_px).all())


def contains(part: np.ndarray, boxes: np.ndarray) -> bool:
    """Whether a part (4,) of a frame shows the whole of each of the boxes (N,4), all xyxy px."""
    return bool((part[:2] <= boxes[:, :2]).all() and (boxes[:, 2:] <= part[2:]).all())


def _around(faces: np.ndarray, surroundings: float, frame_wh: tuple[int, int], least_px: float = 0.0) -> np.ndarray:
    """What of a frame lies around faces (F,4): (4,) int64, xyxy px, empty if it is outside."""
    sides = (faces[:, 2:] - faces[:, :2]).max(axis=1)
    centres = (faces[:, :2] + faces[:, 2:]) / 2
    reach = surroundings / 2 * sides[:, None]
    low, high = (centres - reach).min(axis=0), (centres + reach).max(axis=0)
    missing = max(0.0, least_px - (high - low).max()) / 2
    part: np.ndarray = np.concatenate([np.floor(low - missing), np.ceil(high + missing)])
    inside: np.ndarray = np.clip(part, 0, [*frame_wh, *frame_wh]).astype(int)
    return inside

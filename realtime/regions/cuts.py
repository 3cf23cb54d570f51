"""Where a shot of a video begins."""

from dataclasses import dataclass

import numpy as np

from realtime.structures import Frame

MIN_DIFFERENCE = 24.0
"""Mean difference of two frames in grey levels from which the later one begins a shot."""
MIN_SHOT_S = 0.4
THUMBNAIL_PX = 32


@dataclass(slots=True)
class CutDetector:
    """Notices that a frame begins a shot: it has little in common with the one before."""

    _last: np.ndarray | None = None
    _last_cut_s: float = 0.0

    def begins_shot(self, frame: Frame) -> bool:
        """True for the first frame, and after a cut; at most once in ``MIN_SHOT_S``, so that flashes cost little."""
        height, width = frame.image.shape[:2]
        step_y, step_x = max(1, height // THUMBNAIL_PX), max(1, width // THUMBNAIL_PX)
        thumbnail = frame.image[step_y // 2 :: step_y, step_x // 2 :: step_x].astype(np.int16)
        before, self._last = self._last, thumbnail
        if before is not None and before.shape == thumbnail.shape:
            is_soon = 0 <= frame.pts_s - self._last_cut_s < MIN_SHOT_S
            if is_soon or np.abs(thumbnail - before).mean() < MIN_DIFFERENCE:
                return False
        self._last_cut_s = frame.pts_s
        return True

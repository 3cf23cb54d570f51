"""The time that live frames leave for looking closer."""

import math
from dataclasses import dataclass

from realtime.structures import Frame

MAX_SHARE = 0.8
"""Of the time between two frames that detection may take on average, looking closer included."""
MAX_GROWTH = 0.5
"""Looking closer may make detection longer by this share on average, and so what is shown older."""
MAX_DEBT_FRAMES = 3.0
"""A hiccup costs the closer looks of no more than so many frames."""
SMOOTHING = 0.5
"""Weight of the newest frame in the mean time of one look."""
DECAY = 0.998
"""Of that time in each frame that was looked at closer, so that it is measured again now and then."""


@dataclass(slots=True)
class FrameBudget:
    """Each frame brings some time, and detection spends it; while there is a debt, nothing is looked at closer."""

    share: float = 1.0
    """The part of the time between two frames that this source has, where others share the detector."""
    _left_s: float = 0.0
    _interval_s: float = 0.0
    _one_look_s: float = math.inf
    _last: tuple[int, float] | None = None

    @property
    def allows_more(self) -> bool:
        """Whether there is no debt, and it is known how long one look takes."""
        return self._left_s >= 0 and self._one_look_s < math.inf

    def begin(self, frame: Frame) -> None:
        """Take the interval of the source's frames, dropped ones included, from a frame and the one before."""
        if self._last is not None and frame.index > self._last[0]:
            self._interval_s = max(0.0, frame.pts_s - self._last[1]) / (frame.index - self._last[0])
        self._last = frame.index, frame.pts_s

    def end(self, spent_s: float, *, looked_closer: bool, is_whole: bool = True) -> None:
        """Note what the detection of the frame took.

        Args:
            spent_s: that time.
            looked_closer: whether there were more looks than one.
            is_whole: whether one was at the whole frame; else the first was in a smaller network.
        """
        if looked_closer:
            self._one_look_s = min(DECAY * self._one_look_s, spent_s)
        elif not is_whole:
            pass  # says nothing of how long a look at the whole frame takes
        elif self._one_look_s == math.inf:
            self._one_look_s = spent_s
        else:
            self._one_look_s += SMOOTHING * (spent_s - self._one_look_s)
        allowance_s = min(MAX_SHARE * self.share * self._interval_s, (1 + MAX_GROWTH) * self._one_look_s)
        self._left_s = min(max(self._left_s + allowance_s - spent_s, -MAX_DEBT_FRAMES * allowance_s), allowance_s)

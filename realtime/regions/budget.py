"""The time that live frames leave for looking closer."""

from dataclasses import dataclass

from realtime.structures import Frame

MAX_SHARE = 0.8
"""Of the time between two frames that detection may take on average, the extra looks included."""
MAX_DEBT_FRAMES = 3.0
"""A hiccup costs the extra looks of no more than so many frames."""


@dataclass(slots=True)
class FrameBudget:
    """The time that live frames leave for extra looks: a debt is paid off before there is another."""

    _left_s: float = 0.0
    _interval_s: float = 0.0
    _last: tuple[int, float] | None = None

    @property
    def allows_more(self) -> bool:
        """Whether detection has kept within ``MAX_SHARE`` of the time so far."""
        return self._left_s >= 0

    def begin(self, frame: Frame) -> None:
        """Take the interval of the source's frames, dropped ones included, from a frame and the one before."""
        if self._last is not None and frame.index > self._last[0]:
            self._interval_s = max(0.0, frame.pts_s - self._last[1]) / (frame.index - self._last[0])
        self._last = frame.index, frame.pts_s

    def end(self, spent_s: float) -> None:
        """Note what the detection of the frame took."""
        left_s = self._left_s + MAX_SHARE * self._interval_s - spent_s
        self._left_s = min(max(left_s, -MAX_DEBT_FRAMES * self._interval_s), self._interval_s)

"""Timestamps that rise, made of those in a file."""

TINY_S = 1.0
"""A step back that is smaller is a slip of one frame; a larger one is where two recordings were joined."""
HUGE_S = 3600.0
"""A step forward that is larger is no pause but damage."""


class BestGuess:
    """Chooses between a frame's own timestamp and its packet's decoding timestamp, as FFmpeg's programs do.

    AVI knows the latter alone, and what then passes for the former jumps back and forth.
    """

    def __init__(self) -> None:
        self._last: list[int | None] = [None, None]
        self._faults = [0, 0]

    def __call__(self, pts: int | None, dts: int | None) -> int | None:
        """The one that went backwards less often so far; ``pts`` if they are equal."""
        for i, stamp in enumerate((pts, dts)):
            last = self._last[i]
            if stamp is not None:
                self._faults[i] += last is not None and stamp <= last
                self._last[i] = stamp
        return dts if pts is None or self._faults[0] > self._faults[1] else pts


class Timeline:
    """Keeps a file's timestamps where they make sense, and goes on from the last one where they do not."""

    def __init__(self, step_s: float) -> None:
        """``step_s``: usual time from one frame to the next, taken where a file says nothing sensible."""
        self._step_s = step_s
        self._shift_s = 0.0
        self._last_s: float | None = None

    def __call__(self, time_s: float | None) -> float:
        """The time of the next frame in seconds, later than the one before; ``time_s`` is what the file says."""
        if self._last_s is None:
            self._last_s = 0.0 if time_s is None else time_s
            return self._last_s
        expected_s = self._last_s + self._step_s
        if time_s is None:
            now_s = expected_s
        else:
            now_s = time_s + self._shift_s
            if not self._last_s - TINY_S < now_s < self._last_s + HUGE_S:
                self._shift_s = expected_s - time_s
                now_s = expected_s
            elif now_s <= self._last_s:
                now_s = self._last_s + min(self._step_s, TINY_S) / 1000
        self._last_s = now_s
        return now_s

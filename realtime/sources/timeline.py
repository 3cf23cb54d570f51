"""Increasing timestamps, made from those in a file."""

MAX_STEP_BACK_S = 1.0
"""A smaller step back is an error of one frame; after a larger one, timestamps count from another beginning."""
MAX_GAP_S = 86_400.0
"""A larger step forward is damage, not a pause."""


class TimestampChooser:
    """Chooses between a frame's own timestamp and its packet's decoding timestamp, as FFmpeg's programs do.

    AVI has only the latter; what FFmpeg gives for the former then jumps back and forth.
    """

    def __init__(self) -> None:
        self._last: list[int | None] = [None, None]
        self._steps_back = [0, 0]

    def __call__(self, pts: int | None, dts: int | None) -> int | None:
        """The one that has gone backwards less often so far; ``pts`` if both are equal."""
        for i, stamp in enumerate((pts, dts)):
            last = self._last[i]
            if stamp is not None:
                self._steps_back[i] += last is not None and stamp <= last
                self._last[i] = stamp
        return dts if pts is None or self._steps_back[0] > self._steps_back[1] else pts


class Timeline:
    """Keeps a file's timestamps where they are plausible, and continues from the last one where they are not."""

    def __init__(self, step_s: float) -> None:
        """``step_s``: usual time from one frame to the next, used where a timestamp is missing or implausible."""
        self._step_s = step_s
        self._shift_s = 0.0
        self._last_s: float | None = None

    def __call__(self, time_s: float | None) -> float:
        """The time of the next frame in seconds, later than the one before; ``time_s`` is the file's own."""
        if self._last_s is None:
            self._last_s = 0.0 if time_s is None else time_s
            return self._last_s
        expected_s = self._last_s + self._step_s
        if time_s is None:
            now_s = expected_s
        else:
            now_s = time_s + self._shift_s
            if not self._last_s - MAX_STEP_BACK_S < now_s < self._last_s + MAX_GAP_S:
                self._shift_s = expected_s - time_s
                now_s = expected_s
            elif now_s <= self._last_s:
                now_s = self._last_s + min(self._step_s, MAX_STEP_BACK_S) / 1000
        self._last_s = now_s
        return now_s

"""Where the samples of an audio track belong."""


class SampleClock:
    """Places the packets or frames of one track, in samples.

    Most containers round timestamps: to a millisecond in Matroska and FLV, to a whole MP3 frame in AVI. What follows
    the last packet but for that rounding is placed right after it, sample by sample. A larger step is a gap or an
    overlap in the sound itself, and is kept.
    """

    def __init__(self, rate_hz: int, tolerance_s: float) -> None:
        """``tolerance_s``: a smaller difference is rounding."""
        self.rate_hz = rate_hz
        self._tolerance = round(tolerance_s * rate_hz)
        self._next: int | None = None

    def place(self, time_s: float | None, samples: int) -> int:
        """The position of a packet in samples from time 0.

        Args:
            time_s: when it begins; None: right after the one before.
            samples: its length.
        """
        if self._next is None:
            place = round((time_s or 0.0) * self.rate_hz)
        else:
            place = self._next if time_s is None else round(time_s * self.rate_hz)
            if abs(place - self._next) <= self._tolerance:
                place = self._next
        self._next = place + samples
        return place

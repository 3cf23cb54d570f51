"""What every source of frames offers."""

from fractions import Fraction
from typing import Protocol

from realtime.structures import Frame

LIVE_TIME_BASE = Fraction(1, 90_000)
"""Clock of MPEG video: fine enough for the time that a live frame came."""
UNKNOWN_FRAME_RATE = Fraction(30)
"""Taken for that of a live source which does not tell; players need one, timestamps do not follow it."""


class FrameSource(Protocol):
    """A camera, a file, or anything else that gives frames one after another.

    A source is read and closed by one thread at a time. What has defaults here is for sources that inherit from it.
    """

    is_live: bool
    """True if frames come in real time: a late reader then wants the newest one, not all of them."""
    size_wh: tuple[int, int]
    """Width and height in pixels of the frames; of a live source, of its latest."""
    frame_rate: Fraction
    """Nominal frames per second."""
    time_base: Fraction
    """Unit in seconds that the timestamps are whole multiples of."""
    status: str = ""
    """What is the matter with the source, such as "reconnecting, 3rd try"; empty while all is well."""

    dropped: int = 0
    """Frames that the source itself lost to newer ones before they were read."""

    def read(self) -> Frame | None:
        """The next frame; None at the end of the stream.

        Raises:
            SourceError: the source broke.
        """

    def interrupt(self) -> None:
        """Let a read that waits in another thread return None soon, if the source can; nothing is read any more."""
        return

    def close(self) -> None:
        """Free what the source holds. May be called twice."""

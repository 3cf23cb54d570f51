"""The interface of every source of frames."""

from fractions import Fraction
from types import TracebackType
from typing import Protocol, Self

from realtime.structures import Frame

LIVE_TIME_BASE = Fraction(1, 90_000)
"""Clock of MPEG video: fine enough for the arrival time of a live frame."""
UNKNOWN_FRAME_RATE = Fraction(30)
"""Assumed for a live source that does not report its rate; players need one, timestamps do not follow it."""


class FrameSource(Protocol):
    """A camera, a file, or anything else that delivers frames one after another.

    A source is read and closed by one thread at a time, and closed at the end of its ``with`` block. Members with a
    default here are inherited by sources.
    """

    is_live: bool
    """True if frames arrive in real time: a slow reader then wants the newest one, not all of them."""
    size_wh: tuple[int, int]
    """Width and height in pixels of the frames; for a live source, of the latest one."""
    frame_rate: Fraction
    """Nominal frames per second."""
    time_base: Fraction
    """Unit in seconds that the timestamps are whole multiples of."""
    status: str = ""
    """What is wrong with the source, such as "reconnecting, 3rd try"; empty while everything works."""

    dropped: int = 0
    """Frames that the source itself replaced with newer ones before they were read."""

    def read(self) -> Frame | None:
        """The next frame; None at the end of the stream.

        Raises:
            SourceError: the source failed.
        """

    def interrupt(self) -> None:
        """Make a read that waits in another thread return None soon, if the source can; nothing is read any more."""
        return

    def close(self) -> None:
        """Free the source's resources. May be called twice."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

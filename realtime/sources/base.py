"""What every source of frames offers."""

from fractions import Fraction
from typing import Protocol

from realtime.structures import Frame


class FrameSource(Protocol):
    """A camera, a file, or anything else that gives frames one after another.

    A source is read and closed by one thread at a time.
    """

    is_live: bool
    """True if frames come in real time: a late reader then wants the newest one, not all of them."""
    size_wh: tuple[int, int]
    """Width and height in pixels of the frames."""
    frame_rate: Fraction
    """Nominal frames per second."""
    time_base: Fraction
    """Unit in seconds that the timestamps are whole multiples of."""
    status: str
    """What the source is doing when it gives no frames, such as reconnecting; empty while all is well."""

    def read(self) -> Frame | None:
        """The next frame; None at the end of the stream.

        Raises:
            SourceError: the source broke.
        """

    def close(self) -> None:
        """Free what the source holds. May be called twice."""

"""What every receiver of results offers."""

from enum import Enum
from typing import Protocol

from realtime.results import Result


class StopRun(Exception):  # noqa: N818 - not an error
    """Raised by a sink to end the run in the ordinary way: the window was closed, say."""


class Ending(Enum):
    """How a run ended."""

    COMPLETE = "complete"
    """The source had no more frames."""
    STOPPED = "stopped"
    """By the user, a limit, or an error elsewhere: what was done is kept."""
    FAILED = "failed"
    """By an error of the output itself, before the first frame, or in haste: files are not kept."""


class Sink(Protocol):
    """A window, a video file, a file of detections."""

    is_slow: bool
    """True if ``write`` takes long, and so is given a thread of its own; it must not need the main thread."""

    @property
    def needs_canvas(self) -> bool:
        """False if ``write`` makes no use of the drawn picture."""

    def write(self, result: Result) -> None:
        """Take one result.

        Raises:
            SinkError: it cannot be written.
            StopRun: the run shall end.
        """

    def close(self, ending: Ending) -> None:
        """Finish; after ``Ending.FAILED`` no file is left behind. May be called twice."""

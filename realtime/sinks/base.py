"""The interface of every sink of results."""

from enum import Enum
from types import TracebackType
from typing import Protocol, Self

from realtime.errors import SinkError
from realtime.results import Result


class StopRun(Exception):  # noqa: N818 - not an error
    """Raised by a sink to end the run normally, for example because the window was closed."""


class Ending(Enum):
    """How a run ended."""

    COMPLETE = "complete"
    """The source had no more frames."""
    STOPPED = "stopped"
    """By the user, a limit, or an error elsewhere: what was written is kept."""
    FAILED = "failed"
    """By an error of the output itself, before the first frame, or by force: files are not kept."""

    @classmethod
    def after(cls, error: BaseException | None) -> "Ending":
        """How a ``with`` block around a sink ended, by the exception that left it, if any."""
        if error is None:
            return cls.COMPLETE
        is_kept = isinstance(error, Exception) and not isinstance(error, SinkError)
        return cls.STOPPED if is_kept else cls.FAILED


class Sink(Protocol):
    """A window, a video file, a file of detections."""

    is_slow: bool
    """True if ``write`` takes long, so that it runs in a thread of its own; it must not need the main thread."""

    @property
    def needs_canvas(self) -> bool:
        """False if ``write`` does not use the drawn image."""

    def write(self, result: Result) -> None:
        """Take one result.

        Raises:
            SinkError: it cannot be written.
            StopRun: the run should end.
        """

    def close(self, ending: Ending) -> None:
        """Finish; after ``Ending.FAILED`` no file is left behind. May be called twice."""

    def __enter__(self) -> Self:
        """Open a block at whose end the sink is closed, with ``Ending.after`` the exception that ends it."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


class ClosingSink:
    """Makes a sink a context manager."""

    def close(self, ending: Ending) -> None:
        """Finish."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close(Ending.after(error))

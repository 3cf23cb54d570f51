"""How Ctrl+C and SIGTERM end a command: the first one in the ordinary way, a second one at once."""

import signal
from collections.abc import Callable
from types import FrameType, TracebackType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(BaseException):
    """Ends the command at once. Not an ``Exception``, so that nothing takes it for an error and goes on."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = exit_code(number)


def cause_in(error: BaseException) -> Stopped | None:
    """The ``Stopped`` behind an error: raised in the middle of an import, it comes out as an ``ImportError``, say."""
    seen: BaseException | None = error
    while seen is not None and not isinstance(seen, Stopped):
        seen = seen.__cause__ or seen.__context__
    return seen


def exit_code(number: int) -> int:
    """The shells' code for a signal: 130 for Ctrl+C, 143 for SIGTERM."""
    return 128 + number


def raise_on_signals() -> None:
    """From now on a signal raises ``Stopped`` in the main thread, so that every ``finally`` runs."""
    for number in SIGNALS:
        signal.signal(number, _raise)


def _raise(number: int, _frame: FrameType | None) -> None:
    raise Stopped(number)


class StopRequests:
    """While it is open, the first signal is only noted, so that what was written can be kept; a second one raises."""

    def __init__(self) -> None:
        self.exit_code: int | None = None
        """None until a signal came."""
        self._stop: Callable[[], None] | None = None

    def __enter__(self) -> "StopRequests":
        """Begin to take signals."""
        self._previous = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Give the signals back."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def call(self, stop: Callable[[], None]) -> None:
        """Call ``stop`` at the first signal; now, if it came already."""
        self._stop = stop
        if self.exit_code is not None:
            stop()

    def is_stopped(self) -> bool:
        """Whether a signal came."""
        return self.exit_code is not None

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if self.exit_code is not None:
            raise Stopped(number)  # asked twice
        self.exit_code = exit_code(number)
        if self._stop is not None:
            self._stop()

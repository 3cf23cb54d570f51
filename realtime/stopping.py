"""Ctrl+C, SIGTERM and SIGHUP: the first one ends a command gracefully, the second one at once."""

import os
import signal
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType, TracebackType


def stop_signals() -> list[signal.Signals]:
    """The signals that stop a command.

    Windows has no SIGHUP, which says that the terminal was closed; ``nohup`` has it ignored, to outlive the terminal.
    """
    hang_up = getattr(signal, "SIGHUP", None)
    if hang_up is None or signal.getsignal(hang_up) is signal.SIG_IGN:
        return [signal.SIGINT, signal.SIGTERM]
    return [signal.SIGINT, signal.SIGTERM, hang_up]


def leave_terminal(number: int) -> None:
    """If a signal says that the terminal was closed, let nothing more be written to it: whoever tries gets an error."""
    if number != getattr(signal, "SIGHUP", None):
        return
    with Path(os.devnull).open("wb") as nowhere:
        for descriptor in (1, 2):
            with suppress(OSError):
                if stat.S_ISCHR(os.fstat(descriptor).st_mode):
                    os.dup2(nowhere.fileno(), descriptor)


class Stopped(BaseException):
    """Ends the command at once. Not an ``Exception``, so that nothing handles it as an error and continues."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = exit_code(number)


def cause_in(error: BaseException) -> Stopped | None:
    """The ``Stopped`` behind an error, if any: raised during an import, for example, it becomes an ``ImportError``."""
    seen: BaseException | None = error
    while seen is not None and not isinstance(seen, Stopped):
        seen = seen.__cause__ or seen.__context__
    return seen


def exit_code(number: int) -> int:
    """The exit code that shells use for a signal: 130 for Ctrl+C, 143 for SIGTERM, 129 for SIGHUP."""
    return 128 + number


def raise_on_signals() -> None:
    """Make signals raise ``Stopped`` in the main thread, so that every ``finally`` runs."""
    for number in stop_signals():
        signal.signal(number, _raise)


def _raise(number: int, _frame: FrameType | None) -> None:
    leave_terminal(number)
    raise Stopped(number)


class StopRequests:
    """While this is open, the first signal is only recorded, so that written files are kept; a second one raises."""

    def __init__(self) -> None:
        self.exit_code: int | None = None
        """None before the first signal."""
        self._stop: Callable[[], None] | None = None

    def __enter__(self) -> "StopRequests":
        """Install the signal handlers."""
        self._previous = {number: signal.signal(number, self._record) for number in stop_signals()}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Restore the signal handlers."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def call(self, stop: Callable[[], None]) -> None:
        """Call ``stop`` at the first signal; at once, if it has already arrived."""
        self._stop = stop
        if self.exit_code is not None:
            stop()

    def is_stopped(self) -> bool:
        """Whether there was a signal."""
        return self.exit_code is not None

    def _record(self, number: int, _frame: FrameType | None) -> None:
        leave_terminal(number)
        if self.exit_code is not None:
            raise Stopped(number)  # the second signal
        self.exit_code = exit_code(number)
        if self._stop is not None:
            self._stop()

"""Ctrl+C, SIGTERM and SIGHUP end a run between two steps, with its state saved."""

import os
import signal
from types import FrameType, TracebackType

from realtime.stopping import leave_terminal, stop_signals


class InterruptedRunError(Exception):
    """A run was stopped by a signal, and its state has been saved."""

    def __init__(self, signal_number: int, message: str) -> None:
        super().__init__(message)
        self.signal_number = signal_number
        self.exit_code = 128 + signal_number
        """The shells' convention: 130 for Ctrl+C, 143 for SIGTERM, 129 for SIGHUP."""


class Interrupt:
    """A context that records the first signal, for the run to check; a second one ends the process at once."""

    def __init__(self, *, verbose: bool = False) -> None:
        self._verbose = verbose
        self.signal: int = 0
        """The signal received, 0 if none was."""
        self._previous: dict[signal.Signals, signal._HANDLER] = {}

    def __enter__(self) -> "Interrupt":
        self._previous = {number: signal.signal(number, self._record) for number in stop_signals()}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def _record(self, number: int, _frame: FrameType | None) -> None:
        leave_terminal(number)
        self.signal = number
        self._restore()
        if self._verbose:  # print is not safe in the middle of another print
            os.write(2, b"stopping after this step; again to end at once\n")

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

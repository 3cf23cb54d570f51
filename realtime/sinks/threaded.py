"""A sink in a thread of its own."""

import threading
import time
from collections.abc import Callable

from realtime.buffer import ClosableBuffer
from realtime.results import Result
from realtime.sinks.base import ClosingSink, Ending, Sink

ABANDON_S = 5.0
"""How long a write may still take once its result is discarded."""


class ThreadedSink(ClosingSink):
    """Runs a slow sink (an encoder) in parallel with the detector, in a thread that starts with the first result.

    The sink's errors are raised by the next ``write`` or ``close``.
    """

    AHEAD = 4
    """Results that may wait for the sink; one more blocks the run."""

    is_slow = False

    def __init__(self, sink: Sink, on_write: Callable[[float], None]) -> None:
        """``on_write`` is called, in the thread, with the milliseconds that each write took."""
        self.needs_canvas = sink.needs_canvas
        self._on_write = on_write
        self._sink = sink
        self._buffer: ClosableBuffer[Result] = ClosableBuffer(self.AHEAD)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="encode", daemon=True)
        self._is_started = False

    def write(self, result: Result) -> None:
        """Queue one result; waits while the queue is full.

        Raises:
            SinkError: the sink failed at an earlier result.
        """
        if not self._is_started:
            self._thread.start()
            self._is_started = True
        if not self._buffer.put(result) and self._error is not None:
            raise self._error

    def close(self, ending: Ending) -> None:
        """Let the sink finish what is queued (or drop it, if the run failed), then close it."""
        self._buffer.close(discard=ending is Ending.FAILED)
        try:
            self._join(ABANDON_S if ending is Ending.FAILED else None)
        except BaseException:  # a second Ctrl+C: drop what is not written yet
            self._buffer.close(discard=True)
            self._join(ABANDON_S)
            self._close_sink(Ending.FAILED)
            raise
        self._close_sink(ending if self._error is None else Ending.FAILED)
        if self._error is not None and ending is not Ending.FAILED:
            raise self._error

    def _join(self, timeout_s: float | None) -> None:
        if self._is_started:
            self._thread.join(timeout_s)

    def _close_sink(self, ending: Ending) -> None:
        """Close it, unless its thread hangs in a write: freeing an encoder under its thread would crash the process."""
        if not self._thread.is_alive():
            self._sink.close(ending)

    def _run(self) -> None:
        try:
            while (result := self._buffer.get()) is not None:
                started = time.perf_counter()
                self._sink.write(result)
                self._on_write(1000 * (time.perf_counter() - started))
        except BaseException as error:  # raised in the run, whatever it is
            self._error = error
            self._buffer.close(discard=True)

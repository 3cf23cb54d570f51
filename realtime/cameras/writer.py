"""Writing the results of one camera, in a thread of its own."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from realtime.buffer import ClosableBuffer
from realtime.errors import RealtimeError
from realtime.results import Result
from realtime.sinks.base import Ending, Sink

ABANDON_S = 5.0
"""How long a write may still take once the run has failed."""


class ResultWriter:
    """Gives results to sinks in a thread of its own, so that a slow disk or encoder delays one camera alone."""

    def __init__(self, sinks: Sequence[Sink], render: Callable[[Result], np.ndarray]) -> None:
        """``render`` makes the image to be seen of a result, uint8 (H,W,3) BGR; called for sinks that need it."""
        self._sinks = sinks
        self._render = render
        self._buffer: ClosableBuffer[tuple[Result, Callable[[], None]]] = ClosableBuffer(1)
        self._error: BaseException | None = None
        self._frames = 0
        self._thread = threading.Thread(target=self._run, name="encode", daemon=True)

    def write(self, result: Result, then: Callable[[], None]) -> None:
        """Queue a result; ``then`` is called when the sinks have it, and only then there may be another.

        Raises:
            RealtimeError: a sink failed at an earlier result.
        """
        if self._thread.ident is None:
            self._thread.start()
        if not self._buffer.put((result, then)) and self._error is not None:
            raise self._error

    def close(self, ending: Ending) -> None:
        """Let the sinks finish and close them; without a frame, no file is kept.

        Raises:
            RealtimeError: the first error of a sink.
        """
        self._buffer.close(discard=ending is Ending.FAILED)
        if self._thread.ident is not None:
            self._thread.join(ABANDON_S if ending is Ending.FAILED else None)
        if self._thread.is_alive():  # hangs in a write: freeing an encoder under its thread would crash the process
            return
        kept = ending if self._frames and self._error is None else Ending.FAILED
        for sink in reversed(self._sinks):
            try:
                sink.close(kept)
            except RealtimeError as error:
                self._error = self._error or error
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        while (item := self._buffer.get()) is not None:
            result, then = item
            try:
                self._write(result)
            except BaseException as error:  # raised by the next write, or when closed
                self._error = error
                self._buffer.close(discard=True)
            then()

    def _write(self, result: Result) -> None:
        if any(sink.needs_canvas for sink in self._sinks):
            result = replace(result, canvas=self._render(result))
        for sink in self._sinks:
            sink.write(result)
        self._frames += 1

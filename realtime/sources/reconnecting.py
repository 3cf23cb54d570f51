"""A live source that is opened again when it breaks."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Self

from realtime.buffer import ClosableBuffer
from realtime.errors import SourceError
from realtime.sources.base import LIVE_TIME_BASE, FrameSource
from realtime.structures import Frame

FIRST_PAUSE_S = 1.0
MAX_PAUSE_S = 30.0
CLOSE_TIMEOUT_S = 0.5
"""How long closing waits for a thread that may hang in the network; the thread closes its connection when it wakes."""
WAIT_S = 0.05
"""How often ``on_wait`` is called."""


class ReconnectingSource(FrameSource):
    """Reads a live source in a thread of its own, keeps its newest frame, and opens it again when it breaks.

    Opening and reading may block in the network until their timeouts, and cannot be interrupted. They run in that
    thread, so that whoever waits here, for the first frame or a later one, can be woken at once.
    """

    is_live = True
    time_base = LIVE_TIME_BASE

    def __init__(
        self,
        open_source: Callable[[], FrameSource],
        *,
        retry_first: bool,
        retry_later: bool,
        on_message: Callable[[str], None],
        wait: Callable[[threading.Event, float], bool] = threading.Event.wait,
    ) -> None:
        """Nothing is opened before ``start`` or the ``with`` block.

        Args:
            open_source: opens the source; called in the thread.
            retry_first: try again if it cannot be opened in the first place.
            retry_later: open it again if it breaks after that.
            on_message: called with a line for each break, try and success, in the thread.
            wait: pauses until the event is set (True) or the seconds are over (False).
        """
        self._open_source = open_source
        self._retry_first = retry_first
        self._retry_later = retry_later
        self._on_message = on_message
        self._wait = wait
        self._next_index = 0
        self._latest: ClosableBuffer[Frame] = ClosableBuffer(1, drop_oldest=True)
        self._is_opened = threading.Event()
        """Set once there is a frame, or will never be one."""
        self._closing = threading.Event()
        self._opened_at_s = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="receive", daemon=True)

    def start(self, on_wait: Callable[[], None] | None = None) -> Self:
        """Start the thread, and wait for the first frame.

        ``on_wait`` is called repeatedly meanwhile; what it raises ends the wait.

        Raises:
            SourceError: the source cannot be opened.
        """
        self._opened_at_s = time.monotonic()
        self._thread.start()
        try:
            while not self._is_opened.wait(WAIT_S if on_wait else None):
                assert on_wait
                on_wait()
            if self._next_index == 0:
                self._latest.get()  # raises the reason
        except BaseException:
            self.close()
            raise
        return self

    def __enter__(self) -> Self:
        return self if self._is_started else self.start()

    @property
    def _is_started(self) -> bool:
        return self._thread.ident is not None

    @property
    def dropped(self) -> int:  # type: ignore[override]
        """Frames that newer ones replaced before they were read."""
        return self._latest.dropped

    def read(self) -> Frame | None:
        """Wait for the newest frame; None at the end, or once the source is interrupted.

        Raises:
            SourceError: the source broke, and is not opened again.
            RuntimeError: it was not started.
        """
        if not self._is_started:
            raise RuntimeError("a ReconnectingSource must be started before it is read")
        return self._latest.get()

    def interrupt(self) -> None:
        """Wake everyone who waits; nothing is read any more."""
        self._closing.set()
        self._latest.close(discard=True)
        self._is_opened.set()

    def close(self) -> None:
        """End the thread, which closes the source; if it hangs in the network, do not wait for it."""
        self.interrupt()
        if self._is_started:
            self._thread.join(CLOSE_TIMEOUT_S)

    def _run(self) -> None:
        try:
            self._receive()
        except BaseException as error:  # raised in the reader, whatever it is
            self._latest.close(error)
        else:
            self._latest.close()
        finally:
            self._is_opened.set()

    def _receive(self) -> None:
        pauses_s = _pauses_s()
        tries = 0
        while not self._closing.is_set():
            frames_before = self._next_index
            error = self._receive_until_error()
            if error is None:
                return
            if not (self._retry_later if self._next_index else self._retry_first):
                raise error
            if self._next_index > frames_before:
                pauses_s, tries = _pauses_s(), 0
            tries += 1
            pause_s = next(pauses_s)
            self.status = f"{'reconnecting' if self._next_index else 'connecting'}, {_ordinal(tries)} try"
            self._on_message(f"{error}; {self.status} in {pause_s:g} s")
            self._wait(self._closing, pause_s)

    def _receive_until_error(self) -> SourceError | None:
        """Open the source and forward its frames. Returns its error, or None after its end or once this is closed."""
        try:
            with self._open_source() as source:
                self._forward(source)
        except SourceError as error:
            return error
        return None

    def _forward(self, source: FrameSource) -> None:
        """Forward frames until the source ends or this one is closed."""
        if self._next_index == 0:
            self.frame_rate = source.frame_rate
        while (frame := source.read()) is not None:
            if self.status:
                self._on_message("connected again" if self._next_index else "connected")
                self.status = ""
            self.size_wh = frame.image.shape[1], frame.image.shape[0]
            own = Frame(frame.image, self._next_index, frame.captured_at_s - self._opened_at_s, frame.captured_at_s)
            self._next_index += 1
            if not self._latest.put(own):
                return
            self._is_opened.set()


def _pauses_s() -> Iterator[float]:
    pause_s = FIRST_PAUSE_S
    while True:
        yield pause_s
        pause_s = min(2 * pause_s, MAX_PAUSE_S)


def _ordinal(number: int) -> str:
    is_teen = 10 < number % 100 < 20
    return f"{number}{'th' if is_teen else {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')}"

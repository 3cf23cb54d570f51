"""A live source that is opened again when it breaks."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing

from realtime.buffer import ClosableBuffer
from realtime.errors import SourceError
from realtime.sources.base import LIVE_TIME_BASE, FrameSource
from realtime.structures import Frame

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0
CLOSE_WAIT_S = 0.5
"""How long closing waits for a thread that may hang in the network; it frees its connection itself when it wakes."""


class ReconnectingSource(FrameSource):
    """Opens a live source in a thread of its own, passes its newest frame on, and opens it again when it breaks.

    Opening and reading may hang in the network for as long as their time limits let them, and cannot be interrupted.
    They do so in that thread; whoever waits here, for the first picture or a further one, can be woken at once.
    """

    is_live = True
    time_base = LIVE_TIME_BASE

    def __init__(
        self,
        open_source: Callable[[], FrameSource],
        *,
        retry_first: bool,
        retry_later: bool,
        say: Callable[[str], None],
        wait: Callable[[threading.Event, float], bool] = threading.Event.wait,
    ) -> None:
        """Wait for the first picture.

        Args:
            open_source: opens the source; called in the thread.
            retry_first: try again if it cannot be opened at all.
            retry_later: open it again if it breaks after that.
            say: told of each break, try and success in one line; called in the thread.
            wait: pauses until the event is set, True, or the seconds are over, False.

        Raises:
            SourceError: it cannot be opened.
        """
        self._open_source = open_source
        self._retry_first = retry_first
        self._retry_later = retry_later
        self._say = say
        self._wait = wait
        self._next_index = 0
        self._latest: ClosableBuffer[Frame] = ClosableBuffer(1, drop_oldest=True)
        self._begun = threading.Event()
        """Set once there is a picture or will never be one."""
        self._closing = threading.Event()
        self._opened_at_s = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="receive", daemon=True)
        self._thread.start()
        try:
            self._begun.wait()
            if self._next_index == 0:
                self._latest.get()  # raises why
        except BaseException:
            self.close()
            raise

    @property
    def dropped(self) -> int:  # type: ignore[override]
        """Frames that newer ones replaced before they were read."""
        return self._latest.dropped

    def read(self) -> Frame | None:
        """Wait for the newest frame; None at the end, or once the source is interrupted.

        Raises:
            SourceError: the source broke, and shall not be opened again.
        """
        return self._latest.get()

    def interrupt(self) -> None:
        """Let everybody who waits go on; nothing is read any more."""
        self._closing.set()
        self._latest.close(discard=True)

    def close(self) -> None:
        """End the thread, which closes the source; it is not waited for if it hangs in the network."""
        self.interrupt()
        self._thread.join(CLOSE_WAIT_S)

    def _run(self) -> None:
        try:
            self._receive()
        except BaseException as error:  # handed to the reader, whatever it is
            self._latest.close(error)
        else:
            self._latest.close()
        finally:
            self._begun.set()

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
            self._say(f"{error}; {self.status} in {pause_s:g} s")
            self._wait(self._closing, pause_s)

    def _receive_until_error(self) -> SourceError | None:
        """Open the source and pass its frames on; what broke it, or None after its end or once this one is closed."""
        try:
            with closing(self._open_source()) as source:
                self._pass_on(source)
        except SourceError as error:
            return error
        return None

    def _pass_on(self, source: FrameSource) -> None:
        """Pass frames on until the source ends or this one is closed."""
        if self._next_index == 0:
            self.frame_rate = source.frame_rate
        while (frame := source.read()) is not None:
            if self.status:
                self._say("connected again" if self._next_index else "connected")
                self.status = ""
            self.size_wh = frame.image.shape[1], frame.image.shape[0]
            own = Frame(frame.image, self._next_index, frame.captured_at_s - self._opened_at_s, frame.captured_at_s)
            self._next_index += 1
            if not self._latest.put(own):
                return
            self._begun.set()


def _pauses_s() -> Iterator[float]:
    pause_s = FIRST_PAUSE_S
    while True:
        yield pause_s
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


def _ordinal(number: int) -> str:
    is_teen = 10 < number % 100 < 20
    return f"{number}{'th' if is_teen else {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')}"

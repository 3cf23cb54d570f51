"""Reading ahead: the thread that fills the frame buffer."""

import threading
import time
from collections.abc import Callable

from realtime.buffer import ClosableBuffer
from realtime.sources.base import FrameSource
from realtime.structures import Frame

JOIN_TIMEOUT_S = 2.0


class CaptureThread:
    """Reads a source ahead into a buffer, in a thread of its own."""

    def __init__(self, source: FrameSource, *, ahead: int = 3, on_read: Callable[[float], None]) -> None:
        """``ahead``: frames of a file that are read in advance; of a live source only the newest is kept.

        ``on_read`` is called, in the thread, with the milliseconds that each read took.
        """
        self._source = source
        self._on_read = on_read
        self.buffer: ClosableBuffer[Frame] = ClosableBuffer(1 if source.is_live else ahead, drop_oldest=source.is_live)
        self._thread = threading.Thread(target=self._run, name="capture", daemon=True)

    @property
    def dropped(self) -> int:
        """Frames of a live source that newer ones replaced before they were processed."""
        return self.buffer.dropped + self._source.dropped

    def start(self) -> None:
        """Start reading."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread, then close the source.

        A source whose thread hangs in a read is left open: freeing it under the thread would crash the process.
        """
        self.buffer.close(discard=True)
        self._source.interrupt()
        if self._thread.ident is not None:
            self._thread.join(JOIN_TIMEOUT_S)
        if not self._thread.is_alive():
            self._source.close()

    def _run(self) -> None:
        try:
            while True:
                started = time.perf_counter()
                frame = self._source.read()
                if frame is None:
                    break
                self._on_read(1000 * (time.perf_counter() - started))
                if not self.buffer.put(frame):
                    break
        except BaseException as error:  # raised in the reader, whatever it is
            self.buffer.close(error)
        else:
            self.buffer.close()

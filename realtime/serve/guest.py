"""The camera of a browser as a source of frames."""

import time
from fractions import Fraction

import numpy as np
from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError

from realtime.buffer import ClosableBuffer
from realtime.ffmpeg import av
from realtime.sources.base import LIVE_TIME_BASE, FrameSource
from realtime.structures import Frame

MAX_SIDE_PX = 4096


class GuestSource(FrameSource):
    """Frames that arrive over WebRTC; the newest one waits. A frame's time is when it arrived."""

    is_live = True
    time_base = LIVE_TIME_BASE
    frame_rate = Fraction(30)
    size_wh = (0, 0)

    def __init__(self) -> None:
        self._latest: ClosableBuffer[tuple[av.VideoFrame, float]] = ClosableBuffer(1, drop_oldest=True)
        self._next_index = 0
        self._opened_at_s = time.monotonic()

    @property
    def dropped(self) -> int:  # type: ignore[override]
        """Frames that newer ones replaced before they were read."""
        return self._latest.dropped

    async def feed(self, track: MediaStreamTrack) -> None:
        """Take in the frames of a track until it ends. In the event loop."""
        try:
            while not self._latest.is_closed:
                frame = await track.recv()
                if isinstance(frame, av.VideoFrame):
                    self._latest.put((frame, time.monotonic()))
        except MediaStreamError:
            self._latest.close()

    def read(self) -> Frame | None:
        """Wait for the newest frame; None once the browser is gone."""
        arrived = self._latest.get()
        while arrived is not None and max(arrived[0].width, arrived[0].height) > MAX_SIDE_PX:
            arrived = self._latest.get()
        if arrived is None:
            return None
        image = np.ascontiguousarray(arrived[0].to_ndarray(format="bgr24"))
        image.flags.writeable = False
        self.size_wh = image.shape[1], image.shape[0]
        frame = Frame(image, self._next_index, arrived[1] - self._opened_at_s, arrived[1])
        self._next_index += 1
        return frame

    def interrupt(self) -> None:
        """Wake whoever waits; nothing is read any more."""
        self._latest.close(discard=True)

    def close(self) -> None:
        """Take in nothing more."""
        self.interrupt()

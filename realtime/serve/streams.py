"""The video of one camera, encoded once per format for all its viewers."""

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from realtime.buffer import ClosableBuffer
from realtime.results import Result
from realtime.serve.bridge import Feed, Subscription
from realtime.serve.encoders import Encoded, VideoFormat, encoder_of

PACKETS_AHEAD = 8
"""Frames of H.264 or VP8 that may wait for a viewer; of JPEG, only the newest."""
MIN_KEY_INTERVAL_S = 0.5
"""A viewer that asks for key frames all the time must not make the video of the others worse."""

Describe = Callable[[Result, int], str]
"""What viewers get besides a frame: its boxes, for the timestamp of its video frame."""


class FormatStream:
    """One format: a thread that encodes while somebody watches."""

    def __init__(self, video_format: VideoFormat, loop: asyncio.AbstractEventLoop, describe: Describe) -> None:
        self.format = video_format
        self._describe = describe
        self.feed: Feed[Encoded] = Feed(loop, on_gap=self.request_key)
        self.encoded = 0
        """Frames that were encoded."""
        self._buffer: ClosableBuffer[Result] | None = None
        self._key_wanted = threading.Event()
        self._last_key_s = -MIN_KEY_INTERVAL_S

    def subscribe(self, latest: Result | None) -> Subscription[Encoded]:
        """Watch; the latest result comes first, so that a camera that stands still can be seen."""
        subscription = self.feed.subscribe(1 if self.format is VideoFormat.JPEG else PACKETS_AHEAD)
        self.request_key()
        if self._buffer is None:
            self._buffer = ClosableBuffer(1, drop_oldest=True)
            threading.Thread(target=self._run, args=(self._buffer,), name="encode", daemon=True).start()
        if latest is not None:
            self._buffer.put(latest)
        return subscription

    def offer(self, result: Result) -> None:
        """Encode a result if somebody watches and the encoder is free before the next one; from any thread."""
        if buffer := self._buffer:
            buffer.put(result)

    def request_key(self) -> None:
        """Let one of the next frames be a key frame."""
        self._key_wanted.set()

    def rest(self) -> None:
        """End the thread if nobody watches."""
        if not len(self.feed):
            self.stop()

    def stop(self) -> None:
        """End the thread."""
        if self._buffer:
            self._buffer.close(discard=True)
            self._buffer = None

    def _run(self, buffer: ClosableBuffer[Result]) -> None:
        encoder = encoder_of(self.format)
        self._last_key_s = -MIN_KEY_INTERVAL_S
        while (result := buffer.get()) is not None:
            encoded = encoder.encode(result, key=self._takes_key())
            if encoded is not None and buffer is self._buffer:  # else another thread encodes by now
                self.encoded += 1
                self.feed.publish(replace(encoded, message=self._describe(result, encoded.timestamp)))

    def _takes_key(self) -> bool:
        now_s = time.monotonic()
        if not self._key_wanted.is_set() or now_s - self._last_key_s < MIN_KEY_INTERVAL_S:
            return False
        self._key_wanted.clear()
        self._last_key_s = now_s
        return True


class Watching:
    """A viewer of one camera in one format; leaving the ``with`` block ends it."""

    def __init__(self, subscription: Subscription[Encoded], stream: FormatStream) -> None:
        self.subscription = subscription
        self.request_key: Callable[[], None] = stream.request_key
        self._stream = stream

    def close(self) -> None:
        """Watch no more. May be called twice."""
        self.subscription.close()
        self._stream.rest()

    def __enter__(self) -> Subscription[Encoded]:
        return self.subscription

    def __exit__(self, *_: object) -> None:
        self.close()


class CameraStreams:
    """All formats of one camera."""

    def __init__(self, loop: asyncio.AbstractEventLoop, describe: Describe) -> None:
        """``describe`` is called once for each frame and format, by the thread that encodes."""
        self._streams = {video_format: FormatStream(video_format, loop, describe) for video_format in VideoFormat}
        self._latest: Result | None = None
        self._is_closed = False

    @property
    def latest(self) -> Result | None:
        """The newest result."""
        return self._latest

    def publish(self, result: Result) -> None:
        """Show a result to all viewers; from any thread, and without waiting."""
        self._latest = result
        for stream in self._streams.values():
            stream.offer(result)

    def watch(self, video_format: VideoFormat) -> Watching:
        """Watch. In the event loop."""
        stream = self._streams[video_format]
        watching = Watching(stream.subscribe(self._latest), stream)
        if self._is_closed:
            watching.close()
        return watching

    def viewers(self) -> dict[VideoFormat, int]:
        """How many watch in each format."""
        return {video_format: len(stream.feed) for video_format, stream in self._streams.items()}

    def encoded(self) -> dict[VideoFormat, int]:
        """How many frames were encoded in each format."""
        return {video_format: stream.encoded for video_format, stream in self._streams.items()}

    def close(self) -> None:
        """End all viewers and threads. In the event loop."""
        self._is_closed = True
        for stream in self._streams.values():
            stream.feed.close()
            stream.stop()

"""Streams from the network (RTSP, HTTP, UDP …), decoded by PyAV (FFmpeg)."""

import errno
import math
import re
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

import numpy as np

from realtime.errors import SourceError
from realtime.ffmpeg import av
from realtime.redaction import redacted
from realtime.sources.base import LIVE_TIME_BASE, UNKNOWN_FRAME_RATE, FrameSource
from realtime.sources.colours import BgrConverter
from realtime.sources.container import stated_rate
from realtime.sources.display_matrix import apply_display_matrix
from realtime.structures import Frame

CLOSED = "the sender closed the connection"
SEGMENTED = frozenset({"hls", "dash"})
"""Formats that arrive in segments of some seconds each, as fast as the network allows."""
MAX_STEP_S = 1.0
"""A frame that is due later than this, or is late by as much, restarts the clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamOptions:
    """How a stream is opened and read."""

    open_timeout_s: float = 10.0
    """Longest wait for the answer of the sender, and then for the first frame."""
    read_timeout_s: float = 5.0
    """Longest wait for each further frame."""
    rtsp_transport: Literal["tcp", "udp"] = "tcp"
    """TCP loses no packets and passes through firewalls; some senders support only UDP."""

    def for_ffmpeg(self) -> dict[str, str]:
        """Options for FFmpeg; each protocol uses its own and ignores the rest."""
        return {
            "rtsp_transport": self.rtsp_transport,
            "allowed_media_types": "video",
            "overrun_nonfatal": "1",  # UDP: lose packets, not the stream, when the machine is too slow
            "analyzeduration": "500000",  # microseconds; the default of five seconds would delay the first frame
        }


class StreamSource(FrameSource):
    """One connection to a stream. A frame's time is when it arrived, whatever the sender's clock says.

    Frames are decoded as they arrive, without reading ahead or frame-parallel decoding, which would delay them.
    Recordings and segmented streams, which arrive faster than real time, are read at their own speed.
    """

    is_live = True
    time_base = LIVE_TIME_BASE

    def __init__(self, url: str, options: StreamOptions) -> None:
        """Connect, and wait for the first frame.

        Raises:
            SourceError: nobody answers, the address is wrong, or the stream has no video.
        """
        self._name = redacted(re.sub(r"\s", "%20", url))
        self._options = options
        self._next_index = 0
        self._to_bgr = BgrConverter()
        self._opened_at_s = time.monotonic()
        try:
            self._container = av.open(
                url, options=options.for_ffmpeg(), timeout=(options.open_timeout_s, options.read_timeout_s)
            )
        except (av.FFmpegError, OSError, ValueError) as error:
            # The error itself contains the address with its password: it must not be chained.
            reason = _reason(error, time.monotonic() - self._opened_at_s, options.open_timeout_s)
            if reason == CLOSED and not _is_host_known(url):
                reason = "the host is unknown"
            raise SourceError(
                f"cannot open stream {self._name}: {reason}",
                value=self._name,
                remedy="check the address and that the sender runs",
            ) from None
        try:
            self._first: Frame | None = self._begin()
        except BaseException:
            self._container.close()
            raise

    def _begin(self) -> Frame:
        if not self._container.streams.video:
            raise SourceError(f"cannot open stream {self._name}: it has no video", value=self._name)
        stream = self._container.streams.video[0]
        stream.thread_type = "SLICE"
        rate = stated_rate(self._container, stream)
        self.frame_rate = rate if rate and 1 <= rate <= 1000 else UNKNOWN_FRAME_RATE
        self._has_end = self._container.duration is not None
        self._is_paced = self._has_end or not SEGMENTED.isdisjoint(self._container.format.name.split(","))
        self._clock_s = -math.inf
        """Monotonic time of timestamp 0, for streams that are read at their own speed."""
        self._frames = self._decoded(stream.index)
        first = self._grab(self._options.open_timeout_s)  # it comes with the next key frame
        if first is None:
            raise SourceError(f"cannot open stream {self._name}: it has no frame", value=self._name)
        return first

    def read(self) -> Frame | None:
        """Wait for the next frame; None at the end of a recording.

        Raises:
            SourceError: the connection was lost, or no frame arrived in time.
        """
        if self._first is not None:
            frame, self._first = self._first, None
            return frame
        return self._grab(self._options.read_timeout_s)

    def close(self) -> None:
        """Close the connection."""
        self._container.close()

    def _grab(self, timeout_s: float) -> Frame | None:
        asked_at_s = time.monotonic()
        self._deadline_s = asked_at_s + timeout_s
        try:
            decoded = next(self._frames, None)
            image = None if decoded is None else self._converted(decoded)
        except (av.FFmpegError, OSError, ValueError) as error:
            # Motion JPEG over HTTP ends in the middle of a part, which FFmpeg calls invalid data.
            is_end = isinstance(error, av.error.InvalidDataError) and self._next_index > 0
            reason = CLOSED if is_end else _reason(error, time.monotonic() - asked_at_s, timeout_s)
            raise SourceError(f"lost stream {self._name}: {reason}", value=self._name) from None
        if decoded is None or image is None:
            if self._has_end:
                return None
            raise SourceError(f"lost stream {self._name}: {CLOSED}", value=self._name)
        if self._is_paced and decoded.time is not None:
            self._wait_for(decoded.time)
        captured_at_s = time.monotonic()
        image.flags.writeable = False
        self.size_wh = image.shape[1], image.shape[0]
        frame = Frame(image, self._next_index, captured_at_s - self._opened_at_s, captured_at_s)
        self._next_index += 1
        return frame

    def _converted(self, frame: av.VideoFrame) -> np.ndarray:
        return apply_display_matrix(self._to_bgr(frame, (frame.width, frame.height)), frame)

    def _wait_for(self, pts_s: float) -> None:
        ahead_s = self._clock_s + pts_s - time.monotonic()
        if abs(ahead_s) > MAX_STEP_S:
            self._clock_s, ahead_s = time.monotonic() - pts_s, 0.0
        time.sleep(max(0.0, ahead_s))

    def _decoded(self, stream_index: int) -> Iterator[av.VideoFrame]:
        # Audio packets are read too: while they arrive, FFmpeg's own timeout does not notice that no video does.
        for packet in self._container.demux():
            if packet.stream_index == stream_index:
                yield from _frames_of(packet)
            if time.monotonic() > self._deadline_s:
                raise SourceError(
                    f"lost stream {self._name}: no frame that can be decoded arrived in time", value=self._name
                )


def _frames_of(packet: "av.Packet[av.stream.Stream]") -> list[av.VideoFrame]:
    try:
        return [frame for frame in packet.decode() if isinstance(frame, av.VideoFrame)]
    except av.FFmpegError:  # damaged in transit; the next key frame repairs it
        return []


def _reason(error: Exception, waited_s: float, timeout_s: float) -> str:
    if isinstance(error, av.error.ExitError) or waited_s >= timeout_s:  # RTSP reports a timeout as another error
        return f"no answer for {waited_s:.1f} s"
    if isinstance(error, av.error.HTTPUnauthorizedError):
        return "the sender rejects the user or password"
    if isinstance(error, av.error.InvalidDataError):
        return "the data is no video"
    if isinstance(error, OSError) and error.errno == errno.EIO:
        return CLOSED
    return str(getattr(error, "strerror", None) or type(error).__name__).lower()


def _is_host_known(url: str) -> bool:
    try:
        return bool(socket.getaddrinfo(urlsplit(url).hostname, None))
    except (OSError, ValueError):  # an invalid name may not even be encoded for a look-up
        return False

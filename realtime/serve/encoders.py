"""Encoders of live video, made for one thread each: JPEG, H.264 and VP8."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import Protocol, cast

import cv2
import numpy as np

from realtime.ffmpeg import av
from realtime.results import Result
from realtime.serve.messages import CLOCK_RATE, timestamp_of

JPEG_QUALITY = 80
MAX_WH = (1920, 1080)
"""Larger frames are made smaller for the video; boxes and snapshots keep their resolution."""
KEY_INTERVAL_S = 4
"""Longest time between two key frames; viewers that come ask for one."""
MAX_BITRATE = 6_000_000
"""Of video, in bits/s."""


class VideoFormat(StrEnum):
    """In which viewers get frames."""

    JPEG = "jpeg"
    H264 = "h264"
    VP8 = "vp8"


@dataclass(frozen=True, slots=True)
class Encoded:
    """A frame as it is sent."""

    result: Result
    data: bytes
    is_key: bool
    """Whether it can be shown without the frames before it."""
    timestamp: int
    """In units of ``CLOCK_RATE``."""
    message: str = ""
    """Its boxes, as the page gets them."""


class Encoder(Protocol):
    """Encodes one frame after another."""

    def encode(self, result: Result, *, key: bool) -> Encoded | None:
        """The frame of a result; ``key``: so that viewers can begin with it. None if the encoder skips it."""


class JpegEncoder:
    """Every frame is an image of its own."""

    def encode(self, result: Result, *, key: bool) -> Encoded:
        """The frame as a JPEG."""
        data = jpeg(fitted(result.image), JPEG_QUALITY)
        return Encoded(result, data, is_key=True, timestamp=timestamp_of(result))


class VideoEncoder:
    """H.264 or VP8 without any delay, begun again when the size of the frames changes."""

    def __init__(self, video_format: VideoFormat) -> None:
        self._format = video_format
        self._codec: av.VideoCodecContext | None = None
        self._last = -1

    def encode(self, result: Result, *, key: bool) -> Encoded | None:
        """The frame in H.264 (Annex B) or VP8."""
        image = even(fitted(result.image))
        height, width = image.shape[:2]
        if self._codec is None or (self._codec.width, self._codec.height) != (width, height):
            self._codec = _OPEN[self._format](width, height)
        yuv = cv2.cvtColor(image, cv2.COLOR_BGR2YUV_I420).astype(np.uint8, copy=False)
        frame = av.VideoFrame.from_ndarray(yuv, format="yuv420p")
        self._last = max(timestamp_of(result), self._last + 1)
        frame.pts, frame.time_base = self._last, Fraction(1, CLOCK_RATE)
        if key:
            frame.pict_type = av.video.frame.PictureType.I
        packets = self._codec.encode(frame)
        if not packets:
            return None
        data, is_key = b"".join(map(bytes, packets)), any(packet.is_keyframe for packet in packets)
        return Encoded(result, data, is_key=is_key, timestamp=self._last)


def jpeg(image: np.ndarray, quality: int) -> bytes:
    """An image uint8 (H,W,3) BGR as JPEG."""
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def fitted(image: np.ndarray) -> np.ndarray:
    """The image, made smaller if it exceeds ``MAX_WH``."""
    height, width = image.shape[:2]
    scale = min(1.0, MAX_WH[0] / width, MAX_WH[1] / height)
    if scale == 1:
        return image
    size_wh = max(2, round(scale * width)), max(2, round(scale * height))
    return cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA)


def even(image: np.ndarray) -> np.ndarray:
    """The image with even sides, since chroma has half the resolution: the last row or column is repeated."""
    height, width = image.shape[:2]
    if height % 2 == 0 and width % 2 == 0:
        return image
    return cv2.copyMakeBorder(image, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)


def encoder_of(video_format: VideoFormat) -> Encoder:
    """An encoder, for the thread that calls this."""
    return JpegEncoder() if video_format is VideoFormat.JPEG else VideoEncoder(video_format)


def _open_h264(width: int, height: int) -> av.VideoCodecContext:
    codec = _context("libx264", width, height)
    codec.profile = "Baseline"
    codec.options = {
        "preset": "ultrafast", "tune": "zerolatency", "forced-idr": "1", "crf": "23", "maxrate": str(MAX_BITRATE),
        "bufsize": str(MAX_BITRATE // 2), "x264-params": "repeat-headers=1:annexb=1:sliced-threads=0",
    }  # fmt: skip
    return codec


def _open_vp8(width: int, height: int) -> av.VideoCodecContext:
    codec = _context("libvpx", width, height)
    codec.bit_rate = min(MAX_BITRATE, max(500_000, 4 * width * height))
    codec.options = {"deadline": "realtime", "cpu-used": "10", "lag-in-frames": "0", "error-resilient": "1"}
    return codec


def _context(encoder: str, width: int, height: int) -> av.VideoCodecContext:
    codec = cast("av.VideoCodecContext", av.CodecContext.create(encoder, "w"))
    codec.width, codec.height, codec.pix_fmt = width, height, "yuv420p"
    codec.time_base, codec.framerate = Fraction(1, CLOCK_RATE), Fraction(30)
    codec.gop_size = 30 * KEY_INTERVAL_S
    codec.thread_count = 1  # the cores are the detector's
    codec.colorspace = 6  # Rec. ITU-R BT.601, as OpenCV converts
    codec.color_range = av.video.reformatter.ColorRange.MPEG
    return codec


_OPEN: dict[VideoFormat, Callable[[int, int], av.VideoCodecContext]] = {
    VideoFormat.H264: _open_h264,
    VideoFormat.VP8: _open_vp8,
}

"""Video files, decoded by PyAV (FFmpeg)."""

import itertools
import math
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np

from realtime.errors import SourceError
from realtime.ffmpeg import av, open_video
from realtime.sources.base import FrameSource
from realtime.sources.colours import BgrConverter
from realtime.sources.decode_errors import DecodeErrors, is_animated_webp, missing_bytes
from realtime.sources.deinterlace import deinterlace
from realtime.sources.display_matrix import apply_display_matrix
from realtime.sources.timeline import Timeline, TimestampChooser
from realtime.structures import Frame

TOLERANCE_S = 1e-6
"""Two times that differ by less are equal."""
SEEK_MARGINS_S = (0.0, 2.0, 10.0, 60.0)
"""How far before the wanted time to look for a key frame, one after another: some files seek to a later one."""
MAX_FAILURES = 100
"""Reads in a row that may fail before the rest of a file is given up."""
NOT_VIDEO = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails
"""Streams of these kinds are covers and previews."""
DEFAULT_FRAME_RATE = Fraction(25)
CONVERT = "convert it to H.264"


class VideoFileSource(FrameSource):
    """The frames of a video file in order of presentation, rotated as they are displayed, with their timestamps.

    Damaged parts are skipped and counted in ``errors``. Where the video changes its size, frames keep the first one.
    """

    is_live = False

    def __init__(self, path: Path, *, start_s: float = 0.0, duration_s: float | None = None) -> None:
        """Open a file.

        Args:
            path: of the video.
            start_s: time of the first frame, in seconds from the beginning of the file.
            duration_s: length of the part that is read, in seconds; by default up to the end.

        Raises:
            SourceError: the file is missing, is no video, or has no frame in that time that can be decoded.
        """
        self.path = path
        self.errors = DecodeErrors()
        self._next_index = 0
        self._coded_wh: tuple[int, int] | None = None
        self._to_bgr = BgrConverter()
        self._container = _open_container(path)
        try:
            self._stream = _video_stream(self._container, path)
            self.frame_rate = self._stream.average_rate or self._stream.guessed_rate or DEFAULT_FRAME_RATE
            self.time_base = self._stream.time_base or 1 / self.frame_rate
            self._set_span(start_s, duration_s)
            self._decoded = self._decode()
            if self.is_part and path.is_file():  # a pipe is read up to the part
                self._seek()
            first = self._first_frame(start_s, duration_s)
        except BaseException:
            self.close()
            raise
        self._first: Frame | None = first
        self.size_wh = first.image.shape[1], first.image.shape[0]
        aspect = self._stream.sample_aspect_ratio or Fraction(1)
        self.pixel_aspect = aspect if self.size_wh == self._coded_wh else 1 / aspect  # rotated by a quarter
        """Width of a pixel by its height."""

    def _set_span(self, start_s: float, duration_s: float | None) -> None:
        self.begin_s = self._begin_s()
        """Timestamp of the beginning of the file."""
        self.origin_s = self.begin_s + start_s
        """Timestamp of the beginning of the part that is read."""
        self.end_s = math.inf if duration_s is None else self.origin_s + duration_s
        """Timestamp of its end; infinite if there is no limit."""
        length_s = self._file_length_s - start_s
        self.length_s: float | None = min(length_s, duration_s or math.inf) if length_s > 0 else None
        """Length of the part in seconds; None if the file does not say."""
        self.is_part = start_s > 0
        """True if the beginning of the file is not read."""

    def _begin_s(self) -> float:
        """Timestamp of the beginning; audio alone may begin before 0, as encoders put silence in front of it."""
        begin_s = (self._container.start_time or 0) / av.time_base
        return begin_s if begin_s >= 0 else min(0.0, float((self._stream.start_time or 0) * self.time_base))

    @property
    def has_audio(self) -> bool:
        """True if there is an audio stream."""
        return bool(self._container.streams.audio)

    @property
    def _file_length_s(self) -> float:
        return (self._container.duration or 0) / av.time_base

    def _first_frame(self, start_s: float, duration_s: float | None) -> Frame:
        first = self._next_frame()
        if first is not None:
            return first
        if start_s > 0 or duration_s is not None:
            until = "its end" if duration_s is None else f"{start_s + duration_s:g} s"
            reason = f"it has no frame from {start_s:g} s to {until}; it is {self._file_length_s:.3f} s long"
        else:
            reason = f"it has no frame that can be decoded ({self.errors})" if self.errors else "it has no frame"
        if is_animated_webp(self.path):
            raise SourceError(f"cannot open video {self.path}: FFmpeg here cannot decode animated WebP", remedy=CONVERT)
        raise SourceError(f"cannot open video {self.path}: {reason}")

    def read(self) -> Frame | None:
        """The next frame; None at the end."""
        if self._first is not None:
            frame, self._first = self._first, None
            return frame
        return self._next_frame()

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def _next_frame(self) -> Frame | None:
        for decoded, pts_s in self._decoded:
            if pts_s >= self.end_s - TOLERANCE_S:
                return None
            if pts_s < self.origin_s - TOLERANCE_S:
                continue
            try:
                image = self._image(decoded)
            except (av.FFmpegError, ValueError):
                self.errors.packets += 1
                continue
            self.errors.frames += decoded.is_corrupt
            index = self._next_index
            self._next_index += 1
            return Frame(image, index, pts_s, time.monotonic())
        if self.end_s == math.inf:
            self.errors.missing_bytes = missing_bytes(self.path)
        return None

    def _image(self, decoded: av.VideoFrame) -> np.ndarray:
        self._coded_wh = self._coded_wh or (decoded.width, decoded.height)
        image = apply_display_matrix(self._to_bgr(decoded, self._coded_wh), decoded)
        image.flags.writeable = False
        return image

    def _seek(self) -> None:
        """Continue at a key frame before the wanted time; at the beginning of the file if none is found."""
        for margin_s in SEEK_MARGINS_S:
            try:
                self._container.seek(math.floor((self.origin_s - margin_s) / self.time_base), stream=self._stream)
            except (av.FFmpegError, OverflowError):
                continue
            self.errors = DecodeErrors()
            self._decoded = self._decode()
            first = next(self._decoded, None)
            if first is not None and first[1] <= self.origin_s + TOLERANCE_S:
                self._decoded = itertools.chain([first], self._decoded)
                return
        self._container.close()
        self._container = _open_container(self.path)
        self._stream = _video_stream(self._container, self.path)
        self._decoded = self._decode()

    def _decode(self) -> Iterator[tuple[av.VideoFrame, float]]:
        """Deinterlaced frames with their timestamps in seconds."""
        timeline, choose = Timeline(float(1 / self.frame_rate)), TimestampChooser()
        try:
            for frame in deinterlace(self._decode_packets(), self._stream):
                pts = choose(frame.pts, frame.dts)
                yield frame, timeline(None if pts is None else float(pts * self.time_base))
        except av.FFmpegError:  # the deinterlacing filter failed, and accepts nothing more
            self.errors.packets += 1

    def _decode_packets(self) -> Iterator[av.VideoFrame]:
        for packet in self._packets():
            try:
                frames = self._stream.codec_context.decode(packet)
            except (av.FFmpegError, ValueError):
                self.errors.packets += 1
                continue
            yield from frames

    def _packets(self) -> Iterator["av.Packet[av.VideoStream] | None"]:
        """Packets of the video, then None to flush the decoder."""
        failures = 0
        while failures < MAX_FAILURES:
            try:
                for packet in self._container.demux(self._stream):
                    failures = 0
                    if packet.size:
                        yield packet
                break
            except (av.FFmpegError, OSError):
                failures += 1
                self.errors.packets += 1
        yield None


def _open_container(path: Path) -> av.container.InputContainer:
    if not path.exists():
        raise SourceError(f"cannot open video {path}: not found")
    if path.is_dir():
        raise SourceError(f"cannot open video {path}: it is a folder")
    try:
        return open_video(path)
    except (av.FFmpegError, OSError, ValueError) as error:
        missing = missing_bytes(path) if path.is_file() else 0
        reason = f"it ends {missing} bytes early, and its index with it" if missing else _reason(error)
        raise SourceError(f"cannot open video {path}: not a readable video file ({reason})") from error


def _video_stream(container: av.container.InputContainer, path: Path) -> av.VideoStream:
    """The default video stream, or the first one that can be decoded."""
    if container.format.name == "tty":  # FFmpeg renders text files as video
        raise SourceError(f"cannot open video {path}: not a readable video file (it is text)")
    streams = [stream for stream in container.streams.video if not stream.disposition & NOT_VIDEO]
    if not streams:
        raise SourceError(f"cannot open video {path}: it has no video stream")
    streams = [stream for stream in streams if stream.codec_context is not None]
    if not streams:
        raise SourceError(f"cannot open video {path}: FFmpeg here cannot decode it: unknown codec", remedy=CONVERT)
    stream = next((s for s in streams if s.disposition & av.stream.Disposition.default), streams[0])
    stream.thread_type = "AUTO"
    return stream


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)

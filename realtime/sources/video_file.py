"""Video files, decoded by PyAV (FFmpeg)."""

import math
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np

from realtime.errors import SourceError
from realtime.ffmpeg import av
from realtime.sources.base import FrameSource
from realtime.sources.colours import BgrConverter
from realtime.sources.decode_errors import Losses, missing_bytes
from realtime.sources.deinterlace import whole_pictures
from realtime.sources.display_matrix import upright
from realtime.sources.timeline import BestGuess, Timeline
from realtime.structures import Frame

EXACT_S = 1e-6
"""Two times that differ by less are the same."""
SEEK_MARGINS_S = (0.0, 2.0, 10.0, 60.0)
"""How far before the wanted time to look for a key frame, one after another: some files lead to a later one."""
MAX_FAILURES = 100
"""Reads in a row that may fail before the rest of a file is given up."""
NO_PICTURE = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails
"""Streams of these kinds are covers and previews, not the video."""


class VideoFileSource(FrameSource):
    """The frames of a video file in order of presentation, upright, with their timestamps.

    What is damaged is skipped and counted in ``losses``. Where the video changes its size, frames keep the first one.
    """

    is_live = False

    def __init__(self, path: Path, *, start_s: float = 0.0, duration_s: float | None = None) -> None:
        """Open a file.

        Args:
            path: of the video.
            start_s: time in seconds, counted from the beginning of the file, of the first frame that is wanted.
            duration_s: frames from ``start_s + duration_s`` on are not wanted; by default all are.

        Raises:
            SourceError: it is missing, no video, or has no picture that can be decoded in that time.
        """
        if not path.exists():
            raise SourceError(f"cannot open video {path}: not found")
        if path.is_dir():
            raise SourceError(f"cannot open video {path}: it is a folder")
        self.path = path
        self.losses = Losses()
        try:
            self._container = av.open(str(path), metadata_errors="replace")
        except (av.FFmpegError, OSError, ValueError) as error:
            early = missing_bytes(path) if path.is_file() else 0
            reason = f"it ends {early} bytes early, and its index with it" if early else _reason(error)
            raise SourceError(f"cannot open video {path}: not a readable video file ({reason})") from error
        try:
            self._open_stream(start_s, duration_s)
        except BaseException:
            self.close()
            raise

    def _open_stream(self, start_s: float, duration_s: float | None) -> None:
        stream = self._choose_stream()
        self._stream = stream
        self.frame_rate = stream.average_rate or stream.guessed_rate or Fraction(25)
        self.time_base = stream.time_base or 1 / self.frame_rate
        self.begin_s = self._first_s()
        """Timestamp of the file's beginning."""
        self.origin_s = self.begin_s + start_s
        """Timestamp of the beginning of what is wanted."""
        self.end_s = math.inf if duration_s is None else self.origin_s + duration_s
        """Timestamp at which it ends; infinite if all is wanted."""
        length_s = (self._container.duration or 0) / av.time_base - start_s
        self.length_s: float | None = min(length_s, duration_s or math.inf) if length_s > 0 else None
        """Seconds from one to the other, as far as the file tells; None if it does not."""
        self.pixel_aspect = stream.sample_aspect_ratio or Fraction(1)
        """Width of a pixel by its height."""
        self.is_part = start_s > 0
        """True if the file's beginning is not wanted."""
        self._size_wh: tuple[int, int] | None = None
        self._next_index = 0
        self._to_bgr = BgrConverter()
        self._pictures = self._decoded()
        if start_s > 0:
            self._seek()
        self._first = self._next_frame()  # a file may open and yet hold no picture; better to know now
        if self._first is None:
            raise SourceError(f"cannot open video {self.path}: {self._why_nothing(start_s, duration_s)}")
        self.size_wh = self._first.image.shape[1], self._first.image.shape[0]
        if self.size_wh != self._size_wh:  # lies on its side
            self.pixel_aspect = 1 / self.pixel_aspect

    def _first_s(self) -> float:
        """Timestamp of the beginning; sound alone may begin before 0, as encoders put silence in front of it."""
        begin_s = (self._container.start_time or 0) / av.time_base
        return begin_s if begin_s >= 0 else min(0.0, float((self._stream.start_time or 0) * self.time_base))

    def _choose_stream(self) -> av.VideoStream:
        if self._container.format.name == "tty":  # FFmpeg's art: a text file becomes a film of its letters
            raise SourceError(f"cannot open video {self.path}: not a readable video file (it is text)")
        streams = [stream for stream in self._container.streams.video if not stream.disposition & NO_PICTURE]
        if not streams:
            raise SourceError(f"cannot open video {self.path}: it has no video stream")
        streams = [stream for stream in streams if stream.codec_context is not None]
        if not streams:
            raise SourceError(f"cannot open video {self.path}: its coding is not known here; convert it to H.264")
        stream = next((s for s in streams if s.disposition & av.stream.Disposition.default), streams[0])
        stream.thread_type = "AUTO"
        return stream

    def _why_nothing(self, start_s: float, duration_s: float | None) -> str:
        if start_s > 0 or duration_s is not None:
            length = (self._container.duration or 0) / av.time_base
            until = "its end" if duration_s is None else f"{start_s + duration_s:g} s"
            return f"it holds no picture from {start_s:g} s to {until}; it is {length:.3f} s long"
        return f"it holds no picture ({self.losses})" if self.losses else "it holds no picture"

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
        for picture, pts_s in self._pictures:
            if pts_s >= self.end_s - EXACT_S:
                return None
            if pts_s < self.origin_s - EXACT_S:
                continue
            try:
                image = self._image(picture)
            except (av.FFmpegError, ValueError):
                self.losses.packets += 1
                continue
            self.losses.frames += picture.is_corrupt
            index = self._next_index
            self._next_index += 1
            return Frame(image, index, pts_s, time.monotonic())
        if self.end_s == math.inf:
            self.losses.missing_bytes = missing_bytes(self.path)
        return None

    def _image(self, picture: av.VideoFrame) -> np.ndarray:
        self._size_wh = self._size_wh or (picture.width, picture.height)
        image = upright(self._to_bgr(picture, self._size_wh), picture)
        image.flags.writeable = False
        return image

    def _seek(self) -> None:
        """Go to a key frame before the wanted time."""
        for margin_s in SEEK_MARGINS_S:
            try:
                self._container.seek(math.floor((self.origin_s - margin_s) / self.time_base), stream=self._stream)
            except (av.FFmpegError, OverflowError):
                continue
            self.losses = Losses()
            self._pictures = self._decoded()
            first = next(self._pictures, None)
            if first is not None and first[1] <= self.origin_s + EXACT_S:
                self._pictures = _with_first(first, self._pictures)
                return
        self._container.close()
        self._container = av.open(str(self.path), metadata_errors="replace")
        self._stream = self._choose_stream()
        self._pictures = self._decoded()

    def _decoded(self) -> Iterator[tuple[av.VideoFrame, float]]:
        """Pictures with their timestamps in seconds."""
        timeline, guess = Timeline(float(1 / self.frame_rate)), BestGuess()
        try:
            for picture in whole_pictures(self._decoded_as_they_are(), self._stream):
                pts = guess(picture.pts, picture.dts)
                yield picture, timeline(None if pts is None else float(pts * self.time_base))
        except av.FFmpegError:  # of the filter: it takes no more
            self.losses.packets += 1

    def _decoded_as_they_are(self) -> Iterator[av.VideoFrame]:
        for packet in self._packets():
            try:
                pictures = self._stream.codec_context.decode(packet)
            except (av.FFmpegError, ValueError):
                self.losses.packets += 1
                continue
            yield from pictures

    def _packets(self) -> Iterator[av.Packet | None]:
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
                self.losses.packets += 1
        yield None


def _with_first(first: tuple[av.VideoFrame, float], rest: Iterator[tuple[av.VideoFrame, float]]) -> Iterator:
    yield first
    yield from rest


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)

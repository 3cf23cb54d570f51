"""Video files, decoded by PyAV (FFmpeg)."""

import itertools
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
from realtime.sources.container import CONVERT
from realtime.sources.decode_errors import DecodeErrors, is_animated_webp, missing_bytes
from realtime.sources.deinterlace import deinterlace
from realtime.sources.demuxer import Demuxer
from realtime.sources.display_matrix import apply_display_matrix
from realtime.sources.joins import Packet
from realtime.sources.timeline import Timeline, TimestampChooser
from realtime.structures import Frame

TOLERANCE_S = 1e-6
"""Two times that differ by less are equal."""
SEEK_MARGINS_S = (0.0, 2.0, 10.0, 60.0)
"""How far before the wanted time to look for a key frame, one after another: some files seek to a later one."""


class VideoFileSource(FrameSource):
    """The frames of a video file in order of presentation, rotated as they are displayed, with their timestamps.

    Damaged parts are skipped and counted in ``errors``. Where the video changes its size, frames do too.
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
        self._to_bgr = BgrConverter()
        self._demuxer = Demuxer(path, self._count_packet)
        try:
            self.frame_rate = self._demuxer.frame_rate
            stamped = self._demuxer.has_timestamps
            self.time_base = (self._demuxer.video.time_base if stamped else None) or 1 / self.frame_rate
            self._set_span(start_s, duration_s)
            self._decoded = self._decode(self._demuxer.packets())
            if self.is_part:
                self._seek()
            first = self._first_frame(start_s, duration_s)
        except BaseException:
            self.close()
            raise
        self._first: Frame | None = first
        if not self.is_part:
            self._begin_no_later_than(first.pts_s)
        self.size_wh = first.image.shape[1], first.image.shape[0]
        aspect = self._demuxer.video.sample_aspect_ratio or Fraction(1)
        self.pixel_aspect = 1 / aspect if self._is_turned else aspect
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

    def _begin_no_later_than(self, pts_s: float) -> None:
        """FFmpeg is wrong about the beginning of very short files."""
        self.begin_s = min(self.begin_s, pts_s)
        self.origin_s = self.begin_s

    def _begin_s(self) -> float:
        """Timestamp of the beginning; audio alone may begin before 0, as encoders put silence in front of it."""
        begin_s = (self._demuxer.container.start_time or 0) / av.time_base
        return begin_s if begin_s >= 0 else min(0.0, float((self._demuxer.video.start_time or 0) * self.time_base))

    @property
    def has_audio(self) -> bool:
        """True if there is an audio stream."""
        return bool(self._demuxer.container.streams.audio)

    @property
    def _file_length_s(self) -> float:
        return (self._demuxer.container.duration or 0) / av.time_base

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
            raise SourceError(
                f"cannot open video {self.path}: FFmpeg here cannot decode animated WebP",
                value=self.path,
                remedy=CONVERT,
            )
        raise SourceError(f"cannot open video {self.path}: {reason}", value=self.path)

    def read(self) -> Frame | None:
        """The next frame; None at the end."""
        if self._first is not None:
            frame, self._first = self._first, None
            return frame
        return self._next_frame()

    def close(self) -> None:
        """Close the file."""
        self._demuxer.close()

    def _next_frame(self) -> Frame | None:
        for decoded, pts_s in self._decoded:
            if pts_s >= self.end_s - TOLERANCE_S:
                return None
            if self.is_part and pts_s < self.origin_s - TOLERANCE_S:
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
        coded_wh = decoded.width, decoded.height
        image = apply_display_matrix(self._to_bgr(decoded, coded_wh), decoded)
        image.flags.writeable = False
        self._is_turned = image.shape[1::-1] != coded_wh
        return image

    def _seek(self) -> None:
        """Continue at a key frame before the wanted time."""
        if self._demuxer.can_seek:
            for margin_s in SEEK_MARGINS_S:
                try:
                    self._demuxer.seek(self.origin_s - margin_s, self._demuxer.video)
                except (av.FFmpegError, OverflowError):
                    continue
                self.errors = DecodeErrors()
                self._decoded = self._decode(self._demuxer.packets())
                first = next(self._decoded, None)
                if first is not None and first[1] <= self.origin_s + TOLERANCE_S:
                    self._decoded = itertools.chain([first], self._decoded)
                    return
            self._demuxer.rewind()
        self._decoded = self._decode(self._from_key_frame(self._demuxer.packets()))

    def _from_key_frame(self, packets: Iterator[Packet]) -> Iterator[Packet]:
        """The packets from the last key frame on that is shown before the wanted time; no other need be decoded."""
        if not self._demuxer.has_timestamps:
            return packets
        video, held = self._demuxer.video, list[Packet]()
        for packet in packets:
            if packet.stream_index != video.index:
                continue
            if packet.dts is not None and packet.dts * self.time_base > self.origin_s:  # and so is shown after it
                return itertools.chain(held, [packet], packets)
            stamp = packet.dts if packet.pts is None else packet.pts
            if packet.is_keyframe and (stamp is None or stamp * self.time_base <= self.origin_s):
                held.clear()
            held.append(packet)
        return iter(held)

    def _decode(self, packets: Iterator[Packet]) -> Iterator[tuple[av.VideoFrame, float]]:
        """Deinterlaced frames with their timestamps in seconds."""
        timeline, choose = Timeline(float(1 / self.frame_rate)), TimestampChooser()
        try:
            for frame in deinterlace(self._decode_packets(packets), self._demuxer.video):
                pts = choose(frame.pts, frame.dts) if self._demuxer.has_timestamps else None
                yield frame, timeline(None if pts is None else float(pts * self.time_base))
        except av.FFmpegError:  # the deinterlacing filter failed, and accepts nothing more
            self.errors.packets += 1

    def _decode_packets(self, packets: Iterator[Packet]) -> Iterator[av.VideoFrame]:
        video = self._demuxer.video
        for packet in itertools.chain((p for p in packets if p.stream_index == video.index), [None]):
            try:
                frames = video.codec_context.decode(packet)  # None flushes it
            except (av.FFmpegError, ValueError):
                self.errors.packets += 1
                continue
            yield from frames

    def _count_packet(self) -> None:
        self.errors.packets += 1

"""A drawn video whose parts are encoded by several workers and joined without being encoded again."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from realtime.errors import SinkError
from realtime.ffmpeg import av
from realtime.sinks.base import Ending
from realtime.sinks.video_file import VideoFileSink


@dataclass(frozen=True, slots=True)
class Packets:
    """The encoded frames of a part."""

    pts: np.ndarray
    """(N,) int64, in units of the video's time base, in the order in which they are decoded."""
    is_key: np.ndarray
    """(N,) bool."""
    sizes: np.ndarray
    """(N,) int64, in bytes."""
    data: np.ndarray
    """uint8, one after the other."""

    def __iter__(self) -> Iterator[tuple[int, bool, bytes]]:
        ends = np.cumsum(self.sizes)
        for pts, is_key, size, end in zip(self.pts, self.is_key, self.sizes, ends, strict=True):
            yield int(pts), bool(is_key), self.data[end - size : end].tobytes()

    def save(self, path: Path) -> None:
        """Write them to a file, which appears when it is whole.

        Raises:
            OSError: the disk is full, say.
        """
        partial = path.with_name(f".{path.name}.partial")
        with partial.open("wb") as file:
            np.savez(file, pts=self.pts, is_key=self.is_key, sizes=self.sizes, data=self.data)
        partial.replace(path)

    @classmethod
    def load(cls, path: Path) -> "Packets":
        """Read such a file."""
        with np.load(path) as found:
            return cls(found["pts"], found["is_key"], found["sizes"], found["data"])


class PartSink(VideoFileSink):
    """Encodes the frames of one part, and keeps the packets instead of writing a video."""

    def __init__(self, path: Path, **options: Any) -> None:
        """As ``VideoFileSink``, whose container and codec it takes; nothing is left at ``path``."""
        super().__init__(path, **options)
        self._packets: list[tuple[int, bool, bytes]] = []

    def _mux(self, frame: av.VideoFrame | None) -> None:
        for packet in self._stream.encode(frame):
            if packet.pts is None:
                raise SinkError(f"cannot encode {self._path}: a frame without a time", value=self._path)
            pts = round(packet.pts * packet.time_base / self._time_base)
            self._packets.append((pts, packet.is_keyframe, bytes(packet)))

    def finish(self) -> Packets:
        """The packets of all frames.

        Raises:
            SinkError: the encoder failed.
        """
        try:
            self._mux(None)
        except av.FFmpegError as error:
            raise SinkError(f"cannot write {self._path}: {error.strerror or error}", value=self._path) from error
        self.close(Ending.FAILED)
        pts, is_key, data = zip(*self._packets, strict=True)
        sizes = np.array([len(piece) for piece in data])
        return Packets(np.array(pts), np.array(is_key), sizes, np.frombuffer(b"".join(data), np.uint8))


class JoinedVideoSink(VideoFileSink):
    """Writes the packets of all parts into one video, with the sound of the original."""

    def _mux(self, frame: av.VideoFrame | None) -> None:
        """The encoder says what the packets are, and encodes nothing itself."""

    def join(self, parts: Iterable[Path], pts: np.ndarray) -> None:
        """Write all parts.

        Args:
            parts: files of ``Packets``, in order.
            pts: (N,) int64, presentation times of all packets of all parts, in the order in which they are decoded.

        Raises:
            SinkError: the disk is full, say.
        """
        dts = iter(decoding_times(pts).tolist())
        try:
            for part in parts:
                for stamp, is_key, data in Packets.load(part):
                    packet = av.Packet(data)
                    packet.stream = self._stream
                    packet.time_base = self._time_base
                    packet.pts, packet.dts, packet.is_keyframe = stamp, next(dts), is_key
                    self._container.mux(packet)
                    self._last_pts = max(self._last_pts, stamp)
                    if self._audio:
                        self._audio.copy_until(float(stamp * self._time_base))
        except (av.FFmpegError, OSError) as error:
            raise SinkError(f"cannot write {self._path}: {error.strerror or error}", value=self._path) from error


def decoding_times(pts: np.ndarray) -> np.ndarray:
    """Decoding times (N,) int64 for presentation times (N,) in decoding order: the same ones, as much later as needed.

    They rise, and none is later than its presentation, as encoders make them.
    """
    order = np.sort(pts)
    ranks = np.searchsorted(order, pts)
    delay = int(np.max(np.arange(len(pts)) - ranks, initial=0))
    step = int(order[1] - order[0]) if len(order) > 1 else 1
    before = order[0] - step * np.arange(delay, 0, -1)
    times: np.ndarray = np.concatenate([before, order[: len(order) - delay]])
    return times

"""Video files, decoded by PyAV (FFmpeg)."""

import time
from fractions import Fraction
from pathlib import Path

import numpy as np

from realtime.errors import SourceError
from realtime.ffmpeg import av
from realtime.sources.base import FrameSource
from realtime.structures import Frame


class VideoFileSource(FrameSource):
    """Every frame of a video file in order of presentation, with its timestamp and rotation applied."""

    is_live = False

    def __init__(self, path: Path) -> None:
        """Open a file.

        Raises:
            SourceError: it is missing, no video, or has no picture that can be decoded.
        """
        if not path.exists():
            raise SourceError(f"cannot open video {path}: not found")
        if path.is_dir():
            raise SourceError(f"cannot open video {path}: it is a folder")
        try:
            self._container = av.open(str(path))
        except (av.FFmpegError, OSError) as error:
            raise SourceError(f"cannot open video {path}: not a readable video file ({_reason(error)})") from error
        try:
            self._open_stream(path)
        except BaseException:
            self._container.close()
            raise

    def _open_stream(self, path: Path) -> None:
        if self._container.format.name == "tty":  # FFmpeg's art: a text file becomes a film of its letters
            raise SourceError(f"cannot open video {path}: not a readable video file (it is text)")
        if not self._container.streams.video:
            raise SourceError(f"cannot open video {path}: it has no video stream")
        stream = self._container.streams.video[0]
        stream.thread_type = "AUTO"
        self._path = path
        self._frames = self._container.decode(stream)
        self._next_index = 0
        self.frame_rate = stream.average_rate or stream.guessed_rate or Fraction(25)
        self.time_base = stream.time_base or 1 / self.frame_rate
        self._first = self._decode()  # a file may open and yet hold no picture; better to know now
        if self._first is None:
            raise SourceError(f"cannot open video {path}: it holds no picture")
        self.size_wh = self._first.image.shape[1], self._first.image.shape[0]

    def read(self) -> Frame | None:
        """The next frame; None at the end.

        Raises:
            SourceError: the file is damaged from here on.
        """
        if self._first is not None:
            frame, self._first = self._first, None
            return frame
        return self._decode()

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def _decode(self) -> Frame | None:
        try:
            decoded = next(self._frames, None)
        except (av.FFmpegError, ValueError) as error:
            where = f"after frame {self._next_index - 1}" if self._next_index else "at the start"
            raise SourceError(f"{self._path}: damaged {where} ({_reason(error)})") from error
        if decoded is None:
            return None
        image = _upright(decoded.to_ndarray(format="bgr24"), int(decoded.rotation))
        image.flags.writeable = False
        index = self._next_index
        self._next_index += 1
        pts_s = decoded.time if decoded.time is not None else index / float(self.frame_rate)
        return Frame(image, index, float(pts_s), time.monotonic())


def _upright(image: np.ndarray, rotation_deg: int) -> np.ndarray:
    """Apply a display rotation, given counter-clockwise in degrees, in quarter turns."""
    turns = round(rotation_deg / 90) % 4
    return np.ascontiguousarray(np.rot90(image, turns)) if turns else image


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)

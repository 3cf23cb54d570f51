"""Where a long video can be cut, so that several workers take a part each."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from fractions import Fraction
from pathlib import Path

import numpy as np

from realtime.errors import SourceError
from realtime.sources.demuxer import Demuxer
from realtime.sources.video_file import TOLERANCE_S, VideoFileSource

MAX_STEP_S = 10.0
"""From one frame to the next; a longer one may be a joint of two recordings."""
MIN_SHARES = 1.5
"""A video that is shorter than so many parts is not cut."""
EPSILON_S = 4e-7
"""Less than the tolerance of ``VideoFileSource``: rounding must not make it begin at the key frame before."""


@dataclass(frozen=True, slots=True)
class Cuts:
    """A video that can be cut, and how its parts fit together."""

    begin_s: float
    """Timestamp of the beginning of the file, from which parts are counted."""
    origin_s: float
    """Timestamp of the beginning of what is wanted, which becomes 0 in a drawn video."""
    end_s: float
    """Timestamp of its end; infinite for that of the file."""
    is_part: bool
    """Whether it begins after the beginning of the file."""
    starts_s: tuple[float, ...]
    """Timestamp of the first frame of each part, a key frame."""
    pts_s: tuple[float, ...]
    """Timestamps of all frames that are wanted, in order."""
    first_frames: tuple[int, ...]
    """Index of the first frame of each part."""
    size_wh: tuple[int, int]
    """Of the first frame, in pixels."""
    frame_rate: Fraction
    time_base: Fraction
    pixel_aspect: Fraction

    @property
    def parts(self) -> int:
        """How many there are."""
        return len(self.starts_s)

    def save(self, path: Path) -> None:
        """Write them as JSON."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        fractions = {name: str(value) for name, value in values.items() if isinstance(value, Fraction)}
        path.write_text(json.dumps(values | fractions), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> "Cuts":
        """Read such a file."""
        values = json.loads(path.read_text(encoding="utf-8"))
        tuples = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
        fractions = {name: Fraction(values[name]) for name in ("frame_rate", "time_base", "pixel_aspect")}
        return cls(**(values | tuples | fractions))

    def frames_of(self, part: int) -> range:
        """The indices of the frames of a part."""
        ends = (*self.first_frames[1:], len(self.pts_s))
        return range(self.first_frames[part], ends[part])

    def open_part(self, path: Path, part: int, ahead_s: float = 0.0) -> tuple[VideoFileSource, int]:
        """The frames of a part, and the index of the first one.

        Args:
            path: of the video.
            part: which.
            ahead_s: how much of the part before is read too.

        Raises:
            SourceError: the file cannot be read.
        """
        first = self.first_frames[part]
        while part and first and self.pts_s[first - 1] >= self.starts_s[part] - ahead_s:
            first -= 1
        start_s = self.pts_s[first] + EPSILON_S if part else self.origin_s
        end_s = self.end_s if part == self.parts - 1 else self.starts_s[part + 1] + EPSILON_S
        source = VideoFileSource(
            path,
            start_s=start_s - self.begin_s if part or self.is_part else 0.0,
            duration_s=None if end_s == math.inf else end_s - start_s,
        )
        return source, first


def find_cuts(
    path: Path, part_s: float, *, start_s: float = 0.0, duration_s: float | None = None, workers: int = 1
) -> Cuts | None:
    """Cut a video at key frames into parts of about this length; None if it is too short, or not to be cut.

    Parts are as equal as key frames allow. They are somewhat shorter where each of the workers gets as many then: the
    last part of a video is not to keep one of them busy while the others wait.

    What is wanted of the video begins and ends as with ``VideoFileSource``.

    Only files are cut whose timestamps rise from frame to frame and in which FFmpeg seeks: in others, a frame's time
    is known to those alone who have read all before it.

    Raises:
        SourceError: the file cannot be read.
    """
    frames = _frames(path)
    if frames is None:
        return None
    wanted = VideoFileSource(path, start_s=start_s, duration_s=duration_s)
    with wanted, VideoFileSource(path, start_s=EPSILON_S) as part:
        from_s = wanted.origin_s if wanted.is_part else -math.inf
        found = [(float(pts * wanted.time_base), is_key) for pts, is_key in sorted(frames)]
        found = [frame for frame in found if from_s - TOLERANCE_S <= frame[0] < wanted.end_s - TOLERANCE_S]
        seconds = [pts_s for pts_s, _ in found]
        keys = [rank for rank, (_, is_key) in enumerate(found) if is_key]
        first_frames = _chosen(keys, seconds, _count(seconds, part_s, workers)) if keys else ()
        if len(first_frames) < 2:
            return None
        return Cuts(
            part.begin_s, wanted.origin_s, wanted.end_s, wanted.is_part, tuple(seconds[i] for i in first_frames),
            tuple(seconds), first_frames, wanted.size_wh, wanted.frame_rate, wanted.time_base, wanted.pixel_aspect,
        )  # fmt: skip


def _frames(path: Path) -> list[tuple[int, bool]] | None:
    """Presentation time and whether it is a key frame, of each packet; None if the file should not be cut."""
    errors: list[None] = []
    demuxer = Demuxer(path, lambda: errors.append(None))
    try:
        if not demuxer.can_seek:
            return None
        video, found, last_dts = demuxer.video, list[tuple[int, bool]](), None
        for packet in demuxer.packets():
            if packet.stream_index != video.index:
                continue
            if packet.pts is None or packet.dts is None or packet.is_corrupt or not packet.time_base:
                return None
            if last_dts is not None and not 0 < (packet.dts - last_dts) * packet.time_base < MAX_STEP_S:
                return None
            last_dts = packet.dts
            found.append((packet.pts, packet.is_keyframe))
    except SourceError:
        return None
    finally:
        demuxer.close()
    is_plain = not errors and len({pts for pts, _ in found}) == len(found)
    return found if is_plain else None


def _count(seconds: Sequence[float], part_s: float, workers: int) -> int:
    """How many parts there should be, of half of ``part_s`` at least."""
    shares = (seconds[-1] - seconds[0]) / part_s
    return min(math.ceil(shares / workers) * workers, int(2 * shares)) if shares >= MIN_SHARES else 1


def _chosen(keys: Sequence[int], seconds: Sequence[float], count: int) -> tuple[int, ...]:
    """The first frames of the parts, in order: those of the key frames that come nearest to equal parts."""
    times = np.array([seconds[key] for key in keys])
    ideal = np.linspace(seconds[0], seconds[-1], count, endpoint=False)[1:]
    nearest = {keys[int(np.argmin(np.abs(times - at)))] for at in ideal}
    return tuple(sorted({0, *nearest}))

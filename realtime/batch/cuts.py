"""Where a long video can be cut, so that several workers take a part each."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from fractions import Fraction
from pathlib import Path

from realtime.errors import SourceError
from realtime.sources.demuxer import Demuxer
from realtime.sources.video_file import VideoFileSource

MAX_STEP_S = 10.0
"""From one frame to the next; a longer one may be a joint of two recordings."""
EPSILON_S = 4e-7
"""Less than the tolerance of ``VideoFileSource``: rounding must not make it begin at the key frame before."""


@dataclass(frozen=True, slots=True)
class Cuts:
    """A video that can be cut, and how its parts fit together."""

    begin_s: float
    """Timestamp of the beginning of the file, from which parts are counted."""
    origin_s: float
    """Timestamp that becomes 0 in a drawn video."""
    starts_s: tuple[float, ...]
    """Timestamp of the first frame of each part, a key frame."""
    pts_s: tuple[float, ...]
    """Timestamps of all frames, in order."""
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
        start_s = self.pts_s[first] - self.begin_s + EPSILON_S if part else 0.0
        end_s = None if part == len(self.starts_s) - 1 else self.starts_s[part + 1] - self.begin_s + EPSILON_S
        source = VideoFileSource(path, start_s=start_s, duration_s=None if end_s is None else end_s - start_s)
        return source, first


def find_cuts(path: Path, part_s: float) -> Cuts | None:
    """Cut a video at key frames into parts of about this length; None if it is too short, or not to be cut.

    Only files are cut whose timestamps rise from frame to frame and in which FFmpeg seeks: in others, a frame's time
    is known to those alone who have read all before it.

    Raises:
        SourceError: the file cannot be read.
    """
    frames = _frames(path)
    if frames is None:
        return None
    with VideoFileSource(path) as whole, VideoFileSource(path, start_s=EPSILON_S) as part:
        times = sorted(pts for pts, _ in frames)
        seconds = [float(pts * whole.time_base) for pts in times]
        ranks = {pts: rank for rank, pts in enumerate(times)}
        keys = [ranks[pts] for pts, is_key in frames if is_key]
        first_frames = _chosen(keys, seconds, part_s)
        if len(first_frames) < 2:
            return None
        return Cuts(
            part.begin_s, whole.origin_s, tuple(seconds[i] for i in first_frames), tuple(seconds), first_frames,
            whole.size_wh, whole.frame_rate, whole.time_base, whole.pixel_aspect,
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


def _chosen(keys: Sequence[int], seconds: Sequence[float], part_s: float) -> tuple[int, ...]:
    """The first frames of the parts, of those that are key frames; the last part is no shorter than half of one."""
    chosen = [0]
    for key in sorted(keys):
        if seconds[key] - seconds[chosen[-1]] >= part_s and seconds[-1] - seconds[key] >= part_s / 2:
            chosen.append(key)
    return tuple(chosen)

"""A long run of ``realtime video`` in this process: memory and time of a frame from the beginning to the end."""

import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from steadiness import SAMPLE

from realtime.commands.outputs import Outputs
from realtime.controls import Controls
from realtime.ffmpeg import av
from realtime.inference.cores import file_concurrency
from realtime.inference.detector import OnnxDetector, find_model
from realtime.inference.providers import Provider
from realtime.pipeline import Pipeline
from realtime.results import Result
from realtime.sinks.base import ClosingSink, Ending, Sink
from realtime.sources.video_file import VideoFileSource

SETTLED_FRAMES = 500
"""By then buffers, caches and arenas have their sizes."""
GROWTH_MARK = 0.02
DRIFT_SHARE = 0.1
SAMPLES = 200
"""Looks at the memory in a run."""


class Watch(ClosingSink):
    """Notes when each frame came, and now and then how much memory this process holds."""

    needs_canvas = False
    is_slow = False

    def __init__(self, frames: int) -> None:
        self.times_s = np.zeros(frames)  # all at once: it must not grow itself
        self.rss_mib: dict[int, float] = {}
        self._done = 0
        self._settled = settled_frames(frames)
        self._every = max(1, (frames - self._settled) // SAMPLES)
        self.times_s.fill(0)

    def write(self, result: Result) -> None:
        """Count one frame."""
        self.times_s[self._done] = time.perf_counter()
        self._done += 1
        since = self._done - self._settled
        if since >= 0 and (since % self._every == 0 or self._done == len(self.times_s)):
            self.rss_mib[self._done] = resident_mib()

    def close(self, ending: Ending) -> None:
        """Nothing is held."""


def settled_frames(frames: int) -> int:
    """Frames after which memory shall stay as it is; half of a run that is too short to settle."""
    return min(SETTLED_FRAMES, frames // 2)


def endure(model: str, frames: int, more_sinks: Sequence[Sink] = ()) -> dict[str, Any]:
    """Run a video of so many frames through decoder, detector, encoder and JSON lines.

    Args:
        model: name of a shipped model, or an ONNX file.
        frames: how many.
        more_sinks: further takers of the results.

    Returns:
        Plain JSON values: memory in MiB, milliseconds between frames, growth and drift as shares.
    """
    watch = Watch(frames)
    detector = OnnxDetector(find_model(model), provider=Provider.CPU, concurrency=file_concurrency())
    with tempfile.TemporaryDirectory() as folder:
        source = VideoFileSource(repeated(SAMPLE, Path(folder) / "long.mp4", frames))
        outputs = Outputs(
            window=False, video=Path(folder) / "out.mp4", jsonl=Path(folder) / "out.jsonl", original=source
        )
        sinks = [*outputs.open(source), *more_sinks, watch]
        stats = Pipeline(source, detector, sinks, Controls(detector.metadata.threshold)).run(max_frames=frames)
    return {"frames": stats.frames, "frames_per_s": round(stats.frames_per_s, 2), "pid": os.getpid(), **figures(watch)}


def figures(watch: Watch) -> dict[str, Any]:
    """Growth of memory after it has settled, and of the time of a frame from the first tenth to the last."""
    frames = len(watch.times_s)
    settled = settled_frames(frames)
    part = max(1, round(DRIFT_SHARE * (frames - 1)))
    # Means, since frames that are detected at a time come in bunches.
    times_s = watch.times_s
    first, last = (
        1000 * float(end - begin) / part for begin, end in ((times_s[0], times_s[part]), times_s[[-1 - part, -1]])
    )
    rss = {"settled": watch.rss_mib[settled], "end": watch.rss_mib[frames], "most": max(watch.rss_mib.values())}
    growth = rss["end"] / rss["settled"] - 1
    return {
        "settled_frames": settled,
        "rss_mib": {name: round(value, 2) for name, value in rss.items()},
        "rss_mib_after": {str(frame): round(value, 2) for frame, value in watch.rss_mib.items()},
        "growth": round(growth, 5),
        "frame_ms": {"first": round(first, 3), "last": round(last, 3)},
        "drift": round(last / first - 1, 4),
        "mark": {"growth": GROWTH_MARK, "met": growth <= GROWTH_MARK},
    }


def repeated(clip: Path, path: Path, frames: int) -> Path:
    """Write the coded images of a clip again and again, at least ``frames`` of them, one after the other."""
    with av.open(str(clip)) as original:
        stream = original.streams.video[0]
        packets = [packet for packet in original.demux(stream) if packet.size]
        coded: list[tuple[bytes, Any, Any, Any, bool]] = [
            (bytes(packet), packet.pts, packet.dts, packet.duration, packet.is_keyframe) for packet in packets
        ]
        length = sum(duration for _, _, _, duration, _ in coded)
        time_base = stream.time_base
        assert time_base is not None
        with av.open(str(path), "w") as container:
            copy = container.add_stream_from_template(stream)
            for turn in range(-(-frames // len(coded))):
                for data, pts, dts, duration, is_key in coded:
                    packet = av.Packet(data)
                    packet.stream, packet.time_base, packet.is_keyframe = copy, time_base, is_key
                    packet.pts, packet.dts, packet.duration = pts + turn * length, dts + turn * length, duration
                    container.mux(packet)
    return path


def resident_mib() -> float:
    """Memory that this process holds now; where the system does not tell, the most that it ever held."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (2**20 if sys.platform == "darwin" else 2**10)

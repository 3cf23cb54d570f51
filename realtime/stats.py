"""Times of a run."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

STAGES = ("read", "preprocess", "infer", "track", "render", "hand_over", "write")
"""``read`` and ``write`` (encoding) are times of their own threads, ``preprocess`` and ``infer`` too where several
frames are detected at a time; ``hand_over`` is what all sinks cost the main loop, waiting for a full encoder
included."""
WINDOW = 10_000
"""Times kept for each stage: percentiles of long runs are those of their last frames, and memory stays flat."""


@dataclass(frozen=True, slots=True)
class RunStats:
    """Summary of a run."""

    frames: int
    dropped: int
    """Frames of a live source that were never looked at, since newer ones had come."""
    wall_s: float
    stages_ms: dict[str, dict[str, float]]
    """p50, p95 and p99 of each stage in milliseconds."""

    @property
    def frames_per_s(self) -> float:
        """Frames by wall time."""
        return self.frames / self.wall_s if self.wall_s > 0 else 0.0


class Stopwatch:
    """Collects the milliseconds of each stage."""

    def __init__(self) -> None:
        self._times_ms = {stage: np.zeros(WINDOW, np.float32) for stage in STAGES}  # rings: the oldest is replaced
        self._counts = dict.fromkeys(STAGES, 0)
        self._started_s = time.perf_counter()

    def start(self) -> None:
        """Let the wall clock begin."""
        self._started_s = time.perf_counter()

    @property
    def wall_s(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self._started_s

    @contextmanager
    def time(self, stage: str) -> Iterator[None]:
        """Time a block."""
        started = time.perf_counter()
        yield
        self.add(stage, 1000 * (time.perf_counter() - started))

    def add(self, stage: str, milliseconds: float) -> None:
        """Add a time that was measured elsewhere; one thread a stage."""
        self._times_ms[stage][self._counts[stage] % WINDOW] = milliseconds
        self._counts[stage] += 1

    def summary(self, frames: int, dropped: int) -> RunStats:
        """The statistics up to now."""
        stages = {}
        for stage, count in self._counts.items():
            if count:
                times_ms = np.sort(self._times_ms[stage][:count])
                # np.percentile does the same, but imports masked arrays first: 65 ms at the end of every command.
                places = np.array([0.50, 0.95, 0.99]) * (len(times_ms) - 1)
                p50, p95, p99 = np.interp(places, np.arange(len(times_ms)), times_ms).tolist()
                stages[stage] = {"p50": round(p50, 3), "p95": round(p95, 3), "p99": round(p99, 3)}
        return RunStats(frames, dropped, self.wall_s, stages)

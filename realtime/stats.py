"""Times of a run."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from realtime.structures import Frame

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


class Meter:
    """Rate and latency of the shown frames, as means over the last second."""

    WINDOW_S = 1.0

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._shown: deque[tuple[float, float]] = deque()
        """Time of showing and age of each, in seconds."""
        self._is_stale = False
        self._count = 0
        self.dropped = 0
        """Frames that were read and not shown, by the gaps in their indices."""

    def shown(self, frame: Frame) -> None:
        """A frame is about to be shown."""
        now_s = self._clock()
        if self._is_stale:
            self._shown.clear()
            self._is_stale = False
        self._shown.append((now_s, now_s - frame.captured_at_s))
        # Two are kept at least, so that a rate below one frame a second is known too.
        while len(self._shown) > 2 and now_s - self._shown[0][0] > self.WINDOW_S:
            self._shown.popleft()
        self._count += 1
        self.dropped = frame.index + 1 - self._count

    def paused(self) -> None:
        """The time until the next frame does not count: start over with it."""
        self._is_stale = True

    @property
    def frames_per_s(self) -> float:
        """0 before the second frame; falls while none comes."""
        passed_s = self._shown[-1][0] - self._shown[0][0] if self._shown else 0.0
        if passed_s <= 0:
            return 0.0
        rate, idle_s = (len(self._shown) - 1) / passed_s, self._idle_s()
        return min(rate, 1 / idle_s) if idle_s > self.WINDOW_S else rate

    @property
    def latency_ms(self) -> float:
        """Age of the shown frames, the time since they were grabbed; of the last one, while none comes."""
        if not self._shown:
            return 0.0
        idle_s = self._idle_s()
        if idle_s > self.WINDOW_S:
            return 1000 * (idle_s + self._shown[-1][1])
        return 1000 * sum(age_s for _, age_s in self._shown) / len(self._shown)

    def _idle_s(self) -> float:
        """Time since the last frame, pauses left out."""
        return 0.0 if self._is_stale else self._clock() - self._shown[-1][0]

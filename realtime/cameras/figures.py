"""The figures of one camera."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from realtime.results import Result
from realtime.stats import Meter

SMOOTHING = 0.1
"""Weight of the newest frame in the mean time of inference."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one camera, up to now."""

    frames: int = 0
    """Frames with a result."""
    dropped: int = 0
    """Frames that newer ones replaced before they were looked at."""
    faces: int = 0
    """In the latest frame."""
    faces_seen: int = 0
    """Different faces since the start."""
    frames_per_s: float = 0.0
    """Over the last second."""
    age_ms: float = 0.0
    """From capture to result, over the last second; while no frame comes, the age of the last one."""
    infer_ms: float = 0.0
    """Mean time of the network."""


class FigureKeeper:
    """Keeps the figures of one camera; noted by the thread that detects, read by any."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._lock = threading.Lock()
        self._meter = Meter(clock)
        self._frames = self._faces = 0
        self._infer_ms = 0.0
        self._last_face = 0
        self._faces_seen = 0

    def note(self, result: Result, infer_ms: float) -> None:
        """A frame has its result."""
        with self._lock:
            self._meter.shown(result.frame)
            self._frames += 1
            self._faces = len(result.faces)
            new = [face.id for face in result.faces if face.id > self._last_face]  # ids rise and are not used again
            self._faces_seen += len(new)
            self._last_face = max([self._last_face, *new])
            weight = SMOOTHING if self._frames > 1 else 1.0
            self._infer_ms += weight * (infer_ms - self._infer_ms)

    def now(self) -> Figures:
        """The figures up to now."""
        with self._lock:
            meter = self._meter
            return Figures(
                frames=self._frames,
                dropped=meter.dropped,
                faces=self._faces,
                faces_seen=self._faces_seen,
                frames_per_s=meter.frames_per_s,
                age_ms=meter.latency_ms,
                infer_ms=self._infer_ms,
            )

"""From the frames of a source to results: reading ahead, detection and tracking."""

import math
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial

from realtime.controls import Controls
from realtime.faces.tracker import FaceTracker
from realtime.inference.timed import Detected, Detector
from realtime.regions.frames import FrameDetector
from realtime.regions.tiles import Reach
from realtime.results import Result
from realtime.sources.base import FrameSource
from realtime.sources.capture import CaptureThread
from realtime.stats import Stopwatch
from realtime.structures import Frame

IDLE_S = 0.05
"""How often ``on_idle`` is called while no frame comes."""


class ResultStream:
    """The results of a source, in the order of its frames.

    A thread reads ahead. Frames are detected in the caller's thread, one after the other, or several at once in threads
    of their own, as the detector asks: a network on one core never waits for other threads after each of its layers, so
    that a core for each frame gives more frames per second than all cores for one frame. But each takes longer, which
    is too late for live sources.
    """

    def __init__(
        self,
        source: FrameSource,
        detector: Detector,
        controls: Controls,
        *,
        raw: bool = False,
        reach: Reach | None = None,
        stopwatch: Stopwatch | None = None,
        on_idle: Callable[[], None] | None = None,
    ) -> None:
        """Nothing is read yet.

        Args:
            source: of the frames; it is closed by ``close``.
            detector: finds boxes in them.
            controls: what may change meanwhile: the threshold, a pause, the end.
            raw: leave boxes and scores as the detector gives them, neither smoothed nor continued below the threshold.
            reach: how far to look for faces; by default at the whole frame, once. In a frame that comes live or that a
                user sees at once, it is at most one look more.
            stopwatch: collects the time of each stage.
            on_idle: called repeatedly while the run is paused or no frame comes; without it there are no pauses.
        """
        self.is_complete = False
        """True once the source has given its last frame."""
        self._controls = controls
        self._on_idle = on_idle
        self._stopwatch = stopwatch or Stopwatch()
        self._tracker = FaceTracker(detector.metadata.class_names, raw=raw, levels=detector.metadata.levels)
        is_live = source.is_live or on_idle is not None
        self._detector = FrameDetector(detector, reach or Reach.near(), is_live=is_live, frame_wh=source.size_wh)
        self._capture = CaptureThread(source, on_read=partial(self._stopwatch.add, "read"))

    @property
    def dropped(self) -> int:
        """Frames of a live source that newer ones replaced before they were looked at."""
        return self._capture.dropped

    def results(self, max_frames: int | None = None, duration_s: float | None = None) -> Iterator[Result]:
        """Start, and give one result after another, until the source ends, a limit is reached or ``stop`` is called.

        Raises:
            RealtimeError: the source broke, after the results of all frames before, or the network failed.
        """
        self._stopwatch.start()
        self._capture.start()
        for detected in self._detector.map(self._frames(max_frames, duration_s)):
            yield self._track(detected)

    def stop(self) -> None:
        """End the stream soon; from any thread or a signal handler."""
        self._controls.ended = True
        # Wakes a reader that waits for a frame. In a thread, since a signal may interrupt the very code that holds the
        # lock.
        threading.Thread(target=self._capture.buffer.close, kwargs={"discard": True}, name="stop").start()

    def close(self) -> None:
        """End all threads and close the source. May be called twice."""
        with ExitStack() as closing:
            closing.callback(self._detector.close)
            closing.callback(self._capture.stop)

    def _frames(self, max_frames: int | None, duration_s: float | None) -> Iterator[Frame]:
        buffer, taken = self._capture.buffer, 0
        while not self._controls.ended and (max_frames is None or taken < max_frames):
            left_s = math.inf if duration_s is None else duration_s - self._stopwatch.wall_s
            if left_s <= 0:
                return
            if self._on_idle and self._controls.is_held:
                self._on_idle()
                continue
            was_closed = buffer.is_closed  # asked first: the last frame or an error may come right after the wait
            wait_s = min(left_s, IDLE_S if self._on_idle else math.inf)
            frame = buffer.get(None if wait_s == math.inf else wait_s)
            if self._controls.ended:
                return
            if frame is not None:
                self._controls.step_wanted = False
                taken += 1
                yield frame
            elif was_closed:
                self.is_complete = True
                return
            elif self._on_idle:
                self._on_idle()

    def _track(self, detected: Detected) -> Result:
        self._stopwatch.add("preprocess", detected.preprocess_ms)
        self._stopwatch.add("infer", detected.infer_ms)
        frame, threshold = detected.frame, self._controls.threshold
        with self._stopwatch.time("track"):
            candidates = self._tracker.update(
                detected.found,
                threshold=threshold,
                pts_s=frame.pts_s,
                side_px=max(frame.image.shape[:2]),
                looks=detected.looks,
            )
            self._detector.note(detected, self._tracker.known())
            return Result(frame, candidates.above_or_in_face(threshold), candidates=candidates)

"""The run: frames from a source through the detector to the sinks."""

import threading
import time
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from realtime.capture import CaptureThread
from realtime.metadata import ModelMetadata
from realtime.preprocess import LetterboxTransform
from realtime.render import draw, draw_status
from realtime.sinks.base import Sink, StopRun
from realtime.sinks.threaded import ThreadedSink
from realtime.sources.base import FrameSource
from realtime.stats import RunStats, Stopwatch
from realtime.structures import Detections, Frame


class Detector(Protocol):
    """What the pipeline needs of a detector: its two stages, so that each can be timed."""

    metadata: ModelMetadata

    def preprocess(self, image: np.ndarray) -> tuple[np.ndarray, LetterboxTransform]:
        """The network's input for a picture uint8 (H,W,3) BGR, and the transform for its boxes."""

    def infer(self, network_input: np.ndarray, transform: LetterboxTransform) -> Detections:
        """Detections with boxes in pixels of the picture, best first."""


class Pipeline:
    """Reads in one thread, detects and draws in the caller's, encodes in a third; closes all that it was given.

    Whatever ends a run (end of the stream, a limit, ``stop``, an error anywhere), the same ``finally`` stops the
    capture thread, closes the source, then the sinks in reverse, and raises the first error.
    """

    def __init__(
        self,
        source: FrameSource,
        detector: Detector,
        sinks: Sequence[Sink],
        *,
        threshold: float,
        show_status: bool = False,
    ) -> None:
        """``threshold``: least score of the detections that sinks get; ``show_status``: draw frames/s and drops."""
        self._detector = detector
        self._threshold = threshold
        self._show_status = show_status
        self._needs_canvas = any(sink.needs_canvas for sink in sinks)
        self._stopwatch = Stopwatch()
        self._sinks: list[Sink] = [
            ThreadedSink(sink, lambda ms: self._stopwatch.add("write", ms)) if sink.is_slow else sink for sink in sinks
        ]
        self._stopping = threading.Event()
        self._capture = CaptureThread(source, on_read=lambda ms: self._stopwatch.add("read", ms))

    def run(self, max_frames: int | None = None, duration_s: float | None = None) -> RunStats:
        """Run until the stream ends, a limit is reached or ``stop`` is called.

        Raises:
            RealtimeError: the first error of source, detector or sinks, after everything was closed.
        """
        frames = 0
        started = time.monotonic()
        error: BaseException | None = None
        try:
            self._capture.start()
            while not self._stopping.is_set():
                if max_frames is not None and frames >= max_frames:
                    break
                if duration_s is not None and time.monotonic() - started >= duration_s:
                    break
                frame = self._capture.buffer.get()
                if frame is None:
                    break
                self._process(frame, frames / max(time.monotonic() - started, 1e-6))
                frames += 1
        except StopRun:
            pass
        except BaseException as raised:
            error = raised
        finally:
            error = self._close(error)
        if error is not None:
            raise error
        return self._stopwatch.summary(frames, self._capture.buffer.dropped)

    def stop(self) -> None:
        """End the run soon; from any thread or a signal handler."""
        self._stopping.set()
        # Wakes a run that waits for a frame. In a thread, since a signal may interrupt the very code that has the lock.
        threading.Thread(target=self._capture.buffer.close, kwargs={"discard": True}, name="stop").start()

    def _process(self, frame: Frame, frames_per_s: float) -> None:
        time_stage = self._stopwatch.time
        with time_stage("preprocess"):
            network_input, transform = self._detector.preprocess(frame.image)
        with time_stage("infer"):
            detections = self._detector.infer(network_input, transform).above(self._threshold)
        canvas = frame.image
        if self._needs_canvas:
            with time_stage("render"):
                canvas = draw(frame.image, detections, self._detector.metadata.class_names)
                if self._show_status:
                    draw_status(canvas, f"{frames_per_s:.1f} FPS  {self._capture.buffer.dropped} dropped")
        with time_stage("hand_over"):
            for sink in self._sinks:
                sink.write(frame, detections, canvas)

    def _close(self, error: BaseException | None) -> BaseException | None:
        """Close everything, come what may; return the first error."""
        try:
            self._capture.stop()
        except BaseException as raised:
            error = error or raised
        for sink in reversed(self._sinks):
            try:
                sink.close(failed=error is not None)
            except BaseException as raised:
                error = error or raised
        return error

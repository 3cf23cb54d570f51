"""The run: frames from a source through the detector to the sinks."""

import threading
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from realtime.capture import CaptureThread
from realtime.metadata import ModelMetadata
from realtime.preprocess import LetterboxTransform
from realtime.render import draw, draw_status
from realtime.sinks.base import Ending, Sink, StopRun
from realtime.sinks.threaded import ThreadedSink
from realtime.sources.base import FrameSource
from realtime.stats import RunStats, Stopwatch
from realtime.structures import Detections, Frame, Result


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
    capture thread, closes the source, then the sinks in reverse, and raises the first error. An error costs no more
    than the part that failed: the other sinks keep what was done.
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
        self._frames = 0
        self._writing: Sink | None = None
        """The sink that has a result in hand: if an error ends the run there, that sink is the one that failed."""
        self._capture = CaptureThread(source, on_read=lambda ms: self._stopwatch.add("read", ms))

    def run(self, max_frames: int | None = None, duration_s: float | None = None) -> RunStats:
        """Run until the stream ends, a limit is reached or ``stop`` is called.

        Raises:
            RealtimeError: the first error of source, detector or sinks, after everything was closed.
        """
        error: BaseException | None = None
        ending = Ending.STOPPED
        try:
            self._stopwatch.start()
            self._capture.start()
            ending = self._loop(max_frames, duration_s)
        except StopRun:
            pass
        except BaseException as raised:
            # What was done before an error is kept; a second Ctrl+C, which is no Exception, keeps nothing.
            error, ending = raised, Ending.STOPPED if isinstance(raised, Exception) else Ending.FAILED
        finally:
            error = self._close(error, ending)
        if error is not None:
            raise error
        return self._stopwatch.summary(self._frames, self._capture.buffer.dropped)

    def stop(self) -> None:
        """End the run soon; from any thread or a signal handler."""
        self._stopping.set()
        # Wakes a run that waits for a frame. In a thread, since a signal may interrupt the very code that has the lock.
        threading.Thread(target=self._capture.buffer.close, kwargs={"discard": True}, name="stop").start()

    def _loop(self, max_frames: int | None, duration_s: float | None) -> Ending:
        while max_frames is None or self._frames < max_frames:
            left_s = None if duration_s is None else duration_s - self._stopwatch.wall_s
            if left_s is not None and left_s <= 0:
                return Ending.STOPPED
            frame = self._capture.buffer.get(left_s)
            if self._stopping.is_set():
                return Ending.STOPPED
            if frame is None:
                return Ending.COMPLETE if self._capture.buffer.is_closed else Ending.STOPPED
            self._process(frame)
            self._frames += 1
        return Ending.STOPPED

    def _process(self, frame: Frame) -> None:
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
                    rate = self._frames / max(self._stopwatch.wall_s, 1e-6)
                    draw_status(canvas, f"{rate:.1f} FPS  {self._capture.buffer.dropped} dropped")
        result = Result(frame, detections, canvas)
        with time_stage("hand_over"):
            for sink in self._sinks:
                self._writing = sink
                sink.write(result)
            self._writing = None

    def _close(self, error: BaseException | None, ending: Ending) -> BaseException | None:
        """Close everything, come what may; return the first error."""
        if ending is Ending.STOPPED and self._frames == 0:
            ending = Ending.FAILED  # there is nothing to keep, and older files of these names are worth more
        try:
            self._capture.stop()
        except BaseException as raised:
            error = error or raised
            ending = ending if isinstance(raised, Exception) else Ending.FAILED
        for sink in reversed(self._sinks):
            failed = error is not None and sink is self._writing
            try:
                sink.close(Ending.FAILED if failed else ending)
            except Exception as raised:
                error = error or raised
            except BaseException as raised:  # a second Ctrl+C; perhaps the sink had not even begun to close
                error, ending = error or raised, Ending.FAILED
                sink.close(ending)
        return error

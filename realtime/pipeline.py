"""The run: frames from a source through the detector to the sinks."""

import threading
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from realtime.capture import CaptureThread
from realtime.controls import Controls
from realtime.metadata import ModelMetadata
from realtime.preprocess import LetterboxTransform
from realtime.render import draw, labelled_boxes
from realtime.sinks.base import Ending, Sink, StopRun
from realtime.sinks.threaded import ThreadedSink
from realtime.sources.base import FrameSource
from realtime.stats import RunStats, Stopwatch
from realtime.structures import Detections, Frame, Result
from realtime.tracking import FaceTracker

IDLE_S = 0.05
"""How often a window is heeded while no frame comes."""


class Detector(Protocol):
    """What the pipeline needs of a detector: its two stages, so that each can be timed."""

    metadata: ModelMetadata

    def preprocess(self, image: np.ndarray) -> tuple[np.ndarray, LetterboxTransform]:
        """The network's input for a picture uint8 (H,W,3) BGR, and the transform for its boxes."""

    def infer(self, network_input: np.ndarray, transform: LetterboxTransform) -> Detections:
        """All detections above the model's ``min_score``, boxes in pixels of the picture, best first."""


Renderer = Callable[[Frame, Detections], np.ndarray]
"""Makes of a frame and what was found in it the picture uint8 (H,W,3) BGR to be looked at; called once a frame."""


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
        controls: Controls,
        *,
        on_idle: Callable[[], None] | None = None,
        raw: bool = False,
        renderer: Renderer | None = None,
    ) -> None:
        """
        Args:
            source: of the frames.
            detector: finds boxes in them.
            sinks: get the results, in this order.
            controls: what may change during the run; the least score of the detections that sinks get, among others.
            on_idle: called again and again while the run is paused or no frame comes; only with it is a pause heeded.
            raw: leave boxes and scores as the detector gives them, neither smoothed nor going on below the threshold.
            renderer: in place of drawing boxes.
        """  # noqa: D205
        self._detector = detector
        self._controls = controls
        self._on_idle = on_idle
        self._tracker = FaceTracker(detector.metadata.class_names, raw=raw)
        self._render = renderer or self._draw
        self._stopwatch = Stopwatch()
        self._sinks: list[Sink] = [
            ThreadedSink(sink, lambda ms: self._stopwatch.add("write", ms)) if sink.is_slow else sink for sink in sinks
        ]
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
        return self._stopwatch.summary(self._frames, self._capture.dropped)

    def stop(self) -> None:
        """End the run soon; from any thread or a signal handler."""
        self._controls.ended = True
        # Wakes a run that waits for a frame. In a thread, since a signal may interrupt the very code that has the lock.
        threading.Thread(target=self._capture.buffer.close, kwargs={"discard": True}, name="stop").start()

    def _loop(self, max_frames: int | None, duration_s: float | None) -> Ending:
        buffer = self._capture.buffer
        while max_frames is None or self._frames < max_frames:
            left_s = None if duration_s is None else duration_s - self._stopwatch.wall_s
            if self._controls.ended or (left_s is not None and left_s <= 0):
                break
            if self._on_idle and self._controls.is_held:
                self._on_idle()
                continue
            was_closed = buffer.is_closed  # asked first: the last frame or an error may come right after the wait
            frame = buffer.get(IDLE_S if self._on_idle and (left_s is None or left_s > IDLE_S) else left_s)
            if self._controls.ended:
                break
            if frame is not None:
                self._controls.step_wanted = False
                self._process(frame)
                self._frames += 1
            elif was_closed:
                return Ending.COMPLETE
            elif self._on_idle:
                self._on_idle()
        return Ending.STOPPED

    def _process(self, frame: Frame) -> None:
        time_stage = self._stopwatch.time
        with time_stage("preprocess"):
            network_input, transform = self._detector.preprocess(frame.image)
        with time_stage("infer"):
            found = self._detector.infer(network_input, transform)
        with time_stage("track"):
            detections, faces = self._tracker.update(
                found, threshold=self._controls.threshold, pts_s=frame.pts_s, side_px=max(frame.image.shape[:2])
            )
        canvas = frame.image
        if any(sink.needs_canvas for sink in self._sinks):
            with time_stage("render"):
                canvas = self._render(frame, detections)
        result = Result(frame, detections, canvas, faces, self._tracker.steadied)
        with time_stage("hand_over"):
            for sink in self._sinks:
                self._writing = sink
                sink.write(result)
            self._writing = None

    def _draw(self, frame: Frame, detections: Detections) -> np.ndarray:
        canvas = frame.image.copy()  # it is encoded while the next one is drawn
        names = self._detector.metadata.class_names
        draw(canvas, labelled_boxes(detections, names, self._controls.hidden), labels=self._controls.labels)
        return canvas

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

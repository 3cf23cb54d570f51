"""The run: frames from a source through the detector to the sinks."""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from realtime.controls import Controls
from realtime.faces.tracker import FaceTracker
from realtime.inference.ordered_pool import OrderedPool
from realtime.inference.timed import Detected, Detector, detect_in
from realtime.results import Result
from realtime.sinks.base import Ending, Sink, StopRun
from realtime.sinks.threaded import ThreadedSink
from realtime.sources.base import FrameSource
from realtime.sources.capture import CaptureThread
from realtime.stats import RunStats, Stopwatch
from realtime.structures import Detections, Frame

IDLE_S = 0.05
"""How often a window is heeded while no frame comes."""


Renderer = Callable[[Frame, Detections], np.ndarray]
"""Makes of a frame and what was found in it the picture uint8 (H,W,3) BGR to be looked at; called once a frame."""


class Pipeline:
    """Reads in one thread, draws in the caller's, encodes in a third; closes all that it was given.

    Frames are detected in the caller's thread too, one after the other, or several at a time in threads of their own,
    as the detector wants it: a network on one core never waits for other threads at each of its layers, so that frames
    on a core each are more frames a second than one frame on all cores. But each takes longer, and live is late.

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
            detector: finds boxes in them; one frame at a time if frames come live, or if a user sees and holds them.
            sinks: get the results, in this order.
            controls: what may change during the run; the least score of the detections that sinks get, among others.
            on_idle: called again and again while the run is paused or no frame comes; only with it is a pause heeded.
            raw: leave boxes and scores as the detector gives them, neither smoothed nor going on below the threshold.
            renderer: in place of drawing boxes.
        """  # noqa: D205
        self._detecting = OrderedPool(partial(detect_in, detector), detector.concurrency, name="detect")
        self._controls = controls
        self._on_idle = on_idle
        self._tracker = FaceTracker(detector.metadata.class_names, raw=raw)
        self._renderer = renderer
        self._stopwatch = Stopwatch()
        on_write = partial(self._stopwatch.add, "write")
        self._sinks: list[Sink] = [ThreadedSink(sink, on_write) if sink.is_slow else sink for sink in sinks]
        self._frames = 0
        self._is_read_out = False
        """Whether the source has given its last frame."""
        self._writing: Sink | None = None
        """The sink that has a result in hand: if an error ends the run there, that sink is the one that failed."""
        self._capture = CaptureThread(source, on_read=partial(self._stopwatch.add, "read"))

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
        for detected in self._detecting.map(self._incoming(max_frames, duration_s)):
            self._process(detected)
            self._frames += 1
        return Ending.COMPLETE if self._is_read_out else Ending.STOPPED

    def _incoming(self, max_frames: int | None, duration_s: float | None) -> Iterator[Frame]:
        """Frames as they come and are wanted, until the stream ends, a limit is reached or the run shall end."""
        buffer = self._capture.buffer
        taken = 0
        while max_frames is None or taken < max_frames:
            left_s = None if duration_s is None else duration_s - self._stopwatch.wall_s
            if self._controls.ended or (left_s is not None and left_s <= 0):
                return
            if self._on_idle and self._controls.is_held:
                self._on_idle()
                continue
            was_closed = buffer.is_closed  # asked first: the last frame or an error may come right after the wait
            frame = buffer.get(IDLE_S if self._on_idle and (left_s is None or left_s > IDLE_S) else left_s)
            if self._controls.ended:
                return
            if frame is not None:
                self._controls.step_wanted = False
                taken += 1
                yield frame
            elif was_closed:
                self._is_read_out = True
                return
            elif self._on_idle:
                self._on_idle()

    def _process(self, detected: Detected) -> None:
        frame = detected.frame
        self._stopwatch.add("preprocess", detected.preprocess_ms)
        self._stopwatch.add("infer", detected.infer_ms)
        time_stage = self._stopwatch.time
        with time_stage("track"):
            candidates = self._tracker.update(
                detected.found,
                threshold=self._controls.threshold,
                pts_s=frame.pts_s,
                side_px=max(frame.image.shape[:2]),
            )
            detections = candidates.above_or_in_face(self._controls.threshold)
        result = Result(frame, detections, candidates=candidates)
        if any(sink.needs_canvas for sink in self._sinks):
            with time_stage("render"):
                result = replace(result, canvas=self._render(result))
        with time_stage("hand_over"):
            for sink in self._sinks:
                self._writing = sink
                sink.write(result)
            self._writing = None

    def _render(self, result: Result) -> np.ndarray:
        if self._renderer:
            return self._renderer(result.frame, result.detections)
        return result.draw(labels=self._controls.labels, hidden=self._controls.hidden)

    def _close(self, error: BaseException | None, ending: Ending) -> BaseException | None:
        """Close everything, come what may; return the first error."""
        if ending is Ending.STOPPED and self._frames == 0:
            ending = Ending.FAILED  # there is nothing to keep, and older files of these names are worth more
        try:
            self._capture.stop()
        except BaseException as raised:
            error = error or raised
            ending = ending if isinstance(raised, Exception) else Ending.FAILED
        try:
            self._detecting.close()
        except BaseException as raised:  # a second Ctrl+C
            error, ending = error or raised, Ending.FAILED
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

"""The run: results from a stream to the sinks."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from realtime.controls import Controls
from realtime.drawing.look_ahead import LookAheadHider
from realtime.inference.timed import Detector
from realtime.regions.tiles import Reach
from realtime.result_stream import ResultStream
from realtime.results import Result
from realtime.sinks.base import Ending, Sink, StopRun
from realtime.sinks.threaded import ThreadedSink
from realtime.sources.base import FrameSource
from realtime.stats import RunStats, Stopwatch
from realtime.structures import Detections, Frame

Renderer = Callable[[Frame, Detections], np.ndarray]
"""Makes the image to show, uint8 (H,W,3) BGR, of a frame and what was found in it; called once a frame."""


class Pipeline:
    """Reads in one thread, detects and draws in the caller's, encodes in a third; closes all that it was given.

    Whatever ends a run (end of the source, a limit, ``stop``, an error anywhere), the same ``finally`` ends the
    stream, closes the sinks in reverse order, and raises the first error. An error costs no more than the part that
    failed: the other sinks keep what was done.
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
        reach: Reach | None = None,
        renderer: Renderer | None = None,
    ) -> None:
        """Take over source and sinks; nothing is read yet.

        Args:
            source: of the frames.
            detector: finds boxes in them, one frame at once if frames come live, or if a user sees and pauses them.
            sinks: get the results, in this order.
            controls: what may change during the run, such as the threshold of the detections that sinks get.
            on_idle: called repeatedly while the run is paused or no frame comes; without it there are no pauses.
            raw: leave boxes and scores as the detector gives them, neither smoothed nor continued below the threshold.
            reach: how far to look for faces; by default at the whole frame, once.
            renderer: in place of drawing boxes.
        """
        self._controls = controls
        self._renderer = renderer
        self._stopwatch = Stopwatch()
        self._stream = ResultStream(
            source, detector, controls, raw=raw, reach=reach, stopwatch=self._stopwatch, on_idle=on_idle
        )
        on_write = partial(self._stopwatch.add, "write")
        self._sinks: list[Sink] = [ThreadedSink(sink, on_write) if sink.is_slow else sink for sink in sinks]
        self._frames = 0
        self._writing: Sink | None = None
        """The sink that holds a result: if an error ends the run there, that sink is the one that failed."""

    def run(self, max_frames: int | None = None, duration_s: float | None = None) -> RunStats:
        """Run until the source ends, a limit is reached or ``stop`` is called.

        Raises:
            RealtimeError: the first error of source, detector or sinks, after everything was closed.
        """
        shutdown = _Shutdown()
        try:
            for result in self._results(max_frames, duration_s):
                self._hand_over(result)
                self._frames += 1
            if self._stream.is_complete:
                shutdown.ending = Ending.COMPLETE
        except StopRun:
            pass
        except BaseException as raised:
            shutdown.note(raised)
        finally:
            self._close(shutdown)
        if shutdown.error is not None:
            raise shutdown.error
        return self._stopwatch.summary(self._frames, self._stream.dropped)

    def stop(self) -> None:
        """End the run soon; from any thread or a signal handler."""
        self._stream.stop()

    def close_without(self, sink: Sink) -> None:
        """Close all but one sink, which cannot be closed any more, as a stopped run does; nothing can be run after it.

        Raises:
            RealtimeError: the first error.
        """
        self._sinks.remove(sink)
        shutdown = _Shutdown()
        self._close(shutdown)
        if shutdown.error is not None:
            raise shutdown.error

    def _results(self, max_frames: int | None, duration_s: float | None) -> Iterator[Result]:
        """Those of the stream, delayed if what is drawn depends on later ones."""
        results = self._stream.results(max_frames, duration_s)
        if isinstance(self._renderer, LookAheadHider):
            return self._renderer.delayed(results, lambda result: (result.frame, result.detections))
        return results

    def _hand_over(self, result: Result) -> None:
        if any(sink.needs_canvas for sink in self._sinks):
            with self._stopwatch.time("render"):
                result = replace(result, canvas=self._render(result))
        with self._stopwatch.time("hand_over"):
            for sink in self._sinks:
                self._writing = sink
                sink.write(result)
            self._writing = None

    def _render(self, result: Result) -> np.ndarray:
        if self._renderer:
            return self._renderer(result.frame, result.detections)
        return result.draw(labels=self._controls.labels, hidden=self._controls.hidden)

    def _close(self, shutdown: "_Shutdown") -> None:
        """Close everything, come what may."""
        if shutdown.ending is Ending.STOPPED and self._frames == 0:
            shutdown.ending = Ending.FAILED  # nothing to keep, and older files of these names are worth more
        shutdown.attempt(self._stream.close)
        for sink in reversed(self._sinks):
            failed = shutdown.error is not None and sink is self._writing
            if not shutdown.attempt(partial(sink.close, Ending.FAILED if failed else shutdown.ending)):
                sink.close(Ending.FAILED)  # perhaps it had not even begun to close


@dataclass(slots=True)
class _Shutdown:
    """How a run ends: the first error, and what becomes of the outputs."""

    error: BaseException | None = None
    ending: Ending = Ending.STOPPED

    def note(self, raised: BaseException) -> None:
        """Keep the first error. What was done before it is kept; a second Ctrl+C, no ``Exception``, keeps nothing."""
        self.error = self.error or raised
        if not isinstance(raised, Exception):
            self.ending = Ending.FAILED

    def attempt(self, close: Callable[[], None]) -> bool:
        """Call ``close`` and note its error; False if it was interrupted."""
        try:
            close()
        except BaseException as raised:
            self.note(raised)
            return isinstance(raised, Exception)
        return True

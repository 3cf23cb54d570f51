"""One camera of many: its source, tracker, face ids and figures."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from realtime.cameras.figures import FigureKeeper
from realtime.cameras.writer import ResultWriter
from realtime.controls import Controls
from realtime.errors import RealtimeError
from realtime.faces.tracker import FaceTracker
from realtime.inference.timed import Detected, Detector
from realtime.regions.frames import FrameDetector
from realtime.regions.planner import Plan
from realtime.regions.tiles import Reach
from realtime.results import Result
from realtime.sinks.base import Ending
from realtime.sources.base import FrameSource
from realtime.structures import Frame

STALL_S = 2.0
"""A camera that gave no frame for longer is said to stall."""


class State(StrEnum):
    """Of a camera."""

    CONNECTING = "connecting"
    """It has given no frame yet."""
    LIVE = "live"
    STALLED = "stalled"
    """Connected, but without a new frame for some seconds."""
    LOST = "lost"
    """The connection broke, and is opened again."""
    ENDED = "ended"
    """It has no more frames."""
    FAILED = "failed"
    """It broke, and is not opened again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Looking:
    """How the frames of a camera are looked at."""

    raw: bool = False
    """Leave boxes and scores as the detector gives them, neither smoothed nor continued below the threshold."""
    reach: Reach | None = None
    """How far to look for faces; None for one look at the whole of each frame."""
    uses_helper: bool = False
    """Look closer in another thread, for which there is a spare core."""


class Camera:
    """A live source among others, with all that its frames need but the network itself."""

    def __init__(
        self,
        name: str,
        source: FrameSource,
        detector: Detector,
        controls: Controls,
        *,
        looking: Looking = Looking(),
        writer: ResultWriter | None = None,
        on_result: Sequence[Callable[[Result], None]] = (),
    ) -> None:
        """Nothing is read yet.

        Args:
            name: unlike those of the other cameras.
            source: live; entered and read by a thread of its own, which closes it too.
            detector: the network that all cameras share.
            controls: the threshold.
            looking: how its frames are looked at.
            writer: writes the results to files; the camera's next frame waits for it, other cameras do not.
            on_result: called with each result by the thread that detects; must return at once.
        """
        self.name = name
        self.source = source
        self.error: RealtimeError | None = None
        """Why it failed."""
        self.figures = FigureKeeper()
        self.latest: Result | None = None
        """The newest result."""
        self.infer_ms = 0.0
        """Time of the network for it."""
        self._on_result = list(on_result)
        self._tracker = FaceTracker(detector.metadata.class_names, raw=looking.raw, levels=detector.metadata.levels)
        reach = looking.reach or Reach.near()
        self._frames = FrameDetector(detector, reach, is_live=True, frame_wh=(1, 1), uses_helper=looking.uses_helper)
        self._controls = controls
        self._last_frame_s: float | None = None
        self._ended = False
        self._writer = writer

    @property
    def state(self) -> State:
        """What it does now."""
        if self.error is not None:
            return State.FAILED
        if self._ended:
            return State.ENDED
        if self._last_frame_s is None:
            return State.CONNECTING
        if self.source.status:
            return State.LOST
        return State.STALLED if time.monotonic() - self._last_frame_s > STALL_S else State.LIVE

    @property
    def status(self) -> str:
        """What is wrong with it, in a few words; empty while it is live."""
        state = self.state
        if state is State.FAILED:
            return str(self.error)
        if state is State.STALLED and self._last_frame_s is not None:
            return f"no frame for {time.monotonic() - self._last_frame_s:.0f} s"
        return "" if state is State.LIVE else self.source.status or str(state)

    @property
    def is_over(self) -> bool:
        """Whether it will give no more frames."""
        return self._ended or self.error is not None

    def capture(self, put: Callable[[Frame], bool]) -> None:
        """Read frames until the source ends, fails or is interrupted, or ``put`` returns False."""
        try:
            with self.source:
                while (frame := self.source.read()) is not None and put(frame):
                    self._last_frame_s = time.monotonic()
        except RealtimeError as error:
            self.error = error
        finally:
            self._ended = True

    def plan(self, frame: Frame) -> Plan | None:
        """What to look at in its next frame; None for the whole of it, once."""
        return self._frames.plan(frame)

    def detect(self, frame: Frame, plan: Plan | None) -> Detected:
        """Look at a frame, in this thread."""
        return self._frames.detect(frame, plan)

    def share(self, part: float) -> None:
        """Let closer looks spend this part of the time between two frames, 0..1: other cameras need the rest."""
        self._frames.share(part)

    def finish(self, detected: Detected, then: Callable[[], None]) -> None:
        """Track what was found and hand over the result; ``then`` is called once the sinks have it.

        Raises:
            RealtimeError: a sink failed at an earlier result.
        """
        frame, threshold = detected.frame, self._controls.threshold
        candidates = self._tracker.update(
            detected.found,
            threshold=threshold,
            pts_s=frame.pts_s,
            side_px=max(frame.image.shape[:2]),
            looks=detected.looks,
        )
        self._frames.note(detected, self._tracker.known())
        result = Result(frame, candidates.above_or_in_face(threshold), candidates=candidates)
        self.figures.note(result, detected.infer_ms)
        self.latest, self.infer_ms = result, detected.infer_ms
        for call in self._on_result:
            call(result)
        if self._writer:
            self._writer.write(result, then)
        else:
            then()

    def close(self, ending: Ending) -> None:
        """Close the sinks, after the last call of ``finish``.

        Raises:
            RealtimeError: the first error of a sink.
        """
        self._frames.close()
        if self._writer:
            self._writer.close(ending)

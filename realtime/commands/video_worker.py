"""What is done with each video, in this process or in another."""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from realtime.commands.console import Notices, printable
from realtime.commands.opening import model_files, open_detector
from realtime.commands.outputs import Outputs
from realtime.commands.running import RunOptions, run_reported
from realtime.errors import SourceError
from realtime.inference.cores import file_concurrency, limit_cores
from realtime.inference.providers import Provider
from realtime.sinks.base import ClosingSink, Ending
from realtime.stopping import StopRequests

if TYPE_CHECKING:
    from realtime.batch.tasks import Outcome, Task
    from realtime.inference.detector import OnnxDetector
    from realtime.results import Result
    from realtime.sinks.encoding import Encoding
    from realtime.sources.video_file import VideoFileSource

TRIED_FRAMES = 48
"""Frames of a video that are tried, to see how long all of it takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What is done with each video."""

    encoding: "Encoding"
    start_s: float
    duration_s: float | None
    """Seconds of the video, not of the run."""
    captures: Path
    run: RunOptions

    def to_dict(self) -> dict[str, Any]:
        """What shapes the results, as JSON values."""
        run = self.run
        return {
            "start_s": self.start_s,
            "duration_s": self.duration_s,
            "max_frames": run.max_frames,
            "threshold": run.threshold,
            "raw": run.raw,
            "reach": str(run.reach),
            "hiding": run.hiding.to_dict() if run.hiding else None,
            "style": asdict(run.style) if run.style else None,
            "codec": self.encoding.codec,
            "crf": self.encoding.crf,
        }


@dataclass(frozen=True, slots=True)
class VideoSpec:
    """Starts a worker in another process."""

    model: str
    provider: Provider
    settings: Settings

    def with_model(self, model: str) -> "VideoSpec":
        """As of ``ModelSpec``."""
        return replace(self, model=model)

    def model_files(self) -> dict[str, bytes] | None:
        """As of ``ModelSpec``."""
        return model_files(self.model)

    def open(self, cores: int | None) -> "VideoWorker":
        """As of ``WorkerSpec``."""
        if cores is not None:
            limit_cores(cores)
        detector = open_detector(self.model, self.provider, concurrency=file_concurrency())
        return VideoWorker(detector, self.settings)


class VideoEstimator:
    """Tries the first frames of videos."""

    def __init__(self, spec: VideoSpec) -> None:
        settings = replace(spec.settings, run=replace(spec.settings.run, max_frames=TRIED_FRAMES))
        self._spec = replace(spec, settings=settings)
        self._max_frames = spec.settings.run.max_frames or math.inf
        self._worker: VideoWorker | None = None

    def seconds(self, task: "Task") -> float:
        """As of ``Estimator``.

        Raises:
            RealtimeError: the video cannot be read, or an output not be written.
        """
        self._worker = self._worker or self._spec.open(None)
        with open_video_file(task.source, self._spec.settings) as source:
            frames = (source.length_s or 0.0) * float(source.frame_rate)
        outcome = self._worker.process(task)
        return outcome.seconds * min(max(frames, outcome.frames), self._max_frames) / max(outcome.frames, 1)


class VideoWorker:
    """Detects in videos, and writes what was found."""

    def __init__(
        self,
        detector: "OnnxDetector",
        settings: Settings,
        *,
        notices: Notices | None = None,
        on_part: "Callable[[Task, float, int], None] | None" = None,
    ) -> None:
        """Take over a model.

        Args:
            detector: the model.
            settings: what is done.
            notices: printed once the first file is open.
            on_part: called with the task, the share of it that is done and the number of its frames so far. If it is
                given, this is the process that the user sees, and signals end the run with its files kept.
        """
        self._detector = detector
        self._settings = settings
        self._notices = notices
        self._on_part = on_part

    def process(self, task: "Task") -> "Outcome":
        """Carry out one task.

        Raises:
            RealtimeError: the video cannot be read, or an output not be written.
        """
        from realtime.batch.output_folders import make_folders
        from realtime.batch.tasks import Outcome

        started_s = time.monotonic()
        if task.step is not None:
            from realtime.commands.segment_worker import SegmentWorker

            outcome = SegmentWorker(self._detector, self._settings).process(task, task.step)
            return replace(outcome, seconds=time.monotonic() - started_s)
        make_folders(path.parent for path in task.outputs.values())
        source = open_video_file(task.source, self._settings)
        outputs = Outputs(
            window=False, video=task.outputs.get("out"), jsonl=task.outputs.get("jsonl"),
            csv=task.outputs.get("csv"), crops=task.outputs.get("crops"),
            original=source, encoding=self._settings.encoding,
        )  # fmt: skip
        title = f"[{task.number}/{task.total}] {printable(task.source)}: "
        report = self._run(task, source, outputs, title)
        errors = source.errors + outputs.audio_errors
        tracks = [f"{printable(task.source)}: {errors}"] if errors.audio_tracks and not errors else []
        return Outcome(
            error=damage(task.source, errors) if errors else None,
            frames=report.frames,
            faces=report.faces,
            seconds=time.monotonic() - started_s,
            messages=(*report.messages, *tracks),
            exit_code=report.exit_code,
        )

    def _run(self, task: "Task", source: "VideoFileSource", outputs: Outputs, title: str) -> Any:
        if self._on_part is None:
            return run_reported(source, self._detector, outputs, self._settings.run, title=title)
        counter = PartSink(source, lambda share, frames: self._on_part and self._on_part(task, share, frames))
        with StopRequests() as requests:
            return run_reported(
                source,
                self._detector,
                outputs,
                self._settings.run,
                notices=self._notices,
                title=title,
                requests=requests,
                sinks=[counter],
            )


def open_video_file(path: Path, settings: Settings) -> "VideoFileSource":
    """The part of a file that is wanted.

    Raises:
        SourceError: it cannot be read.
    """
    from realtime.sources.video_file import VideoFileSource

    return VideoFileSource(path, start_s=settings.start_s, duration_s=settings.duration_s)


def damage(path: Path, errors: object) -> SourceError:
    """What is wrong with a file of which something could be read."""
    return SourceError(f"{path} is damaged: {errors}. What could be read is kept", value=path)


class PartSink(ClosingSink):
    """Tells how much of a video is done."""

    needs_canvas = False
    is_slow = False

    def __init__(self, source: "VideoFileSource", on_part: Callable[[float, int], object]) -> None:
        """``on_part`` is called with a share from 0 to 1 and a number of frames."""
        self._origin_s, self._length_s = source.origin_s, source.length_s
        self._on_part = on_part
        self._frames = 0

    def write(self, result: "Result") -> None:
        """Count one frame."""
        self._frames += 1
        done_s = result.frame.pts_s - self._origin_s
        share = min(max(done_s / self._length_s, 0.0), 1.0) if self._length_s else 0.0
        self._on_part(share, self._frames)

    def close(self, ending: Ending) -> None:
        """Nothing to close."""

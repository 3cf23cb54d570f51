"""What is done with each still image, in this process or in another."""

import time
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from realtime.commands.opening import chosen_threshold, model_files, open_detector
from realtime.inference.cores import file_concurrency, limit_cores
from realtime.inference.providers import Provider

if TYPE_CHECKING:
    from realtime.batch.tasks import Outcome, Task
    from realtime.drawing.hiding import Hiding
    from realtime.drawing.styles import Style
    from realtime.inference.detector import OnnxDetector
    from realtime.regions.tiles import Reach


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSettings:
    """What is done with each image."""

    threshold: float | None
    """Lowest score; None for the model's own."""
    reach: "Reach"
    """How far to look for faces."""
    hiding: "Hiding | None"
    """What is hidden, instead of drawing boxes."""
    style: "Style"
    """What is drawn of the detections."""
    draws: bool
    """Whether images are written."""

    def to_dict(self) -> dict[str, Any]:
        """What shapes the results, as JSON values."""
        return {
            "threshold": self.threshold,
            "reach": str(self.reach),
            "hiding": self.hiding.to_dict() if self.hiding else None,
            "style": asdict(self.style),
            "draws": self.draws,
        }


@dataclass(frozen=True, slots=True)
class ImageSpec:
    """Starts a worker."""

    model: str
    provider: Provider
    settings: ImageSettings

    def with_model(self, model: str) -> "ImageSpec":
        """As of ``ModelSpec``."""
        return replace(self, model=model)

    def model_files(self) -> dict[str, bytes] | None:
        """As of ``ModelSpec``."""
        return model_files(self.model)

    def open(self, cores: int | None) -> "ImageWorker":
        """As of ``WorkerSpec``, for another process, where one image is detected after the other."""
        if cores is not None:
            limit_cores(cores)
        return self.open_here(1)

    def open_here(self, concurrency: int) -> "ImageWorker":
        """A worker for so many threads.

        Raises:
            RealtimeError: the model cannot be loaded.
        """
        return ImageWorker(open_detector(self.model, self.provider, concurrency=concurrency), self.settings)


class ImageWorker:
    """Detects in images, and draws what was found. On a CPU, several threads may use it."""

    def __init__(self, network: "OnnxDetector", settings: ImageSettings) -> None:
        from realtime.drawing.hiding import Hider
        from realtime.drawing.render import drawn
        from realtime.stills import with_reach

        self.network = network
        self.detector = with_reach(network, settings.reach)
        self.threshold = chosen_threshold(settings.threshold, network)
        hider = Hider(network.metadata.class_names, settings.hiding) if settings.hiding else None
        self.renderer = hider.still if hider else partial(drawn, style=settings.style)
        self._hiding = settings.hiding

    def process(self, task: "Task") -> "Outcome":
        """Carry out one task.

        Raises:
            RealtimeError: the drawn image cannot be written.
        """
        from realtime.batch.images import detect_image
        from realtime.batch.tasks import Outcome
        from realtime.commands.unsure import is_unsure

        started_s = time.monotonic()
        result, errors = detect_image(
            task.source, task.outputs.get("out"), self.detector, self.threshold, self.renderer
        )
        error = errors[0] if errors else None
        if result is None:
            return Outcome(error=error, is_written=False)
        unsure = self._hiding is not None and is_unsure(result, self._hiding, self.network.metadata.levels.candidate)
        return Outcome(
            error=error,
            frames=1,
            faces=len(result.faces),
            seconds=time.monotonic() - started_s,
            data={"line": result.to_dict()} | ({"unsure": True} if unsure else {}),
        )


class ImageEstimator:
    """Does a few images."""

    def __init__(self, spec: ImageSpec) -> None:
        self._spec = spec
        self._worker: ImageWorker | None = None

    def seconds(self, task: "Task") -> float:
        """As of ``Estimator``, with several images at a time in mind.

        Raises:
            RealtimeError: the image cannot be read.
        """
        self._worker = self._worker or self._spec.open(1)
        outcome = self._worker.process(task)
        if outcome.error is not None:
            raise outcome.error
        return outcome.seconds / file_concurrency()

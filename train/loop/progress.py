"""How far a run has come: counters, the latest losses, the best epoch."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from train.evaluation.metrics import Metrics
from train.loop.engine import Step
from train.loop.options import FitOptions
from train.loop.reporting import LOG_EVERY_STEPS, Status
from train.loop.wall_clock import WallClock


@dataclass(slots=True)
class Progress:
    """The position of a run; with the ``TrainState``, all that ``last.pt`` needs to resume it."""

    epoch: int = 0
    """Epochs done."""
    step: int = 0
    """Steps done in this epoch."""
    images_seen: int = 0
    window: list[Step] = field(default_factory=list)
    """Steps since the last line of the log."""
    best: dict[str, Any] | None = None
    """Metrics of the best epoch, in the form of ``Metrics.as_dict``."""
    latest: dict[str, Any] | None = None
    """Those of the last validation, likewise."""
    best_epoch: int = 0
    validated_epoch: int = 0
    """The epoch of the last validation: a run that is limited in time has some without."""
    share: float = 0.0
    """Of a run that is limited in time: how much of the time had passed at the latest step."""

    def state_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_state_dict(cls, state: dict[str, Any]) -> "Progress":
        """The progress in a checkpoint's ``resume``, which has other keys too."""
        names = ("epoch", "step", "images_seen", "best", "best_epoch")
        values = {name: state[name] for name in names}
        values |= {"validated_epoch": state.get("validated_epoch", state["epoch"]), "share": state.get("share", 0.0)}
        values["latest"] = state.get("latest")
        return cls(**values, window=[Step(**step) for step in state["window"]])

    def add(self, step: Step) -> None:
        """Count a step."""
        self.step += 1
        self.images_seen += step.images
        self.window.append(step)
        self.share = step.share

    def skip_validation(self) -> None:
        """Count an epoch that has no metrics."""
        self.epoch, self.step = self.epoch + 1, 0

    def end_epoch(self, metrics: Metrics) -> bool:
        """Count an epoch, or what was begun of it; True if its metrics are the best so far."""
        self.epoch, self.step = self.epoch + (self.step > 0), 0
        self.validated_epoch = self.epoch
        self.latest = metrics.as_dict()
        is_best = self.best is None or (metrics.map50_95 or 0) > (self.best["map50_95"] or 0)
        if is_best:
            self.best, self.best_epoch = self.latest, self.epoch
        return is_best

    def is_window_complete(self, steps_per_epoch: int) -> bool:
        """Whether the log gets a line after this step."""
        return len(self.window) == LOG_EVERY_STEPS or self.step == steps_per_epoch

    def status(
        self, latest: Sequence[Step], options: FitOptions, steps_per_epoch: int, clock: WallClock | None
    ) -> Status:
        """What to show of a run whose latest steps are these."""
        speed = images_per_s(latest)
        steps_left = (options.epochs - self.epoch) * steps_per_epoch - self.step
        left_s = clock.left_s() if clock else steps_left * options.batch_size / speed
        return Status(
            self.epoch + 1,
            options.last_epoch,
            self.step,
            steps_per_epoch,
            mean_losses(latest),
            latest[-1].lr,
            speed,
            left_s,
        )


def mean_losses(steps: Sequence[Step]) -> dict[str, float]:
    """Mean of each part of the loss over some steps."""
    return {name: float(np.mean([step.losses[name] for step in steps])) for name in steps[0].losses}


def images_per_s(steps: Sequence[Step]) -> float:
    """Speed over some steps."""
    return sum(step.images for step in steps) / sum(step.seconds for step in steps)

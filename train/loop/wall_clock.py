"""The clock of a run that is limited in time.

A run with ``--time`` has no number of epochs: how far it has come is the time that it has trained for, as a share of
what is left beside its validation. The schedules of the learning rate and of the input size follow this share, so that
both are at their end when the time is.
"""

import math
import time
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from train.errors import TrainError

WARM_UP_SHARE = 0.2
"""Warm-up takes no more of a run than this."""
MARGIN = 1.25
"""What ends a run takes longer at times than it did before."""
MAX_CLOSING_SHARE = 0.5
MAX_VALIDATING_SHARE = 0.1
"""Of the time, for validations between the first epochs and the last."""


class WallClock:
    """Shares the time of a run between training and what ends it: validation, plots, checkpoints."""

    def __init__(self, budget_s: float) -> None:
        """Begin a run of ``budget_s`` seconds."""
        self.budget_s = budget_s
        self._started = time.monotonic()
        self._spent_s = 0.0
        """By earlier processes, if the run was resumed."""
        self._closing_s = 0.0
        """Longest validation with all that follows it, so far."""
        self._validating_s = 0.0

    def elapsed_s(self) -> float:
        """Seconds since the run began, without those in which it was stopped."""
        return self._spent_s + time.monotonic() - self._started

    def share(self) -> float:
        """Part of the training time that has passed, 1 at its end."""
        return min(1.0, self.elapsed_s() / max(1e-9, self.budget_s - MARGIN * self._closing_s))

    def left_s(self) -> float:
        """Seconds of training that are left."""
        return max(0.0, self.budget_s - MARGIN * self._closing_s - self.elapsed_s())

    def expect_closing(self, seconds: float) -> None:
        """Expect that validation, plots and checkpoints take this long.

        Raises:
            TrainError: little would be left for training.
        """
        if self._closing_s:  # it was measured before the run was resumed
            return
        self._closing_s = seconds
        if MARGIN * seconds > MAX_CLOSING_SHARE * self.budget_s:
            needed_s = MARGIN * seconds / MAX_CLOSING_SHARE
            raise TrainError(
                f"--time: of {self.budget_s:.0f} s, validation and checkpoints would take about {seconds:.0f} s. "
                f"Use {needed_s:.0f}s or more"
            )

    def closed(self, seconds: float) -> None:
        """Count a validation with all that followed it."""
        self._closing_s = max(self._closing_s, seconds)
        self._validating_s += seconds

    def affords_validation(self) -> bool:
        """Whether one more before the last takes a small part of the time in all."""
        wanted = self._validating_s + self._closing_s
        return wanted < MAX_VALIDATING_SHARE * self.elapsed_s() and self._closing_s < self.left_s()

    def state_dict(self) -> dict[str, float]:
        """What a resumed run goes on from."""
        return {"elapsed_s": self.elapsed_s(), "closing_s": self._closing_s, "validating_s": self._validating_s}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Go on from what ``state_dict`` returned."""
        self._started = time.monotonic()
        self._spent_s, self._closing_s = state["elapsed_s"], state["closing_s"]
        self._validating_s = state["validating_s"]


class WallClockSchedule(LRScheduler):
    """Linear warm-up, then half a cosine down to 1 % at the end of the time."""

    def __init__(self, optimizer: Optimizer, warmup_steps: int) -> None:
        self.share = 0.0
        """Of the training time that has passed; the same in all processes."""
        self.warmup_steps = warmup_steps
        super().__init__(optimizer)

    def get_lr(self) -> list[Any]:
        """The rate of each group of parameters for the next step."""
        warmed = max(self.last_epoch / self.warmup_steps, self.share / WARM_UP_SHARE)
        factor = (0.01 + 0.99 * min(1.0, warmed)) * (0.01 + 0.99 * (1 + math.cos(math.pi * self.share)) / 2)
        return [base * factor for base in self.base_lrs]

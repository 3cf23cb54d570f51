"""What a search varies: the options of a run that depend most on the data, and their ranges."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from train.cli_options import option_name
from train.errors import TrainError
from train.loop.options import FitOptions

DIGITS, DECIMALS = 3, 2
"""Significant digits of a value that is tried if factors count, so that it can be typed; else the decimals."""


@dataclass(frozen=True, slots=True)
class Range:
    """The values of one option that are tried."""

    field: str
    """Of ``FitOptions``."""
    label: str
    low: float
    high: float
    is_log: bool = False
    """Whether factors count, not differences."""


class Suggests(Protocol):
    """What is used of ``optuna.Trial``."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = ...) -> float:
        """A value to try."""


def search_space(base: FitOptions, fixed: Collection[str]) -> tuple[Range, ...]:
    """What to vary around the options of ``base``, without those fields that the user has fixed.

    Raises:
        TrainError: nothing is left.
    """
    every = (
        Range("lr", "learning rate", base.lr / 10, base.lr * 4, is_log=True),
        Range("mosaic", "mosaic probability", 0.0, 0.5),
        Range("rotation_deg", "rotation (degrees)", 0.0, 30.0),
        Range("box_loss_weight", "box loss weight", 0.5, 4.0, is_log=True),
    )
    left = tuple(entry for entry in every if entry.field not in fixed)
    if not left:
        names = ", ".join(option_name(FitOptions, entry.field) for entry in every)
        raise TrainError(f"--search: all that it varies is given ({names}). Leave at least one of them out")
    return left


def base_values(base: FitOptions, space: tuple[Range, ...]) -> dict[str, float]:
    """The options of the first trial, those that a run without a search has."""
    return {entry.field: min(max(getattr(base, entry.field), entry.low), entry.high) for entry in space}


def suggested_values(trial: Suggests, space: tuple[Range, ...]) -> dict[str, float]:
    """Values to try, rounded."""
    drawn = {entry.field: trial.suggest_float(entry.field, entry.low, entry.high, log=entry.is_log) for entry in space}
    return {
        entry.field: float(f"{drawn[entry.field]:.{DIGITS}g}") if entry.is_log else round(drawn[entry.field], DECIMALS)
        for entry in space
    }

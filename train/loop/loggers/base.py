"""What all loggers do, and what they receive of a run."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import Any

PROJECT = "facial-feature-rcnn"
"""Project (Weights & Biases) or experiment (MLflow) of runs, unless the tool's own variable names another."""


class Outcome(Enum):
    """How a run ended."""

    DONE = auto()
    STOPPED = auto()
    """By a signal: it may be resumed."""
    FAILED = auto()


class RunLogger:
    """One place that measurements go to; this one ignores them all. Steps are counted in images seen."""

    def scalars(self, group: str, values: Mapping[str, float], images_seen: int) -> None:
        """Log named numbers of the group ``train`` or ``val``."""

    def plots(self, files: Sequence[Path], images_seen: int) -> None:
        """Log the plots of the best epoch so far, PNG files."""

    def model(self, best: Path) -> None:
        """Log the best checkpoint of a run that is done."""

    def close(self, outcome: Outcome) -> None:
        """End the record."""


class ResumableLogger(RunLogger):
    """A logger of which a resumed run continues the record."""

    identity: Mapping[str, str]
    """What has to be remembered for that."""


@dataclass(frozen=True, slots=True)
class RunIdentity:
    """What a logger calls a run."""

    out: Path
    """Folder of the run."""
    name: str
    group: str | None = None
    """The search that the run is a trial of."""
    earlier: Mapping[str, str] | None = None
    """The ``identity`` of the logger when the run began, if that is resumed."""

    def config(self) -> dict[str, Any]:
        """Options and circumstances of the run, from its ``run.json``; empty if that is not there any more."""
        try:
            content: dict[str, Any] = json.loads((self.out / "run.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        options: dict[str, Any] = content.pop("options", {})
        for nested in ("images", "data_sha256", "versions"):
            options |= {f"{nested}_{name}": value for name, value in content.pop(nested, {}).items()}
        return options | content

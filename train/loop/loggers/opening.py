"""The loggers that a run was given: opened, continued when it is resumed, and kept from ending it."""

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from realtime.redaction import redacted
from train.loop.loggers.base import Outcome, ResumableLogger, RunIdentity, RunLogger

STATE_FILE = "loggers.json"
"""In the folder of a run: what each logger needs to continue its record."""
ROW_FILES = {"train": "losses.csv", "val": "metrics.csv"}
"""The rows of a run that were logged, by group."""


class LoggerName(StrEnum):
    """Loggers that are not always there."""

    WANDB = "wandb"
    MLFLOW = "mlflow"


@dataclass(frozen=True, slots=True)
class LogOptions:
    """Where a run is logged beside its own files, and under which name."""

    names: tuple[str, ...] = ()
    run_name: str | None = None
    """By default that of the folder of the run."""
    group: str | None = None
    """The search that the run is a trial of."""


NO_LOGGERS = LogOptions()


def open_loggers(
    options: LogOptions, out: Path, *, is_resumed: bool, on_message: Callable[[str], None]
) -> list[RunLogger]:
    """Open the loggers of a run; a resumed one continues those that it began with, too.

    A logger that fails, now or later, costs its own record alone: it is reported in a line and then left out.

    Args:
        options: of the logs.
        out: folder of the run, with the files of what was logged so far.
        is_resumed: whether the run continues.
        on_message: called with lines to print.
    """
    state = _read_state(out) if is_resumed else {}
    logged = {group: _last_images_seen(out / file) for group, file in ROW_FILES.items()} if is_resumed else {}
    loggers: list[RunLogger] = []
    for name in dict.fromkeys([*state, *options.names]):
        identity = RunIdentity(out, options.run_name or out.resolve().name, options.group, state.get(name))
        try:
            logger = _open(name, identity, on_message)
        except Exception as error:  # of whatever kind: the run matters more than its records
            on_message(_failure(name, error))
            continue
        state[name] = dict(logger.identity)
        loggers.append(GuardedLogger(name, logger, logged if identity.earlier else {}, on_message))
    if state:
        (out / STATE_FILE).write_text(json.dumps(state, indent=2) + "\n", encoding="utf-8")
    return loggers


class GuardedLogger(RunLogger):
    """Another logger, without its exceptions and without what it has logged before the run was resumed."""

    def __init__(
        self, name: str, logger: RunLogger, logged: Mapping[str, int], on_message: Callable[[str], None]
    ) -> None:
        """Guard ``logger``, which has the rows of each group up to these numbers of images seen."""
        self._name, self._logged, self._on_message = name, logged, on_message
        self._logger: RunLogger | None = logger

    def scalars(self, group: str, values: Mapping[str, float], images_seen: int) -> None:
        """Log what is new."""
        if images_seen > self._logged.get(group, -1):
            self._try(lambda logger: logger.scalars(group, values, images_seen))

    def plots(self, files: Sequence[Path], images_seen: int) -> None:
        """Log plots."""
        self._try(lambda logger: logger.plots(files, images_seen))

    def model(self, best: Path) -> None:
        """Log the checkpoint."""
        self._try(lambda logger: logger.model(best))

    def close(self, outcome: Outcome) -> None:
        """End the record."""
        self._try(lambda logger: logger.close(outcome))

    def _try(self, action: Callable[[RunLogger], None]) -> None:
        if self._logger is None:
            return
        try:
            action(self._logger)
        except Exception as error:  # as above
            self._logger = None
            self._on_message(_failure(self._name, error))


def _open(name: str, identity: RunIdentity, on_message: Callable[[str], None]) -> ResumableLogger:
    if name == LoggerName.WANDB:  # imported here, since that takes seconds
        from train.loop.loggers.wandb_logger import WandbLogger

        return WandbLogger(identity, on_message)
    from train.loop.loggers.mlflow_logger import MlflowLogger

    return MlflowLogger(identity, on_message)


def _failure(name: str, error: Exception) -> str:
    reason = redacted(" ".join(str(error).split()) or type(error).__name__)
    return f"warning: --log {name} failed and is left out from here on: {reason}"


def _read_state(out: Path) -> dict[str, dict[str, str]]:
    try:
        state = json.loads((out / STATE_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    known = {name.value for name in LoggerName}
    return {name: dict(identity) for name, identity in state.items() if name in known}


def _last_images_seen(path: Path) -> int:
    """Of the last complete row of a log, -1 without one."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            seen = [int(row["images_seen"]) for row in csv.DictReader(file) if None not in row.values()]
    except (OSError, ValueError, KeyError):
        return -1
    return max(seen, default=-1)

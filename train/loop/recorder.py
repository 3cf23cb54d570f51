"""What a run writes into its folder: logs, checkpoints, metrics and plots. Only the main process writes."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from train.evaluation.metrics import Metrics
from train.evaluation.plots import plot_curves, plot_evaluation
from train.loop.interrupt import InterruptedRunError
from train.loop.loggers.base import Outcome, RunLogger
from train.loop.loggers.tensorboard import TensorBoardLogger
from train.loop.progress import Progress, images_per_s, mean_losses
from train.loop.run_log import RunLog
from train.models.checkpoint import Checkpoint


class RunRecorder:
    """Writes the files of a run; a context, which closes the logs. On other processes than the main one it is idle."""

    def __init__(self, out: Path, progress: Progress, loggers: Sequence[RunLogger], *, is_main: bool) -> None:
        """Begin a record in ``out``, or continue the one there from ``progress`` on; the loggers are closed with it."""
        self._out = out
        self._log: RunLog | None = None
        if is_main:
            every = (TensorBoardLogger(out, progress.images_seen), *loggers)
            self._log = RunLog(out, progress.images_seen, progress.epoch, every)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._log:
            self._log.close(_outcome(kind), self._out / "best.pt")

    def losses(self, progress: Progress) -> None:
        """Log the means over a complete window, and begin the next one."""
        steps = progress.window
        if self._log:
            position = {"epoch": progress.epoch + 1, "step": progress.step, "images_seen": progress.images_seen}
            self._log.losses(position, mean_losses(steps), steps[-1].lr, images_per_s(steps))
        progress.window = []

    def metrics(self, progress: Progress, metrics: Metrics) -> None:
        """Log the metrics of the epoch that has just ended."""
        if self._log:
            self._log.metrics(progress.epoch, progress.images_seen, metrics.as_dict())

    def best(self, progress: Progress, metrics: Metrics, checkpoint: Callable[[], Checkpoint]) -> None:
        """Write ``best.pt`` with its metrics and plots."""
        if self._log:
            checkpoint().save(self._out / "best.pt")
            text = json.dumps(metrics.as_dict(), indent=2) + "\n"
            (self._out / "metrics.json").write_text(text, encoding="utf-8")
            self._log.plots(plot_evaluation(metrics, self._out), progress.images_seen)

    def last(self, checkpoint: Callable[[], Checkpoint]) -> None:
        """Write ``last.pt``."""
        if self._log:
            checkpoint().save(self._out / "last.pt")

    def curves(self) -> None:
        """Plot the logs."""
        if self._log:
            plot_curves(self._out)


def _outcome(kind: type[BaseException] | None) -> Outcome:
    """How a run ended that this exception left."""
    if kind is None:
        return Outcome.DONE
    return Outcome.STOPPED if issubclass(kind, InterruptedRunError | KeyboardInterrupt) else Outcome.FAILED

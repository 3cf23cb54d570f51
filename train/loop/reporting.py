"""Progress of a run on standard output: a live display on a terminal, plain lines anywhere else."""

import math
import sys
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from train.evaluation.metrics import Metrics
from train.evaluation.tables import metrics_table

LOG_EVERY_STEPS = 50
"""Steps between lines of the log."""
SPARSE_S = 30.0
"""Seconds between those of a run with short epochs."""


@dataclass(frozen=True, slots=True)
class Status:
    """Where a run is."""

    epoch: int
    """From 1 on."""
    epochs: int | None
    """None if the run is limited in time."""
    step: int
    steps: int
    losses: dict[str, float]
    """Means over the latest steps."""
    lr: float
    images_per_s: float
    left_s: float
    """Seconds left to the last epoch at this speed, validation not counted."""

    def losses_text(self) -> str:
        """The parts of the loss."""
        return "  ".join(f"{name.removeprefix('loss_')} {value:.3f}" for name, value in self.losses.items())

    def speed_text(self) -> str:
        """Learning rate, speed, and hours and minutes left."""
        minutes = math.ceil(self.left_s / 60)
        return f"lr {self.lr:.4f}  {self.images_per_s:.1f} images/s  {minutes // 60}:{minutes % 60:02} h left"


def epoch_text(epoch: int, epochs: int | None) -> str:
    """Which epoch, and of how many if that is known."""
    return f"epoch {epoch}/{epochs}" if epochs else f"epoch {epoch}"


def means_text(epoch: int, epochs: int | None, metrics: Metrics) -> str:
    """The means of a validation."""
    return f"{epoch_text(epoch, epochs)} on val: mAP50-95 {metrics.map50_95:.3f}  F1 {metrics.mean_f1:.3f}"


class LineReporter:
    """Plain lines, for files and pipes; the interface of the others."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to close."""

    def step(self, status: Status, *, is_logged: bool) -> None:
        """Report one step: a line for each window of the log, which ends where ``is_logged``."""
        if is_logged:
            place = f"{epoch_text(status.epoch, status.epochs)} step {status.step}/{status.steps}"
            self.message(f"{place}  {status.losses_text()}  {status.speed_text()}")

    def validated(self, epoch: int, epochs: int | None, metrics: Metrics) -> None:
        """Print the table of metrics."""
        self.message(f"{epoch_text(epoch, epochs)} on val:\n{metrics_table(metrics)}")

    def message(self, text: str) -> None:
        """Print a line."""
        typer.echo(text)


class SparseReporter(LineReporter):
    """A line in half a minute, for short epochs."""

    def __init__(self) -> None:
        self._printed_s = time.monotonic()

    def step(self, status: Status, *, is_logged: bool) -> None:
        """Report a step if the line before is old."""
        if time.monotonic() - self._printed_s >= SPARSE_S:
            self._printed_s = time.monotonic()
            self.message(f"{epoch_text(status.epoch, status.epochs)}  {status.losses_text()}  {status.speed_text()}")

    def validated(self, epoch: int, epochs: int | None, metrics: Metrics) -> None:
        """Print the means."""
        self.message(means_text(epoch, epochs, metrics))


class LiveReporter(LineReporter):
    """Three live lines, narrow enough for any terminal, and the tables above them."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.fields[title]}"),
            BarColumn(bar_width=14),
            TextColumn("{task.completed}/{task.total}  {task.fields[speed]}"),
        )
        self._task = self._progress.add_task("", total=1, title="starting", speed="")
        self._losses, self._metrics = Text(no_wrap=True), Text(no_wrap=True)
        lines = Group(self._progress, self._losses, self._metrics)
        self._live = Live(lines, console=console, transient=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def step(self, status: Status, *, is_logged: bool) -> None:
        """Update the progress bar."""
        title = epoch_text(status.epoch, status.epochs)
        self._progress.update(
            self._task, completed=status.step, total=status.steps, title=title, speed=status.speed_text()
        )
        self._losses.plain = status.losses_text()

    def validated(self, epoch: int, epochs: int | None, metrics: Metrics) -> None:
        """Show the table, and keep its means on the screen."""
        super().validated(epoch, epochs, metrics)
        self._metrics.plain = means_text(epoch, epochs=None, metrics=metrics)

    def message(self, text: str) -> None:
        """Print above the live lines."""
        self._live.console.print(text, markup=False, highlight=False, soft_wrap=True)


class SilentReporter(LineReporter):
    """For all processes but the main one."""

    def message(self, text: str) -> None:
        """Print nothing."""


def make_reporter(*, is_main: bool, sparse: bool = False) -> LineReporter:
    """The reporter that suits this process's standard output; ``sparse`` prints fewer lines into files and pipes."""
    if not is_main:
        return SilentReporter()
    if sys.stdout.isatty():
        return LiveReporter(Console())
    return SparseReporter() if sparse else LineReporter()

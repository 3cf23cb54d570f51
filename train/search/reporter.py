"""Progress of the trials of a search: a line for each epoch."""

from train.evaluation.metrics import Metrics
from train.loop.reporting import LineReporter, Status, epoch_text


class TrialReporter(LineReporter):
    """Passes on what a trial reports, without its tables."""

    def __init__(self, reporter: LineReporter, title: str) -> None:
        """Report to ``reporter``, each line after the ``title`` of the trial."""
        self._reporter, self._title = reporter, title

    def step(self, status: Status, *, is_logged: bool) -> None:
        """Update a live display, but print nothing."""
        self._reporter.step(status, is_logged=False)

    def validated(self, epoch: int, epochs: int | None, metrics: Metrics) -> None:
        """Print the means."""
        place = epoch_text(epoch, epochs)
        self.message(f"{place}: mAP50-95 {metrics.map50_95:.3f}, mean F1 {metrics.mean_f1:.3f}")

    def message(self, text: str) -> None:
        """Print a line."""
        self._reporter.message(f"{self._title}: {text}")

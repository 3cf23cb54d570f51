"""``--dry-run``: what would be done, how much it is, and about how long it takes."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Protocol

from realtime.commands.batching import size_of
from realtime.commands.console import print_message, print_result, printable
from realtime.errors import RealtimeError
from realtime.formatting import clock, counted, listed

if TYPE_CHECKING:
    from realtime.batch.records import Conditions
    from realtime.batch.store import Store
    from realtime.batch.tasks import Task

TRIED = 3
"""Files that are tried, to see how fast they are."""


class Estimator(Protocol):
    """Does a few tasks, or parts of them, to see how long they take."""

    def seconds(self, task: "Task") -> float:
        """About how long a task takes on this machine, all cores used; its outputs may be written.

        Raises:
            RealtimeError: it cannot be done.
        """


def print_estimate(
    tasks: "Sequence[Task]",
    store: "Store",
    conditions: "Conditions",
    estimator: Estimator | None,
    noun: str,
    *,
    resume: bool,
) -> None:
    """Print a line for each task that would be done, and one about all of them; without an estimator, not how long."""
    from realtime.batch.records import Records

    records = Records(store, conditions)
    finished = [task for task in tasks if (record := records.read(task)) and records.is_valid(record, task)]
    names = {task.name for task in finished} if resume else set()
    left = [task for task in tasks if task.name not in names]
    for task in left:
        targets = listed([printable(path) for path in task.outputs.values()])
        print_result(f"{printable(task.source)} -> {targets}" if targets else printable(task.source))
    size = sum(map(size_of, left))
    amount = f", {size / 1e6:.1f} MB" if estimator else ""
    parts = [f"would do {counted(len(left), noun)}{amount}"]
    if finished:
        parts.append(f"{len(finished)} {'are' if resume else 'could be skipped with --resume: they are'} done already")
    rate = _seconds_per_byte(left, estimator) if estimator else None
    if rate is not None:
        parts.append(f"about {clock(size * rate)} on this machine")
    print_message("; ".join(parts))


def _seconds_per_byte(tasks: "Sequence[Task]", estimator: Estimator) -> float | None:
    """Of a few files; None if none can be tried."""
    seconds, size = 0.0, 0
    step = max(1, len(tasks) // TRIED)
    for task in tasks[::step][:TRIED]:
        try:
            with TemporaryDirectory() as folder:
                seconds += estimator.seconds(_moved(task, Path(folder)))
            size += size_of(task)
        except RealtimeError:
            continue
    return seconds / size if size else None


def _moved(task: "Task", folder: Path) -> "Task":
    """The same task with its outputs in another folder."""
    from dataclasses import replace

    outputs = {parameter: folder / parameter / f"result{path.suffix}" for parameter, path in task.outputs.items()}
    return replace(task, outputs=outputs)

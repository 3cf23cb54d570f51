"""What a search came to: a table, ``search.csv`` and the command of a run with the best options."""

import csv
import shlex
from collections.abc import Sequence
from pathlib import Path

from train.cli_options import option_name
from train.loop.options import FitOptions
from train.search.space import Range
from train.search.study import Ended, TrialRecord
from train.text_tables import text_table

FIRST_COLUMNS = ("trial", "map50_95", "epochs", "ended")


def best_trial(records: Sequence[TrialRecord]) -> TrialRecord:
    """That with the highest mAP50-95; of equal ones the first."""
    return max(records, key=lambda record: record.map50_95)


def trials_table(records: Sequence[TrialRecord], space: Sequence[Range]) -> str:
    """The trials, the best first."""
    header = ("trial", "mAP50-95", "epochs", *(entry.label for entry in space), "")
    rows = [
        (
            str(record.number),
            f"{record.map50_95:.3f}",
            str(record.epochs),
            *(f"{record.values[entry.field]:g}" for entry in space),
            "" if record.ended is Ended.DONE else record.ended.value,
        )
        for record in sorted(records, key=lambda record: -record.map50_95)
    ]
    return text_table(header, rows)


def write_csv(records: Sequence[TrialRecord], space: Sequence[Range], path: Path) -> None:
    """Write the trials in their order, columns named as in ``run.json``."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*FIRST_COLUMNS, *(entry.field for entry in space)])
        for record in records:
            values = [record.values[entry.field] for entry in space]
            writer.writerow([record.number, record.map50_95, record.epochs, record.ended.value, *values])


def fit_command(options: FitOptions, data: Path, out: Path) -> str:
    """The command line of a run with these options."""
    arguments = [str(data)]
    for name, value in options.not_by_default().items():
        flag = option_name(FitOptions, name)
        arguments += [flag] if value is True else [flag, str(value)]
    return shlex.join(["realtime", "train", "fit", *arguments, "--out", str(out)])

"""Pictures of a run, from its logs."""

import csv
from pathlib import Path

from matplotlib.figure import Figure  # not pyplot: no window system, no global state


def plot_curves(run: Path) -> None:
    """Write ``curves.png``: the parts of the loss and the validation metrics against the images seen.

    Args:
        run: folder of a run, with the ``losses.csv`` and ``metrics.csv`` that ``train fit`` writes.
    """
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    for axes, name, wanted in ((left, "losses.csv", ("loss",)), (right, "metrics.csv", ("map", "mean_f1", "f1_"))):
        with (run / name).open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        seen = [int(row["images_seen"]) for row in rows]
        for column in rows[0]:
            if column.startswith(wanted):
                # An empty cell is a metric that is not defined: a class without labels, say.
                axes.plot(seen, [float(row[column] or "nan") for row in rows], marker=".", label=column)
        axes.set_xlabel("images seen")
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    left.set_title("loss on augmented training images")
    right.set_title("metrics on val")
    figure.savefig(run / "curves.png", dpi=110)

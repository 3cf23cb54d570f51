"""Names at the ends of lines, in place of a legend that has to be matched with them."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

LEAST_GAP = 0.055
"""Between the middles of two names, as a share of the height of the axes; less where there are many."""
LONGEST = 48
"""Characters of a name; longer ones are cut."""


def label_lines(axes: Axes, heights: Mapping[Line2D, float] | None = None) -> None:
    """Write the label of each line to the right of the axes, in their order from top to bottom.

    Args:
        axes: with their limits as they will be.
        heights: where the name of a line would best stand, in data; by default at its last point. NaN: at the bottom.
    """
    lines = [line for line in axes.lines if not str(line.get_label()).startswith("_")]
    if not lines:
        return
    low, high = axes.get_ylim()
    wanted = [((heights or {}).get(line, _last(line)) - low) / (high - low) for line in lines]
    wanted = [float(np.clip(np.nan_to_num(height), 0, 1)) for height in wanted]
    for line, height, place in zip(lines, wanted, spread(wanted), strict=True):
        axes.plot(
            [1.005, 1.025], [height, place], transform=axes.transAxes, clip_on=False, label="_",
            color=line.get_color(), linestyle=line.get_linestyle(), linewidth=line.get_linewidth(),
        )  # fmt: skip
        words = str(line.get_label())
        words = words if len(words) <= LONGEST else f"{words[: LONGEST - 1]}…"
        axes.text(1.032, place, words, transform=axes.transAxes, va="center", fontsize="small")


def spread(wanted: list[float]) -> list[float]:
    """Heights 0..1 near those that are wanted, in the same order, that lie apart."""
    gap = min(LEAST_GAP, 1 / max(1, len(wanted) - 1))
    order = np.argsort(wanted, kind="stable")[::-1]  # from the top
    places = np.empty(len(wanted))
    least = 1.0
    for rank, i in enumerate(order):
        left = (len(order) - 1 - rank) * gap  # for those below it
        places[i] = max(min(wanted[i], least), left)
        least = places[i] - gap
    return [float(place) for place in places]


def _last(line: Line2D) -> float:
    values = np.asarray(line.get_ydata(), float)
    known = values[np.isfinite(values)]
    return float(known[-1]) if len(known) else float("nan")

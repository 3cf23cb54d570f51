"""``search.png``: what the trials of a search scored, by their order and by each of their options."""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, StrMethodFormatter

from train.evaluation.plot_style import plot_style
from train.search.results import best_trial
from train.search.space import Range
from train.search.study import Ended, TrialRecord

DPI = 110
PANEL_INCHES = (3.3, 4.2)
MIN_TOP = 0.01
"""Of the axis of mAP50-95, where nothing was learnt."""
GREEN, GREY, RED, AMBER = "#009e73", "#8a8a8a", "#dc0032", "#e69f00"
MARKS: dict[Ended, dict[str, Any]] = {
    Ended.DONE: {"color": GREEN, "marker": "o", "markersize": 6},
    Ended.PRUNED: {"color": GREY, "marker": "o", "markersize": 6, "fillstyle": "none"},
    Ended.DIVERGED: {"color": RED, "marker": "x", "markersize": 7},
}
BEST: dict[str, Any] = {"color": AMBER, "marker": "*", "markersize": 15, "markeredgecolor": "#333333"}


def plot_search(
    records: Sequence[TrialRecord], space: Sequence[Range], importances: Mapping[str, float], path: Path
) -> None:
    """Write the plot of at least one trial; ``importances`` are by field, and empty if they are not known."""
    with plot_style(entry.label for entry in space):
        width, height = PANEL_INCHES
        figure = Figure(figsize=(width * (1 + len(space)), height), layout="constrained")
        panels = figure.subplots(1, 1 + len(space), sharey=True, squeeze=False)[0]
        _plot_order(panels[0], records)
        for axes, entry in zip(panels[1:], space, strict=True):
            _plot_option(axes, entry, records)
            share = importances.get(entry.field)
            axes.set_xlabel("" if share is None else f"importance {share:.0%}")
        panels[0].set_ylabel("best mAP50-95 on val")
        top = 1.1 * max(MIN_TOP, best_trial(records).map50_95)
        panels[0].set_ylim(-0.03 * top, top)
        _add_legend(figure, records)
        figure.savefig(path, dpi=DPI)


def _plot_order(axes: Axes, records: Sequence[TrialRecord]) -> None:
    numbers = [record.number for record in records]
    best_so_far = list(accumulate((record.map50_95 for record in records), max))
    axes.step(numbers, best_so_far, where="post", color=AMBER, linewidth=1.2)
    _plot_marks(axes, numbers, records)
    axes.set(title="trials in their order", xlabel="trial", xlim=(0.5, max(numbers) + 0.5))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def _plot_option(axes: Axes, entry: Range, records: Sequence[TrialRecord]) -> None:
    _plot_marks(axes, [record.values[entry.field] for record in records], records)
    if entry.is_log:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))  # matplotlib's own writes formulas
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlim(entry.low / 1.1, entry.high * 1.1)
    else:
        margin = 0.04 * (entry.high - entry.low)
        axes.set_xlim(entry.low - margin, entry.high + margin)
    axes.set_title(entry.label)


def _plot_marks(axes: Axes, places: Sequence[float], records: Sequence[TrialRecord]) -> None:
    best = best_trial(records)
    for place, record in zip(places, records, strict=True):
        style = BEST if record is best else MARKS[record.ended]
        axes.plot([place], [record.map50_95], linestyle="none", zorder=4 if record is best else 3, **style)


def _add_legend(figure: Figure, records: Sequence[TrialRecord]) -> None:
    """Below the panels, where it covers nothing."""
    ended = {record.ended for record in records}
    entries = {"best": BEST} | {kind.value: style for kind, style in MARKS.items() if kind in ended}
    handles = [Line2D([], [], linestyle="none", label=label, **style) for label, style in entries.items()]
    handles.append(Line2D([], [], color=AMBER, linewidth=1.2, label="best so far"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)

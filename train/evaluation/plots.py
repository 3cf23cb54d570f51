"""Plots of a run, from its logs, and of an evaluation, from its matches."""

import csv
import io
from collections.abc import Iterator
from itertools import cycle, product
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure  # not pyplot: no window system, no global state
from matplotlib.lines import Line2D

from train.data.text_files import read_text
from train.evaluation.drawing import CLASS_COLOURS
from train.evaluation.line_labels import label_lines
from train.evaluation.matching import MATCH_IOU, ClassMatches
from train.evaluation.metrics import THRESHOLDS, Metrics, mean_f1_curve
from train.evaluation.plot_style import plot_style
from train.evaluation.reliability import ReliabilityBin, reliability

RECALLS = np.linspace(0, 1, 101)
"""Recall of each column of COCO's precision."""
DPI = 110
WHOLE_STYLES = tuple({"color": "black", "linestyle": line} for line in ("-", "--", ":"))
"""Of metrics over all classes."""
WORDS = {
    "loss": "sum",
    "loss_classifier": "classes",
    "loss_box_reg": "boxes",
    "loss_objectness": "objectness of proposals",
    "loss_rpn_box_reg": "boxes of proposals",
    "map50": "mAP50",
    "map50_95": "mAP50-95",
    "mean_f1": "mean F1",
}
"""For columns of the logs."""
RIGHT_FROM = 0.6
"""Thresholds from here on have their words on the left."""
BAR = "#999999"
"""Of bars that count."""
SHADES = LinearSegmentedColormap.from_list("shares", ["white", "#00563e"])


def plot_curves(run: Path) -> None:
    """Write ``curves.png``: the parts of the loss and the validation metrics against the images seen.

    Args:
        run: folder of a run, with the ``losses.csv`` and ``metrics.csv`` that ``train fit`` writes.
    """
    logs = [_read_csv(run / name) for name in ("losses.csv", "metrics.csv")]
    with plot_style(column for columns, _ in logs for column in columns):
        figure = Figure(figsize=(11, 4.5), layout="constrained")
        for axes, (columns, rows), wanted in zip(
            figure.subplots(1, 2), logs, (("loss",), ("map", "mean_f1", "f1_")), strict=True
        ):
            of_classes, of_all = _line_styles(), cycle(WHOLE_STYLES) if "map" in wanted else _line_styles()
            seen = [int(row["images_seen"]) for row in rows]
            for column in columns:
                if column.startswith(wanted):
                    # An empty cell is an undefined metric, such as that of a class without labels.
                    style = next(of_classes if column.startswith("f1_") else of_all)
                    style = WHOLE_STYLES[0] if column == "loss" else style
                    values = [float(row[column] or "nan") for row in rows]
                    axes.plot(seen, values, marker=".", label=_words_of(column), **style)
            axes.set_xlabel("images seen")
            label_lines(axes)
        figure.axes[0].set_title("loss on augmented training images")
        figure.axes[1].set_title("metrics on val")
        figure.savefig(run / "curves.png", dpi=DPI)


def plot_evaluation(metrics: Metrics, folder: Path) -> list[Path]:
    """Write precision and recall, F1 by threshold, confusion, IoU and reliability into a folder, a PNG each.

    Returns:
        Their paths.
    """
    plots = {
        "precision_recall": plot_precision_recall,
        "f1_confidence": plot_f1,
        "confusion": plot_confusion,
        "iou": plot_ious,
        "reliability": plot_reliability,
    }
    with plot_style(c.name for c in metrics.classes):
        for name, plot in plots.items():
            plot(metrics).savefig(folder / f"{name}.png", dpi=DPI)
    return [folder / f"{name}.png" for name in plots]


def plot_precision_recall(metrics: Metrics) -> Figure:
    """Precision against recall at IoU 0.5, at COCO's 101 points: the area below is the AP50 beside it."""
    figure, axes = _sheet(f"precision and recall at IoU {MATCH_IOU}: mAP50 {metrics.map50:.3f}")
    heights: dict[Line2D, float] = {}
    for name, found, style in _labelled_classes(metrics):
        ap50 = next(c.ap50 for c in metrics.classes if c.name == name.strip())
        (line,) = axes.plot(RECALLS, found.precision[0], label=f"{name}, AP50 {ap50:.3f}", **style)
        heights[line] = ap50
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1.005), ylim=(0, 1.02))
    label_lines(axes, heights)
    return figure


def plot_f1(metrics: Metrics) -> Figure:
    """F1 against the score threshold for each class, their mean, and the threshold where that is best."""
    figure, axes = _sheet(f"F1 at IoU {MATCH_IOU} by score threshold")
    heights: dict[Line2D, float] = {}
    best = metrics.best_threshold
    for name, found, style in _labelled_classes(metrics):
        (line,) = axes.plot(THRESHOLDS, [found.at(threshold).f1 for threshold in THRESHOLDS], label=name, **style)
        heights[line] = found.at(best).f1
    mean = mean_f1_curve(metrics.matching)
    (line,) = axes.plot(THRESHOLDS, mean, color="black", linewidth=2.5, label="mean")
    heights[line] = float(mean.max())
    axes.axvline(best, color="black", linestyle=":", label="_best threshold")
    is_right = best > RIGHT_FROM
    words = f" best threshold {best:.2f}, mean F1 {mean.max():.3f} "
    axes.text(best, 0.02, words, ha="right" if is_right else "left", fontsize="small")
    axes.set(xlabel="score threshold", ylabel="F1", xlim=(0, 1), ylim=(0, 1.02))
    label_lines(axes, heights)
    return figure


def plot_confusion(metrics: Metrics) -> Figure:
    """``confusion_matrix`` at the best threshold: in each cell the count and, as its shade, the share of its row."""
    names = [*(c.name for c in metrics.classes), "background"]
    shares = metrics.confusion / np.maximum(metrics.confusion.sum(axis=1, keepdims=True), 1)
    side = max(6.0, 2.2 + 0.85 * len(names))
    figure = Figure(figsize=(side, side * 0.92), layout="constrained")
    axes = figure.subplots()
    axes.grid(visible=False)
    shown = axes.imshow(shares, cmap=SHADES, vmin=0, vmax=1)
    for row, column in product(range(len(names)), repeat=2):
        if count := metrics.confusion[row, column]:
            share = shares[row, column]
            colour = "white" if share > 0.5 else "black"
            axes.text(column, row, f"{count}\n{share:.1%}", ha="center", va="center", color=colour, fontsize="small")
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="predicted (background: missed)", ylabel="labelled (background: false positive)")
    axes.set_title(f"confusion at score threshold {metrics.best_threshold:.2f}, IoU {MATCH_IOU}: count, share of row")
    figure.colorbar(shown, ax=axes, label="share of the row", shrink=0.8)
    return figure


def plot_ious(metrics: Metrics) -> Figure:
    """Histogram for each class of the IoU of matched pairs at the best threshold, one below the other."""
    classes = list(_labelled_classes(metrics))
    figure = Figure(figsize=(7.5, 1.2 + 1.1 * max(2, len(classes))), layout="constrained")
    figure.suptitle(f"IoU of matched pairs at score threshold {metrics.best_threshold:.2f}")
    rows = figure.subplots(max(1, len(classes)), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (name, found, style) in zip(rows, classes, strict=False):
        kept = found.detections[(found.detections[:, 0] >= metrics.best_threshold) & (found.detections[:, 1] > 0)]
        axes.hist(kept[:, 2], bins=np.linspace(MATCH_IOU, 1, 26), color=style["color"])
        mean = f"mean {kept[:, 2].mean():.3f}" if len(kept) else "none"
        axes.text(0.01, 0.92, f"{name}: {len(kept)} pairs, {mean}", transform=axes.transAxes, va="top")
        axes.set_ylim(0, max(1, axes.get_ylim()[1]) * 1.35)  # space for the line of text
        axes.yaxis.get_major_locator().set_params(integer=True)
    rows[-1].set_xlabel("IoU")
    rows[-1].set_xlim(MATCH_IOU, 1)
    figure.supylabel("pairs", fontsize="medium")
    return figure


def _words_of(column: str) -> str:
    return WORDS.get(column) or f"F1 {column.removeprefix('f1_')}"


def plot_reliability(metrics: Metrics) -> Figure:
    """The share of detections that are right against their score, in ten bins; below, how many there are.

    On the diagonal a score is that share. Bins with too few detections are left out.
    """
    figure = Figure(figsize=(7.5, 7), layout="constrained")
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    gap = "" if np.isnan(metrics.score_gap) else f": mean gap {metrics.score_gap:.3f}"
    axes.set_title(f"share of detections that are right, by score{gap}")
    axes.plot([0, 1], [0, 1], color="black", linestyle=":", linewidth=1.2, label="_as it should be")
    for name, found, style in _labelled_classes(metrics):
        _plot_bins(axes, reliability([found]), name, marker=".", **style | {"linewidth": 1.2})
    bins = metrics.reliability
    _plot_bins(axes, bins, "all classes", marker="o", color="black", linewidth=2.5)
    axes.set(ylabel=f"share that is right (IoU {MATCH_IOU})", xlim=(0, 1), ylim=(0, 1.02))
    label_lines(axes)
    lows, counts = [each.low for each in bins], [each.detections for each in bins]
    below.bar(lows, counts, width=1 / len(bins), align="edge", color=BAR, edgecolor="white")
    below.set_yscale("symlog", linthresh=10)
    ticks = [0, *(10**power for power in range(1, len(str(max(counts)))))]
    below.set_yticks(ticks, [f"{tick:,}" for tick in ticks])
    below.set(xlabel="score", ylabel="detections")
    return figure


def _plot_bins(axes: Axes, bins: list[ReliabilityBin], name: str, **style: Any) -> None:
    """A line through the bins that count, with gaps for the others; none if none does."""
    if any(each.counts for each in bins):
        shares = [each.right if each.counts else np.nan for each in bins]
        axes.plot([each.mean_score for each in bins], shares, label=name, **style)


def _read_csv(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Names of the columns, and the rows."""
    reader = csv.DictReader(io.StringIO(read_text(path)))
    return list(reader.fieldnames or []), list(reader)


def _sheet(title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(10, 5), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title)
    return figure, axes


def _labelled_classes(metrics: Metrics) -> Iterator[tuple[str, ClassMatches, dict[str, Any]]]:
    """Name, matches and line style of each class that is labelled."""
    for metric, found, style in zip(metrics.classes, metrics.matching.classes, _line_styles(), strict=False):
        if found.labelled:
            name = f" {metric.name}" if metric.name.startswith("_") else metric.name  # else legends would leave it out
            yield name, found, style


def _line_styles() -> Iterator[dict[str, Any]]:
    """Distinct ones, in the colours of the classes."""
    return cycle({"color": _hex(c), "linestyle": line} for line, c in product(("-", "--", ":"), CLASS_COLOURS))


def _hex(colour: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)

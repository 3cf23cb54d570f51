"""Metrics as text."""

import math

from train.evaluation.matching import MATCH_IOU
from train.evaluation.metrics import Metrics
from train.evaluation.reliability import MIN_IN_BIN
from train.text_tables import text_table


def metrics_table(metrics: Metrics) -> str:
    """A row for each class, the means, and a line about threshold and images."""
    header = ("class", "labelled", "precision", "recall", "F1", "mean IoU", "AP50", "AP50-95", "proposals")
    rows = [
        (
            c.name,
            str(c.labelled),
            *map(_cell, (c.precision, c.recall, c.f1, c.mean_iou, c.ap50, c.ap50_95, c.proposal_recall)),
        )
        for c in metrics.classes
    ]
    means = (metrics.mean_f1, metrics.mean_iou, metrics.map50, metrics.map50_95, metrics.proposal_recall)
    return "\n".join([text_table(header, [*rows, ("mean", "", "", "", *map(_cell, means))]), _conditions(metrics)])


def metrics_report(metrics: Metrics) -> str:
    """The table, the rates at the best threshold if that is another, recall by size, and what scores mean."""
    parts = [metrics_table(metrics)]
    if metrics.threshold != metrics.best_threshold:
        parts.append(_best_table(metrics))
    parts.append(_size_table(metrics))
    parts.append(reliability_table(metrics))
    return "\n\n".join(parts)


def _conditions(metrics: Metrics) -> str:
    is_best = metrics.threshold == metrics.best_threshold
    text = f"{metrics.images} images, score threshold {metrics.threshold:.2f}"
    text += f"{' (the best mean F1)' if is_best else ''}, IoU {MATCH_IOU}"
    if not math.isnan(metrics.false_positives_per_negative):
        text += f", {metrics.false_positives_per_negative:.3f} false positives per image without objects"
    return text


def _best_table(metrics: Metrics) -> str:
    title = f"at score threshold {metrics.best_threshold:.2f}, that of the best mean F1:"
    rows = [
        (c.name, *map(_cell, (c.at_best.precision, c.at_best.recall, c.at_best.f1, c.at_best.mean_iou)))
        for c in metrics.classes
    ]
    return "\n".join([title, text_table(("class", "precision", "recall", "F1", "mean IoU"), rows)])


def _size_table(metrics: Metrics) -> str:
    title = "recall/mean IoU by height, in pixels of the network's input, of the largest labelled box around an object:"
    header = ("height", "labelled", "all", *(c.name for c in metrics.classes))
    rows = [
        (
            size.name,
            str(size.all.labelled),
            *(f"{_cell(found.recall)}/{_cell(found.mean_iou)}" for found in (size.all, *size.classes.values())),
        )
        for size in metrics.sizes
    ]
    return "\n".join([title, text_table(header, rows)])


def reliability_table(metrics: Metrics) -> str:
    """What share of the detections with a score is right."""
    bins = metrics.reliability
    title = f"share of detections that are right, by score; mean gap over bins with {MIN_IN_BIN} or more: "
    rows = [
        ("detections", *(str(each.detections) for each in bins)),
        ("right", *(_cell(each.right) for each in bins)),
    ]
    header = ("score", *(f"{each.low:.1f}-{each.high:.1f}" for each in bins))
    return "\n".join([title + _cell(metrics.score_gap), text_table(header, rows)])


def _cell(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"

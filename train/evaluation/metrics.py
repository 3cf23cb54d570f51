"""Detection metrics: matching and average precision are pycocotools' (COCO's), the rest follows from them."""

from dataclasses import asdict, dataclass, fields, is_dataclass
from typing import Any

import numpy as np

from train.evaluation.matching import MATCH_IOU, Boxes, Matching, Rates, confusion_matrix, match_classes
from train.evaluation.reliability import ReliabilityBin, mean_gap, reliability
from train.evaluation.size_bins import SizeBin, size_bins

THRESHOLDS = np.arange(0.05, 1.0, 0.01)
"""Candidates for the best score threshold, which is one for all classes."""
NOT_IN_JSON = ("matching", "confusion", "labelled", "predicted", "proposal_ious")


@dataclass(frozen=True, slots=True)
class ClassMetrics:
    """Metrics of one class; precision, recall, F1 and mean IoU at ``Metrics.threshold`` and IoU 0.5."""

    name: str
    labelled: int
    precision: float
    recall: float
    f1: float
    mean_iou: float
    """Mean IoU of the matched pairs."""
    ap50: float
    ap50_95: float
    proposal_recall: float
    """Share of the labelled boxes that have a proposal of the RPN with IoU 0.5 or more: no later stage can detect the
    others. nan if proposals are not known."""
    proposal_iou: float
    """Mean over the labelled boxes of the best IoU with any proposal."""
    at_best: Rates
    """Rates at the threshold with the best mean F1."""


@dataclass(frozen=True, slots=True)
class Metrics:
    """Metrics of one model on one split."""

    images: int
    threshold: float
    """Score threshold of precision, recall and F1: the given one, or that with the best mean F1."""
    best_threshold: float
    """That with the best mean F1."""
    classes: tuple[ClassMetrics, ...]
    map50: float
    map50_95: float
    false_positives_per_negative: float
    """Detections above the threshold in an image without labelled objects, on average; nan without such images."""
    sizes: tuple[SizeBin, ...]
    matching: Matching
    """What the metrics were computed from, for plots; not part of the JSON."""
    confusion: np.ndarray
    """(C+1,C+1) int64, of ``confusion_matrix`` at the best threshold; not part of the JSON."""
    labelled: list[Boxes]
    predicted: list[Boxes]
    proposal_ious: list[np.ndarray] | None
    """What was compared, image by image; not part of the JSON."""

    @property
    def mean_f1(self) -> float:
        """Mean F1 over the classes that are labelled."""
        return _mean([c.f1 for c in self.classes if c.labelled])

    @property
    def mean_iou(self) -> float:
        """Mean of the mean IoU over the classes with matches."""
        return _mean([c.mean_iou for c in self.classes if not np.isnan(c.mean_iou)])

    @property
    def proposal_recall(self) -> float:
        """Mean proposal recall over the classes that are labelled."""
        return _mean([c.proposal_recall for c in self.classes if c.labelled])

    @property
    def reliability(self) -> list[ReliabilityBin]:
        """Scores of all classes beside the share of detections that are right."""
        return reliability(self.matching.classes)

    @property
    def score_gap(self) -> float:
        """Mean distance of the score from that share, over ten bins; nan with too few detections."""
        return mean_gap(self.reliability)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values, nan as None, rounded to four places."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in NOT_IN_JSON}
        means = {name: getattr(self, name) for name in ("mean_f1", "mean_iou", "proposal_recall", "score_gap")}
        plain: dict[str, Any] = _plain(values | means)
        return plain


def evaluate_boxes(
    labelled: list[Boxes],
    predicted: list[Boxes],
    class_names: tuple[str, ...],
    threshold: float | None = None,
    proposal_ious: list[np.ndarray] | None = None,
) -> Metrics:
    """Compare predictions with labels, image by image.

    Args:
        labelled: ground truth, one entry for each image.
        predicted: detections, in the same order.
        class_names: names of the labels 1, 2, ….
        threshold: score threshold for precision, recall and F1; None takes that with the best mean F1.
        proposal_ious: for each image and each of its N labelled boxes the best IoU with any proposal, (N,) float32;
            None without proposals: their metrics are then nan.
    """
    matching = match_classes(labelled, predicted, len(class_names))
    best_threshold = _best_threshold(matching)
    threshold = best_threshold if threshold is None else threshold
    covered = np.full(len(matching.labels), np.nan) if proposal_ious is None else np.concatenate(proposal_ious)
    classes = []
    for label, (name, found) in enumerate(zip(class_names, matching.classes, strict=True), start=1):
        ious = covered[matching.labels == label]
        classes.append(
            ClassMetrics(
                name=name,
                labelled=found.labelled,
                **asdict(found.at(threshold)),
                ap50=_mean_known(found.precision[0]),
                ap50_95=_mean_known(found.precision),
                proposal_recall=_mean(np.where(np.isnan(ious), np.nan, ious >= MATCH_IOU)),
                proposal_iou=_mean(ious),
                at_best=found.at(best_threshold),
            )
        )
    negatives = [p for g, p in zip(labelled, predicted, strict=True) if not len(g.labels)]
    return Metrics(
        images=len(labelled),
        threshold=threshold,
        best_threshold=best_threshold,
        classes=tuple(classes),
        map50=_mean([c.ap50 for c in classes if c.labelled]),
        map50_95=_mean([c.ap50_95 for c in classes if c.labelled]),
        false_positives_per_negative=_mean([len(p.above(threshold).scores) for p in negatives]),
        sizes=size_bins(labelled, matching, class_names, threshold),
        matching=matching,
        confusion=confusion_matrix(labelled, predicted, len(class_names), best_threshold),
        labelled=labelled,
        predicted=predicted,
        proposal_ious=proposal_ious,
    )


def mean_f1_curve(matching: Matching) -> np.ndarray:
    """Mean F1 over the classes that are labelled at each of ``THRESHOLDS``: (T,) float64, zeros if none is."""
    present = [found for found in matching.classes if found.labelled]
    return np.array([np.mean([found.at(t).f1 for found in present]) if present else 0.0 for t in THRESHOLDS])


def _best_threshold(matching: Matching) -> float:
    return round(float(THRESHOLDS[int(np.argmax(mean_f1_curve(matching)))]), 4)


def _mean_known(values: np.ndarray) -> float:
    """Mean of a slice of COCOeval's precision, where -1 means 'no such labels'."""
    return _mean(values[values > -1])


def _mean(values: Any) -> float:
    return float(np.mean(values)) if len(values) else float("nan")


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, dict):
        return {key: _plain(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float):
        return None if np.isnan(value) else round(float(value), 4)  # a plain float, not numpy's
    return value

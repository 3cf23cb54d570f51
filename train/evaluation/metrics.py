"""Detection metrics. Matching and average precision are pycocotools' (the COCO evaluation); the rest is read off it."""

from dataclasses import asdict, dataclass, fields, is_dataclass
from typing import Any

import numpy as np

from train.evaluation.matching import MATCH_IOU, Boxes, Matching, Rates, confusion_matrix, match_classes
from train.evaluation.size_bins import SizeBin, size_bins

THRESHOLDS = np.arange(0.05, 1.0, 0.01)
"""Score thresholds among which the best is sought: one for all classes."""


@dataclass(frozen=True, slots=True)
class ClassMetrics:
    """Metrics of one class; precision, recall, F1 and mean IoU at the report's threshold and IoU 0.5."""

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
    """Share of the labelled boxes that have a proposal of the RPN with IoU 0.5 or more: no later stage can find the
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
    """Detections above the threshold in an image without labelled objects, on average; nan if there is none."""
    sizes: tuple[SizeBin, ...]
    matching: Matching
    """What the figures were read off, for pictures; not part of the JSON."""
    confusion: np.ndarray
    """(C+1,C+1) int64, of ``confusion_matrix`` at the best threshold; not part of the JSON."""

    @property
    def mean_f1(self) -> float:
        """Mean F1 over the classes that are labelled."""
        return _mean([c.f1 for c in self.classes if c.labelled])

    @property
    def mean_iou(self) -> float:
        """Mean of the mean IoU over the classes of which something was found."""
        return _mean([c.mean_iou for c in self.classes if not np.isnan(c.mean_iou)])

    @property
    def proposal_recall(self) -> float:
        """Mean proposal recall over the classes that are labelled."""
        return _mean([c.proposal_recall for c in self.classes if c.labelled])

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values, nan as None, rounded to four places."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("matching", "confusion")}
        means = {name: getattr(self, name) for name in ("mean_f1", "mean_iou", "proposal_recall")}
        return _plain(values | means)

    def table(self) -> str:
        """The metrics as an aligned text table."""
        head = f"{'class':<12}{'labelled':>9}{'precision':>10}{'recall':>8}{'F1':>8}{'mean IoU':>9}"
        head += f"{'AP50':>8}{'AP50-95':>8}{'proposals':>10}"
        rows = [
            f"{c.name:<12}{c.labelled:>9}{_cell(c.precision):>10}{_cell(c.recall):>8}{_cell(c.f1):>8}"
            f"{_cell(c.mean_iou):>9}{_cell(c.ap50):>8}{_cell(c.ap50_95):>8}{_cell(c.proposal_recall):>10}"
            for c in self.classes
        ]
        mean = f"{'mean':<12}{'':>9}{'':>10}{'':>8}{_cell(self.mean_f1):>8}{_cell(self.mean_iou):>9}"
        mean += f"{_cell(self.map50):>8}{_cell(self.map50_95):>8}{_cell(self.proposal_recall):>10}"
        note = f"{self.images} images, score threshold {self.threshold:.2f}"
        note += f"{' (the best mean F1)' if self.threshold == self.best_threshold else ''}, IoU {MATCH_IOU}"
        if not np.isnan(self.false_positives_per_negative):
            note += f", {self.false_positives_per_negative:.3f} false positives per image without objects"
        return "\n".join([head, *rows, mean, note])

    def report(self) -> str:
        """The table, the rates at the best threshold if that is another, and recall by size."""
        parts = [self.table()]
        if self.threshold != self.best_threshold:
            parts.append(self._best_table())
        parts.append(self._size_table())
        return "\n\n".join(parts)

    def _best_table(self) -> str:
        title = f"at score threshold {self.best_threshold:.2f}, that of the best mean F1:"
        head = f"{'class':<12}{'precision':>10}{'recall':>8}{'F1':>8}{'mean IoU':>9}"
        rows = [
            f"{c.name:<12}{_cell(best.precision):>10}{_cell(best.recall):>8}{_cell(best.f1):>8}{_cell(best.mean_iou):>9}"
            for c, best in ((c, c.at_best) for c in self.classes)
        ]
        return "\n".join([title, head, *rows])

    def _size_table(self) -> str:
        title = (
            "recall/mean IoU by height, in pixels of the network's input, of the largest labelled box around an object:"
        )
        names = ["all", *(c.name for c in self.classes)]
        head = f"{'height':<12}{'labelled':>9}" + "".join(f"{name:>13}" for name in names)
        rows = [
            f"{size.name:<12}{size.all.labelled:>9}"
            + "".join(f"{_cell(f.recall) + '/' + _cell(f.mean_iou):>13}" for f in (size.all, *size.classes.values()))
            for size in self.sizes
        ]
        return "\n".join([title, head, *rows])


def evaluate_boxes(
    labelled: list[Boxes],
    predicted: list[Boxes],
    class_names: tuple[str, ...],
    threshold: float | None = None,
    proposal_ious: list[np.ndarray] | None = None,
) -> Metrics:
    """Compare predictions with labels, image by image.

    Args:
        labelled: what is there, one entry for each image.
        predicted: what was found, scores included, in the same order.
        class_names: names of the labels 1, 2, ….
        threshold: score threshold for precision, recall and F1; None takes that with the best mean F1.
        proposal_ious: for each image and each of its N labelled boxes the best IoU with any proposal, (N,) float32;
            None where there are no proposals, so that their metrics are nan.
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
    )


def mean_f1_curve(matching: Matching) -> np.ndarray:
    """Mean F1 over the classes that are labelled at each of ``THRESHOLDS``: (T,) float64, zeros if none is."""
    present = [found for found in matching.classes if found.labelled]
    return np.array([np.mean([found.at(t).f1 for found in present]) if present else 0.0 for t in THRESHOLDS])


def _best_threshold(matching: Matching) -> float:
    return round(float(THRESHOLDS[int(np.argmax(mean_f1_curve(matching)))]), 4)


def _mean_known(values: np.ndarray) -> float:
    """Mean of a slice of COCOeval's precision, where -1 stands for 'no such labels'."""
    return _mean(values[values > -1])


def _mean(values: Any) -> float:
    return float(np.mean(values)) if len(values) else float("nan")


def _cell(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.3f}"


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

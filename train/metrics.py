"""Detection metrics. Matching and average precision are pycocotools' (the COCO evaluation); the rest is read off it."""

import contextlib
import io
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

MATCH_IOU = 0.5
THRESHOLDS = np.arange(0.05, 1.0, 0.01)
"""Score thresholds among which the best is sought: one for all classes."""
MAX_DETECTIONS = 100
"""Detections considered in an image, the COCO standard."""


@dataclass(frozen=True, slots=True)
class Boxes:
    """Labelled or predicted boxes of one image, in pixels of the network's input."""

    boxes: np.ndarray
    """(N,4) float32 xyxy."""
    labels: np.ndarray
    """(N,) int64, one-based."""
    scores: np.ndarray
    """(N,) float32; 1 for labelled boxes."""


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


@dataclass(frozen=True, slots=True)
class Metrics:
    """Metrics of one model on one split."""

    images: int
    threshold: float
    """Score threshold of precision, recall and F1: the given one, or that with the best mean F1."""
    classes: tuple[ClassMetrics, ...]
    map50: float
    map50_95: float
    false_positives_per_negative: float
    """Detections above the threshold in an image without labelled objects, on average; nan if there is none."""

    @property
    def mean_f1(self) -> float:
        """Mean F1 over the classes that are labelled."""
        return _mean([c.f1 for c in self.classes if c.labelled])

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values, nan as None, rounded to four places."""
        return _plain(asdict(self) | {"mean_f1": self.mean_f1})

    def table(self) -> str:
        """The metrics as an aligned text table."""
        head = f"{'class':<12}{'labelled':>9}{'precision':>10}{'recall':>8}{'F1':>8}{'mean IoU':>9}"
        head += f"{'AP50':>8}{'AP50-95':>8}"
        rows = [
            f"{c.name:<12}{c.labelled:>9}{c.precision:>10.3f}{c.recall:>8.3f}{c.f1:>8.3f}{c.mean_iou:>9.3f}"
            f"{c.ap50:>8.3f}{c.ap50_95:>8.3f}"
            for c in self.classes
        ]
        mean = f"{'mean':<12}{'':>9}{'':>10}{'':>8}{self.mean_f1:>8.3f}{'':>9}{self.map50:>8.3f}{self.map50_95:>8.3f}"
        note = f"{self.images} images, score threshold {self.threshold:.2f}, IoU {MATCH_IOU}"
        if not np.isnan(self.false_positives_per_negative):
            note += f", {self.false_positives_per_negative:.3f} false positives per image without objects"
        return "\n".join([head, *rows, mean, note])


def evaluate_boxes(
    labelled: list[Boxes], predicted: list[Boxes], class_names: tuple[str, ...], threshold: float | None = None
) -> Metrics:
    """Compare predictions with labels, image by image.

    Args:
        labelled: what is there, one entry for each image.
        predicted: what was found, scores included, in the same order.
        class_names: names of the labels 1, 2, ….
        threshold: score threshold for precision, recall and F1; None takes that with the best mean F1.
    """
    evaluation = _coco_evaluation(labelled, predicted, len(class_names))
    per_class = [_matches(evaluation, label) for label in range(1, len(class_names) + 1)]
    counts = np.array([np.sum(np.concatenate([b.labels for b in labelled]) == i + 1) for i in range(len(class_names))])
    curves = [_curve(m, n) for m, n in zip(per_class, counts, strict=True)]
    if threshold is None:
        present = [curve for curve, n in zip(curves, counts, strict=True) if n]
        mean_f1 = np.mean([[f1 for _, _, f1 in curve] for curve in present], axis=0) if present else [0.0]
        threshold = float(THRESHOLDS[int(np.argmax(mean_f1))])
    classes = []
    for i, name in enumerate(class_names):
        kept = per_class[i][per_class[i][:, 0] >= threshold]
        precision, recall, f1 = _precision_recall_f1(kept, counts[i])
        average_precisions = evaluation.eval["precision"][:, :, i, 0, 0]  # (IoU, recall, class, area, detections)
        classes.append(
            ClassMetrics(
                name, int(counts[i]), precision, recall, f1, _mean(kept[kept[:, 1] > 0, 2]),
                _mean_known(average_precisions[0]), _mean_known(average_precisions),
            )
        )  # fmt: skip
    negatives = [p for g, p in zip(labelled, predicted, strict=True) if not len(g.labels)]
    return Metrics(
        len(labelled),
        round(threshold, 4),
        tuple(classes),
        _mean([c.ap50 for c in classes if c.labelled]),
        _mean([c.ap50_95 for c in classes if c.labelled]),
        _mean([float(np.sum(p.scores >= threshold)) for p in negatives]),
    )


def _coco_evaluation(labelled: list[Boxes], predicted: list[Boxes], num_classes: int) -> COCOeval:
    dataset: dict[str, Any] = {
        "images": [{"id": i} for i in range(len(labelled))],
        "categories": [{"id": label} for label in range(1, num_classes + 1)],
        "annotations": _annotations(labelled),
    }
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        truth, found = COCO(), COCO()
        truth.dataset, found.dataset = dataset, dataset | {"annotations": _annotations(predicted)}
        truth.createIndex()
        found.createIndex()
        evaluation = COCOeval(truth, found, "bbox")
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluation.params.maxDets = [MAX_DETECTIONS]
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation


def _annotations(images: list[Boxes]) -> list[dict[str, Any]]:
    annotations: list[dict[str, Any]] = []
    for image_id, found in enumerate(images):
        wh = found.boxes[:, 2:] - found.boxes[:, :2]
        for i, label in enumerate(found.labels):
            annotation = {
                "id": len(annotations) + 1,
                "image_id": image_id,
                "category_id": int(label),
                "bbox": [*found.boxes[i, :2].tolist(), *wh[i].tolist()],
                "area": float(wh[i].prod()),
                "iscrowd": 0,
                "score": float(found.scores[i]),
            }
            annotations.append(annotation)
    return annotations


def _matches(evaluation: COCOeval, label: int) -> np.ndarray:
    """Detections of one class over all images: (D,3) float64 of score, matched (0 or 1) and IoU of the match."""
    rows = []
    for image in evaluation.evalImgs:
        if image is None or image["category_id"] != label:
            continue
        ious = np.asarray(evaluation.ious[image["image_id"], label])
        columns = {annotation_id: column for column, annotation_id in enumerate(image["gtIds"])}
        for row, (score, gt_id) in enumerate(zip(image["dtScores"], image["dtMatches"][0], strict=True)):
            rows.append((score, gt_id > 0, ious[row, columns[int(gt_id)]] if gt_id > 0 else 0.0))
    return np.asarray(rows, np.float64).reshape(-1, 3)


def _curve(matches: np.ndarray, labelled: int) -> list[tuple[float, float, float]]:
    return [_precision_recall_f1(matches[matches[:, 0] >= t], labelled) for t in THRESHOLDS]


def _precision_recall_f1(matches: np.ndarray, labelled: int) -> tuple[float, float, float]:
    true_positives = float(matches[:, 1].sum())
    precision = true_positives / len(matches) if len(matches) else 0.0
    recall = true_positives / float(labelled) if labelled else 0.0
    f1 = 2 * true_positives / float(len(matches) + labelled) if len(matches) + labelled else 0.0
    return precision, recall, f1


def _mean_known(values: np.ndarray) -> float:
    """Mean of a slice of COCOeval's precision, where -1 stands for 'no such labels'."""
    return _mean(values[values > -1])


def _mean(values: Any) -> float:
    return float(np.mean(values)) if len(values) else float("nan")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float):
        return None if np.isnan(value) else round(float(value), 4)  # a plain float, not numpy's
    return value

"""Matching of detections and labelled boxes, on which metrics, plots and the report of errors are based.

Per class over a whole split it is pycocotools' (the COCO evaluation); ``match_image`` is the same rule for one image,
with or without regard to the class.
"""

import contextlib
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torchvision.ops import box_iou

MATCH_IOU = 0.5
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

    def above(self, threshold: float) -> "Boxes":
        """Those with a score of at least ``threshold``."""
        kept = self.scores >= threshold
        return Boxes(self.boxes[kept], self.labels[kept], self.scores[kept])


@dataclass(frozen=True, slots=True)
class Rates:
    """What one class scores at one threshold and IoU 0.5."""

    precision: float
    recall: float
    f1: float
    mean_iou: float
    """Mean IoU of the matched pairs; nan without any."""


@dataclass(frozen=True, slots=True)
class ClassMatches:
    """Detections of one class over all images, matched at IoU 0.5."""

    labelled: int
    detections: np.ndarray
    """(D,3) float64: score, matched (0 or 1), IoU of the match (0 without one)."""
    precision: np.ndarray
    """(10,101) float64: COCO's precision at IoU 0.50, 0.55, …, 0.95 and recall 0.00, 0.01, …, 1.00, each the best at
    that recall or above; -1 if nothing of the class is labelled."""

    def at(self, threshold: float) -> Rates:
        """Rates of the detections with a score of at least ``threshold``."""
        kept = self.detections[self.detections[:, 0] >= threshold]
        matched = kept[:, 1] > 0
        true_positives = float(matched.sum())
        either = len(kept) + self.labelled
        return Rates(
            precision=true_positives / len(kept) if len(kept) else 0.0,
            recall=true_positives / self.labelled if self.labelled else 0.0,
            f1=2 * true_positives / either if either else 0.0,
            mean_iou=float(kept[matched, 2].mean()) if matched.any() else float("nan"),
        )


@dataclass(frozen=True, slots=True)
class Matching:
    """Detections matched with labelled boxes: by class, and for each of the M labelled boxes in image order."""

    classes: tuple[ClassMatches, ...]
    labels: np.ndarray
    """(M,) int64, one-based."""
    scores: np.ndarray
    """(M,) float64: score of the detection that matches the labelled box; nan if none does."""
    ious: np.ndarray
    """(M,) float64: IoU with that detection; nan if none does."""


def match_classes(labelled: list[Boxes], predicted: list[Boxes], num_classes: int) -> Matching:
    """Match each class by itself, as COCOeval does: in descending order of score, with the free box of highest IoU.

    Args:
        labelled: ground truth, one entry for each image.
        predicted: detections, in the same order.
        num_classes: number of foreground classes, with labels 1, 2, ….
    """
    evaluation = _coco_evaluation(labelled, predicted, num_classes)
    labels = np.concatenate([image.labels for image in labelled])
    scores, ious = np.full(len(labels), np.nan), np.full(len(labels), np.nan)
    detections: list[list[tuple[float, float, float]]] = [[] for _ in range(num_classes)]
    for image in evaluation.evalImgs:
        if image is None:
            continue
        label = image["category_id"]
        image_ious = np.asarray(evaluation.ious[image["image_id"], label])
        columns = {annotation_id: column for column, annotation_id in enumerate(image["gtIds"])}
        for row, (score, match) in enumerate(zip(image["dtScores"], image["dtMatches"][0], strict=True)):
            annotation_id = int(match)  # 0 is none; others count the labelled boxes of all images from 1
            iou = float(image_ious[row, columns[annotation_id]]) if annotation_id else 0.0
            detections[label - 1].append((score, annotation_id > 0, iou))
            if annotation_id:
                scores[annotation_id - 1], ious[annotation_id - 1] = score, iou
    classes = tuple(
        ClassMatches(
            labelled=int((labels == i + 1).sum()),
            detections=np.asarray(found, np.float64).reshape(-1, 3),
            precision=evaluation.eval["precision"][:, :, i, 0, 0],  # (IoU, recall, class, area, detections)
        )
        for i, found in enumerate(detections)
    )
    return Matching(classes, labels, scores, ious)


def match_image(labelled: Boxes, predicted: Boxes, *, same_class: bool) -> tuple[np.ndarray, np.ndarray]:
    """Match one image: in descending order of score, each detection takes the free box with which its IoU is highest.

    Args:
        labelled: N ground-truth boxes.
        predicted: D detections.
        same_class: whether only boxes of the detection's own class count.

    Returns:
        For each detection the index of its labelled box, (D,) int64, -1 where no free box reaches IoU 0.5; and the IoU
        with it, (D,) float32, 0 without one.
    """
    ious = box_iou(torch.from_numpy(predicted.boxes), torch.from_numpy(labelled.boxes)).numpy()
    if same_class:
        ious[predicted.labels[:, None] != labelled.labels] = 0
    partners, partner_ious = np.full(len(ious), -1), np.zeros(len(ious), np.float32)
    for i in np.argsort(-predicted.scores, kind="stable") if len(labelled.labels) else []:
        best = int(ious[i].argmax())
        if ious[i, best] >= MATCH_IOU:
            partners[i], partner_ious[i] = best, ious[i, best]
            ious[:, best] = 0
    return partners, partner_ious


def confusion_matrix(labelled: list[Boxes], predicted: list[Boxes], num_classes: int, threshold: float) -> np.ndarray:
    """Count pairs of true and predicted classes, background included.

    Boxes are matched at IoU 0.5 whatever their classes, in descending order of score. So a detection of the wrong
    class takes its object, and a second detection of it, though of the right class, counts as a false positive.

    Returns:
        (C+1,C+1) int64: rows are the true classes, columns the predicted ones, the last of each background. A missed
        object is in the last column, a false positive in the last row.
    """
    matrix = np.zeros((num_classes + 1, num_classes + 1), np.int64)
    for there, found in zip(labelled, predicted, strict=True):
        kept = found.above(threshold)
        partners, _ = match_image(there, kept, same_class=False)
        true = np.append(there.labels - 1, num_classes)[partners]  # index -1 is the one appended: background
        missed = np.delete(there.labels - 1, partners[partners >= 0])
        np.add.at(matrix, (true, kept.labels - 1), 1)
        np.add.at(matrix, (missed, np.full(len(missed), num_classes)), 1)
    return matrix


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

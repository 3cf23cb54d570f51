"""How much of a detector's error is the labels': what no detector could have got right.

Where our boxes and those of MediaPipe FaceMesh miss a label alike, the label is what they have in common: the two were
trained on other data, by other means, and know nothing of each other. So the covariance of their errors estimates the
variance of the labels' own (the two-way case of reference-free error estimates, as in Stoffelen 1998), too high as far
as both err alike for other reasons. Then our boxes are moved towards their labels until only that part of the error is
left, and scored again, with the same scores, misses and false positives: what a detector would reach on these labels if
each box that it finds were the truth.
"""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from detectors import (
    FITTING_IOU,
    calibrated,
    calibration,
    default_threshold,
    detect_all,
    labelled_photos,
    labels_of,
    names_of,
)
from torchvision.ops import box_iou

from realtime.inference.cores import core_count
from train.evaluation.matching import Boxes
from train.evaluation.metrics import evaluate_boxes

PEER = "facemesh:10"


def measure(
    data: Annotated[Path, typer.Argument(metavar="DATA.yaml", help="Its val photos are looked at.")],
    peer_python: Annotated[Path, typer.Option(help="Python of an environment with mediapipe 0.10.21.")],
    model: Annotated[str, typer.Option(help="Name of a shipped model, or an ONNX file.")] = "mobile",
    json_out: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.")] = None,
) -> None:
    """Estimate how much of a detector's error is that of the labels, and what it would score without the rest."""
    val, train = labelled_photos(data)
    names, threads = names_of(val), core_count()
    spec, peer = f"ours:{model}", str(peer_python)
    ours = detect_all(spec, sys.executable, val, names, threads)
    edges = calibration(detect_all(PEER, peer, train, names, threads), [labels_of(photo) for photo in train])
    theirs = [calibrated(found, edges) for found in detect_all(PEER, peer, val, names, threads)]
    report = {"model": model, **compare(ours, theirs, [labels_of(photo) for photo in val], names, spec)}
    typer.echo(table(report))
    if json_out:
        json_out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def compare(
    ours: list[Boxes], theirs: list[Boxes], labelled: list[Boxes], names: tuple[str, ...], spec: str
) -> dict[str, Any]:
    """The share of the labels in our error, class by class, and our scores with all of it and with that share only."""
    errors = [errors_of(found, labels) for found, labels in zip(ours, labelled, strict=True)]
    peers = [errors_of(found, labels) for found, labels in zip(theirs, labelled, strict=True)]
    left, rows = {}, {}
    for class_id, name in enumerate(names, start=1):
        both = [
            (own[i], peer[i])
            for own, peer, labels in zip(errors, peers, labelled, strict=True)
            for i in np.flatnonzero(labels.labels == class_id).tolist()
            if i in own and i in peer
        ]
        own, common = deviations(np.array(both).reshape(-1, 2, 4))
        left[class_id] = common / np.maximum(own, 1e-9)
        rows[name] = {"boxes": len(both), "share": round(float((common**2).sum() / (own**2).sum()), 3)}
    nearer = [moved(found, labels, left) for found, labels in zip(ours, labelled, strict=True)]
    scores = {
        key: evaluate_boxes(labelled, found, names, default_threshold(spec))
        for key, found in (("now", ours), ("limit", nearer))
    }
    for key, metrics in scores.items():
        for one in metrics.classes:
            rows[one.name] |= {f"f1_{key}": round(one.f1, 3), f"ap50_95_{key}": round(one.ap50_95, 3)}
    means = {
        name: round(float(value), 3)
        for key, metrics in scores.items()
        for name, value in ((f"mean_f1_{key}", metrics.mean_f1), (f"map50_95_{key}", metrics.map50_95))
    }
    return {"classes": rows, **means}


def pairs(found: Boxes, labels: Boxes) -> dict[int, int]:
    """For each label, by index, the best box of its class that overlaps it, if there is one."""
    if not len(found.boxes) or not len(labels.boxes):
        return {}
    ious = box_iou(torch.from_numpy(labels.boxes), torch.from_numpy(found.boxes)).numpy()
    ious[labels.labels[:, None] != found.labels] = 0
    best = ious.argmax(axis=1)
    return {i: int(best[i]) for i in range(len(best)) if ious[i, best[i]] >= FITTING_IOU}


def errors_of(found: Boxes, labels: Boxes) -> dict[int, np.ndarray]:
    """By how much the edges (4,) of the box that was found for a label lie off, in the label's sides."""
    return {i: (found.boxes[j] - labels.boxes[i]) / sides_of(labels.boxes[i]) for i, j in pairs(found, labels).items()}


def deviations(both: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Standard deviations (4,) of our errors, and of what they have in common with the peer's.

    Args:
        both: (N,2,4), the errors of us and of the peer at the same labels.
    """
    centred = both - np.median(both, axis=0)
    own, peer = centred[:, 0], centred[:, 1]
    variance = (own**2).mean(axis=0)
    common = np.clip((own * peer).mean(axis=0), 0, variance)
    return np.sqrt(variance), np.sqrt(common)


def moved(found: Boxes, labels: Boxes, left: dict[int, np.ndarray]) -> Boxes:
    """The same boxes, but where they are nearest to a label only the share ``left`` (4,) of their error remains."""
    boxes = found.boxes.copy()
    for i, j in pairs(found, labels).items():
        label = labels.boxes[i]
        boxes[j] = label + left[int(labels.labels[i])] * (found.boxes[j] - label)
    return Boxes(boxes, found.labels, found.scores)


def sides_of(box: np.ndarray) -> np.ndarray:
    """Width, height, width, height of a box (4,)."""
    return np.tile(box[2:] - box[:2], 2)


def table(report: dict[str, Any]) -> str:
    """The figures as an aligned table."""
    head = f"{'class':<10}{'boxes':>7}{'share':>8}{'F1':>8}{'limit':>8}{'AP50-95':>10}{'limit':>8}"
    lines = [head]
    for name, row in report["classes"].items():
        lines.append(
            f"{name:<10}{row['boxes']:>7}{row['share']:>8.2f}{row['f1_now']:>8.3f}{row['f1_limit']:>8.3f}"
            f"{row['ap50_95_now']:>10.3f}{row['ap50_95_limit']:>8.3f}"
        )
    lines.append(
        f"{'mean':<25}{report['mean_f1_now']:>8.3f}{report['mean_f1_limit']:>8.3f}"
        f"{report['map50_95_now']:>10.3f}{report['map50_95_limit']:>8.3f}"
    )
    lines.append(f"{report['model']}; share: of the labels in the variance of our errors")
    return "\n".join(lines)


if __name__ == "__main__":
    typer.run(measure)

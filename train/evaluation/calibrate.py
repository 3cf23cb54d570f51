"""Fitting of ``Calibration`` to detections on labelled images."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from train.errors import TrainError
from train.evaluation.matching import Boxes
from train.evaluation.metrics import Metrics, evaluate_boxes
from train.models.calibration import CALIBRATED_THRESHOLD, Calibration
from train.text_tables import text_table

MIN_EACH = 20
"""Right detections, and wrong ones, without which nothing is fitted."""
KEPT_SHAPE_PRIOR, KEPT_FACTOR_PRIOR = 100.0, 10.0
"""Inverse variances of the normal priors of the powers and of the common log factor about those of an earlier
calibration; differences of the classes are as sure as the powers. After minutes of training with dozens of images, the
scores of a detector say what they said before better than so few images tell."""
MIN_POWER = 0.05
"""Of a score and of its rest, so that the map rises."""
EXTREME = 1e-6
"""Scores this near to 0 or 1 are taken as this near."""
SHAPE_PRIOR = 1.0
"""Inverse variance of the normal prior of both powers about 1, at which scores stay as they are."""
CLASS_PRIOR = 1.0
"""Inverse variance of the normal prior of a class's log factor about that of all classes: it hardly counts with
hundreds of detections, and a class with a handful keeps to the others."""
MAX_STEPS = 100
SAME_MAP = 0.002
"""Largest difference of mAP for figures of the same data."""


class CalibrationError(TrainError):
    """There is too little to fit to."""


@dataclass(frozen=True, slots=True)
class EarlierCalibration:
    """That of a detector before it was trained on, perhaps for other classes."""

    calibration: Calibration
    rows: tuple[int | None, ...]
    """For each class of the trained detector its index among the classes before; None for a new one, at least one is
    not."""


def fit_calibration(classes: Sequence[np.ndarray], earlier: EarlierCalibration | None = None) -> Calibration:
    """Fit to the detections of each class by maximum a posteriori.

    In the logarithms of scores and of their rests this is logistic regression, convex in its parameters. Its targets
    are slightly less than 1 and more than 0, as in Platt, "Probabilistic outputs for support vector machines" (1999),
    section 2.2.

    Args:
        classes: for each class (D,2) or wider: a score, not calibrated, and whether it has a match, 0 or 1.
        earlier: the result stays near it where the detections do not speak against it.

    Raises:
        CalibrationError: fewer than 20 detections are right, or wrong, and there is no earlier calibration.
    """
    scores, is_right = (np.concatenate([found[:, i] for found in classes]) for i in (0, 1))
    right = int(is_right.sum())
    wrong = len(is_right) - right
    if earlier is None and min(right, wrong) < MIN_EACH:
        raise CalibrationError(
            f"scores cannot be calibrated on {right} right and {wrong} wrong detections: it takes {MIN_EACH} of each. "
            "Use more images"
        )
    class_ids = np.repeat(np.arange(len(classes)), [len(found) for found in classes])
    targets = np.concatenate([_smoothed(found[:, 1]) for found in classes])
    scores = np.clip(scores, EXTREME, 1 - EXTREME)
    powers = np.stack([np.log(scores), -np.log1p(-scores)], axis=1)
    offsets = np.column_stack([np.ones(len(scores)), np.eye(len(classes))[class_ids]])
    a, b, common, *of_classes = _fit(np.hstack([powers, offsets]), targets, *_prior(len(classes), earlier))
    return Calibration(round(a, 6), round(b, 6), tuple(round(float(np.exp(common + own)), 6) for own in of_classes))


def _prior(class_count: int, earlier: EarlierCalibration | None) -> tuple[np.ndarray, np.ndarray]:
    """Means and inverse variances of the normal priors: of both powers, the common log factor, and the classes' own."""
    if earlier is None:
        rows = [(1.0, SHAPE_PRIOR)] * 2 + [(0.0, 0.0)] + [(0.0, CLASS_PRIOR)] * class_count
    else:
        before = earlier.calibration
        logs = [None if row is None else float(np.log(before.factors[row])) for row in earlier.rows]
        common = float(np.mean([each for each in logs if each is not None]))
        shape = [(before.a, KEPT_SHAPE_PRIOR), (before.b, KEPT_SHAPE_PRIOR)]
        own = [(0.0, CLASS_PRIOR) if each is None else (each - common, KEPT_SHAPE_PRIOR) for each in logs]
        rows = [*shape, (common, KEPT_FACTOR_PRIOR), *own]
    means, precisions = np.array(rows).T
    return means, precisions


def fit_to_metrics(scored: Sequence[Metrics], earlier: EarlierCalibration | None = None) -> Calibration:
    """Fit to all that was detected in some data sets, with scores that are not calibrated.

    Raises:
        CalibrationError: fewer than 20 detections are right, or wrong, and there is no earlier calibration.
    """
    of_classes = zip(*(metrics.matching.classes for metrics in scored), strict=True)
    return fit_calibration([np.concatenate([each.detections for each in found]) for found in of_classes], earlier)


def _smoothed(is_right: np.ndarray) -> np.ndarray:
    right = is_right.sum()
    wrong = len(is_right) - right
    targets: np.ndarray = np.where(is_right > 0, (right + 1) / (right + 2), 1 / (wrong + 2))
    return targets


def _fit(features: np.ndarray, targets: np.ndarray, prior: np.ndarray, precision: np.ndarray) -> list[float]:
    """Coefficients (P,) of features (N,P), the first two at least ``MIN_POWER``, that explain targets (N,)."""
    found, is_free = prior.copy(), np.ones(len(prior), bool)
    while True:
        _descend(features, targets, found, is_free, prior, precision)
        low = np.flatnonzero(is_free[:2] & (found[:2] < MIN_POWER))
        if not len(low):
            return [float(value) for value in found]
        found[low], is_free[low] = MIN_POWER, False


def _descend(
    features: np.ndarray,
    targets: np.ndarray,
    found: np.ndarray,
    is_free: np.ndarray,
    prior: np.ndarray,
    precision: np.ndarray,
) -> None:
    """Newton's method in place on the free coefficients; a step that does not descend is halved."""

    def loss(values: np.ndarray) -> float:
        logits = features @ values
        likelihood = np.logaddexp(0, logits) - targets * logits
        return float(likelihood.sum() + (precision * (values - prior) ** 2).sum() / 2)

    for _ in range(MAX_STEPS):
        shares = 1 / (1 + np.exp(-np.clip(features @ found, -500, 500)))
        gradient = features.T @ (shares - targets) + precision * (found - prior)
        weighted = features * (shares * (1 - shares))[:, None]
        hessian = features.T @ weighted + np.diag(precision + 1e-9)
        step = np.zeros_like(found)
        step[is_free] = np.linalg.solve(hessian[np.ix_(is_free, is_free)], gradient[is_free])
        before = loss(found)
        while loss(found - step) > before and np.abs(step).max() > 1e-9:
            step /= 2
        found -= step
        if np.abs(step).max() < 1e-8:
            return


def calibrated_metrics(metrics: Metrics, calibration: Calibration) -> Metrics:
    """The metrics of the same detections with calibrated scores, at the default threshold of calibrated models."""
    predicted = [calibrated_boxes(found, calibration) for found in metrics.predicted]
    names = tuple(c.name for c in metrics.classes)
    return evaluate_boxes(metrics.labelled, predicted, names, CALIBRATED_THRESHOLD, metrics.proposal_ious)


def calibrated_if_possible(
    metrics: Metrics, on_refusal: Callable[[str], None], earlier: EarlierCalibration | None = None
) -> tuple[Calibration | None, Metrics]:
    """A calibration fitted to metrics, and the metrics with it; with too few detections None, and they as they are."""
    try:
        calibration = fit_to_metrics([metrics], earlier)
    except CalibrationError as error:
        on_refusal(str(error))
        return None, metrics
    return calibration, calibrated_metrics(metrics, calibration)


def with_new_figures(old: dict[str, Any] | None, scored: Sequence[Metrics]) -> dict[str, Any] | None:
    """The figures that a model carries, anew where one of some data sets is the one that they were measured on.

    It is where mAP is the same, which calibration does not change. What the new figures lack, such as those of
    proposals where an ONNX file was scored, stays.
    """
    if old is None:
        return None
    for new in (metrics.as_dict() for metrics in scored):
        if all(abs((new[name] or 0) - (old.get(name) or 0)) <= SAME_MAP for name in ("map50", "map50_95")):
            filled: dict[str, Any] = _filled(new, old)
            return filled
    return old


def _filled(new: Any, old: Any) -> Any:
    """Plain values, with those of ``old`` wherever they are None."""
    if isinstance(new, dict) and isinstance(old, dict):
        return {key: _filled(value, old.get(key)) for key, value in new.items()}
    if isinstance(new, list) and isinstance(old, list) and len(new) == len(old):
        return [_filled(*pair) for pair in zip(new, old, strict=True)]
    return old if new is None else new


def calibration_table(scored: Mapping[str, Metrics], calibrated: Mapping[str, Metrics]) -> str:
    """What a calibration does on data sets, by name: gaps, and mean F1 at the threshold of before and at 0.5.

    Args:
        scored: metrics before it.
        calibrated: metrics with it.
    """
    rows = []
    for name, before in scored.items():
        after = calibrated[name]
        detections = sum(len(found.detections) for found in before.matching.classes)
        gaps = ("-" if np.isnan(gap) else f"{gap:.3f}" for gap in (before.score_gap, after.score_gap))
        f1 = f"{before.mean_f1:.4f} ({before.threshold:.2f})", f"{after.mean_f1:.4f}"
        rows.append((name, str(before.images), str(detections), *gaps, *f1))
    header = ("data", "images", "detections", "gap", "calibrated", "F1 (threshold)", f"F1 ({CALIBRATED_THRESHOLD})")
    return text_table(header, rows)


def calibrated_boxes(found: Boxes, calibration: Calibration) -> Boxes:
    """The same detections with calibrated scores."""
    scores = calibration(torch.from_numpy(found.scores), torch.from_numpy(found.labels) - 1)
    return replace(found, scores=scores.numpy())

"""How far scores are from the share of detections that are right (Guo et al., "On calibration …", 2017)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from train.evaluation.matching import ClassMatches

BINS = 10
MIN_IN_BIN = 20
"""Bins with fewer detections say little, and do not count."""


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """The detections with a score of at least ``low`` and below ``high``; the last bin has those of 1 too."""

    low: float
    high: float
    detections: int
    mean_score: float
    """nan without detections."""
    right: float
    """Share that matches a labelled box of its class at IoU 0.5; nan without detections."""

    @property
    def counts(self) -> bool:
        """Whether there are enough detections."""
        return self.detections >= MIN_IN_BIN

    @property
    def gap(self) -> float:
        """Between mean score and share."""
        return abs(self.mean_score - self.right)


def reliability(classes: Sequence[ClassMatches]) -> list[ReliabilityBin]:
    """The detections of some classes in ten bins of equal width, by falling score as ``ClassMatches`` has them."""
    scores, right = (np.concatenate([found.detections[:, i] for found in classes]) for i in (0, 1))
    number = np.clip(np.floor(scores * BINS + 1e-9), 0, BINS - 1)
    bins = []
    for i in range(BINS):
        inside = number == i
        means = (float(values[inside].mean()) if inside.any() else float("nan") for values in (scores, right))
        bins.append(ReliabilityBin(i / BINS, (i + 1) / BINS, int(inside.sum()), *means))
    return bins


def mean_gap(bins: Sequence[ReliabilityBin]) -> float:
    """Mean gap over the bins that count; nan if none does."""
    gaps = [each.gap for each in bins if each.counts]
    return float(np.mean(gaps)) if gaps else float("nan")

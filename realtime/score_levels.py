"""Scores below the threshold that still count, for scores that are probabilities and for those that are not."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ScoreLevels:
    """What a score below the threshold is good for."""

    candidate: float
    """Score from which on a small face gets a close-up, and something may be what is to be hidden."""
    continuing: float
    """Share of the threshold that a known face or feature needs to continue; a new one needs all of it."""
    rejected: float
    """Share of the threshold from which on a box that was left out is worth showing to a person."""
    doubt: float
    """Doubt about an image, as ``realtime.labelling.doubt`` gives it, from which on it deserves a look."""


CALIBRATED = ScoreLevels(candidate=0.07, continuing=0.2, rejected=0.1, doubt=0.2)
"""Of boxes with a score of 0.07, one in fourteen is right. At the default threshold of 0.5 a known face continues from
0.1 on, a box from 0.05 on is shown, and an image deserves a look if a box in it is wrong, or left out and right, with a
chance of at least one in ten."""
UNCALIBRATED = ScoreLevels(candidate=0.3, continuing=0.5, rejected=0.3, doubt=0.5)
"""Of models exported before scores were calibrated, whose softmax is crowded near 1: the same detections, about."""

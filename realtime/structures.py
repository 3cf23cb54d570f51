"""The data that flows through the app."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture of a source."""

    image: np.ndarray
    """uint8 (H,W,3), BGR, read-only."""
    index: int
    """Position in the source, from 0; dropped frames leave gaps."""
    pts_s: float
    """Presentation time in seconds: a file's own timestamp, or the time since a live source was opened."""
    captured_at_s: float
    """Monotonic clock in seconds, taken right after the picture was grabbed."""


@dataclass(frozen=True, slots=True)
class Detections:
    """Boxes found in one picture, best first."""

    boxes: np.ndarray
    """(N,4) float32, xyxy in pixels of the picture."""
    labels: np.ndarray
    """(N,) int64, index into the model's class names."""
    scores: np.ndarray
    """(N,) float32, 0..1, falling."""

    @classmethod
    def empty(cls) -> "Detections":
        """No boxes, with the usual shapes and dtypes."""
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, np.float32))

    def __len__(self) -> int:
        return len(self.scores)

    def above(self, threshold: float) -> "Detections":
        """Those with a score of at least ``threshold``."""
        kept = int(np.count_nonzero(self.scores >= threshold))  # sorted, so they are the first
        return Detections(self.boxes[:kept], self.labels[:kept], self.scores[:kept])

    def as_dicts(self, class_names: Sequence[str]) -> list[dict[str, object]]:
        """Plain JSON values: label name, score to four places, box to hundredths of a pixel."""
        return [
            {"label": class_names[label], "score": round(score, 4), "box": [round(value, 2) for value in box]}
            for label, score, box in zip(
                self.labels.tolist(), self.scores.tolist(), self.boxes.tolist(), strict=True
            )
        ]  # fmt: skip


Box = tuple[float, float, float, float]
"""xyxy in pixels of the picture."""


@dataclass(frozen=True, slots=True)
class Feature:
    """A part of a face."""

    box: Box
    score: float
    """0..1"""

    def as_dict(self) -> dict[str, object]:
        """Plain JSON values, rounded as those of detections are."""
        return {"box": [round(value, 2) for value in self.box], "score": round(self.score, 4)}


@dataclass(frozen=True, slots=True)
class Face:
    """A face and its parts."""

    id: int
    """The same face has the same number in all pictures of a run, from 1; no number is used again."""
    box: Box
    score: float
    """0..1"""
    features: dict[str, Feature]
    """By name: ``left_eye``, ``right_eye``, ``left_eyebrow``, ``right_eyebrow``, ``nose``, ``mouth``, those that were
    found. Left and right are the subject's: the left eye is on the right in a picture that is not mirrored."""

    def as_dict(self) -> dict[str, object]:
        """Plain JSON values, rounded as those of detections are."""
        features = {name: feature.as_dict() for name, feature in self.features.items()}
        box = [round(value, 2) for value in self.box]
        return {"id": self.id, "box": box, "score": round(self.score, 4), "features": features}


@dataclass(frozen=True, slots=True)
class Result:
    """All that is known of one frame: what a sink gets."""

    frame: Frame
    """The frame as it was read."""
    detections: Detections
    """What was found in it, the boxes of faces and their features among it."""
    canvas: np.ndarray
    """uint8 (H,W,3) BGR, the picture to be looked at: with boxes drawn, or faces hidden. If no sink needs it, it is the
    frame's own."""
    faces: tuple[Face, ...] = ()
    """The faces with their features; none if the model has no class face."""
    found: Detections = field(default_factory=Detections.empty)
    """All that the model reported, at scores below the threshold too: the window draws a paused frame anew from it."""

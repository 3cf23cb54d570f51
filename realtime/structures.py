"""The data that flows through the app: frames, detections and the faces that they make up."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

PARTS = ("face", "left_eye", "right_eye", "left_eyebrow", "right_eyebrow", "nose", "mouth")
"""What a detection may be of a face. Left and right are the subject's own: the left eye lies on the right of an image
that is not mirrored."""
FACE = 0
"""Index of the face itself in ``PARTS``."""
NO_PART = -1
NO_FACE = 0


def check_threshold(threshold: float) -> None:
    """Raise ValueError unless ``threshold``, the minimum score of a detection, is 0..1."""
    if not 0 <= threshold <= 1:
        raise ValueError(f"expected a threshold from 0 to 1, found {threshold}")


@dataclass(frozen=True, slots=True)
class Frame:
    """One image of a source."""

    image: np.ndarray
    """uint8 (H,W,3), BGR, read-only."""
    index: int
    """Position in the source, from 0; dropped frames leave gaps."""
    pts_s: float
    """Presentation time in seconds: a file's own timestamp, or the time since a live source was opened."""
    captured_at_s: float
    """Monotonic clock in seconds, taken right after the image was grabbed."""


Box = tuple[float, float, float, float]
"""xyxy in pixels of the image."""


@dataclass(frozen=True, slots=True)
class Feature:
    """A part of a face."""

    box: Box
    score: float
    """0..1"""

    def to_dict(self) -> dict[str, object]:
        """Plain JSON values, rounded as those of detections are."""
        return {"box": [round(value, 2) for value in self.box], "score": round(self.score, 4)}


@dataclass(frozen=True, slots=True)
class Face:
    """A face and its features: a view of ``Detections``."""

    id: int
    """The same face has the same number in all frames of a run, from 1; no number is used again."""
    box: Box
    score: float
    """0..1"""
    features: dict[str, Feature]
    """By name, those of ``PARTS`` that were found: ``left_eye``, ``nose`` …"""

    def to_dict(self) -> dict[str, object]:
        """Plain JSON values, rounded as those of detections are."""
        features = {name: feature.to_dict() for name, feature in self.features.items()}
        box = [round(value, 2) for value in self.box]
        return {"id": self.id, "box": box, "score": round(self.score, 4), "features": features}


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """Boxes found in one image, best first, and all that is known of each."""

    boxes: np.ndarray
    """(N,4) float32, xyxy in pixels of the image."""
    labels: np.ndarray
    """(N,) int64, index into ``class_names``."""
    scores: np.ndarray
    """(N,) float32, 0..1, descending."""
    class_names: tuple[str, ...] = ()
    """Names by label, those of the model."""
    face_ids: np.ndarray = field(default=None)  # type: ignore[arg-type]
    """(N,) int64, the face that a box belongs to, from 1; 0 for none. By default all 0."""
    parts: np.ndarray = field(default=None)  # type: ignore[arg-type]
    """(N,) int64, which part of its face a box is, an index into ``PARTS``; -1 for none. By default all -1."""

    def __post_init__(self) -> None:
        if self.face_ids is None:
            object.__setattr__(self, "face_ids", np.full(len(self.scores), NO_FACE))
        if self.parts is None:
            object.__setattr__(self, "parts", np.full(len(self.scores), NO_PART))

    @classmethod
    def empty(cls, class_names: tuple[str, ...] = ()) -> "Detections":
        """No boxes, with the usual shapes and dtypes."""
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, np.float32), class_names)

    @classmethod
    def concatenate(cls, parts: Sequence["Detections"]) -> "Detections":
        """All boxes of several, of one model, in this order; sort them by score before anything relies on that."""
        columns = (
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("boxes", "labels", "scores", "face_ids", "parts")
        )
        boxes, labels, scores, face_ids, face_parts = columns
        return cls(boxes, labels, scores, parts[0].class_names, face_ids, face_parts)

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, rows: slice | np.ndarray | Sequence[int]) -> "Detections":
        """Those of a slice, a mask (N,) bool or indices (M,) int, in this order."""
        return Detections(
            self.boxes[rows],
            self.labels[rows],
            self.scores[rows],
            self.class_names,
            self.face_ids[rows],
            self.parts[rows],
        )

    @property
    def names(self) -> list[str]:
        """The class name of each, N of them; the label itself where ``class_names`` has none."""
        names = self.class_names
        return [names[label] if label < len(names) else str(label) for label in self.labels.tolist()]

    @property
    def faces(self) -> tuple[Face, ...]:
        """The faces among them, by id, each with those of its features that are among them too."""
        features: dict[int, dict[str, Feature]] = {}
        rows = np.flatnonzero(self.parts > FACE)
        for row in rows[np.argsort(self.parts[rows], kind="stable")].tolist():
            feature = Feature(self._box(row), float(self.scores[row]))
            features.setdefault(int(self.face_ids[row]), {})[PARTS[self.parts[row]]] = feature
        faces = [
            Face(number, self._box(row), float(self.scores[row]), features.get(number, {}))
            for row in np.flatnonzero(self.parts == FACE).tolist()
            for number in [int(self.face_ids[row])]
        ]
        return tuple(sorted(faces, key=lambda face: face.id))

    def with_boxes(self, boxes: np.ndarray) -> "Detections":
        """The same with other boxes (N,4) float32."""
        return replace(self, boxes=boxes)

    def above(self, threshold: float) -> "Detections":
        """Those with a score of at least ``threshold``."""
        return self[: int(np.count_nonzero(self.scores >= threshold))]  # sorted, so they are the first

    def above_or_in_face(self, threshold: float) -> "Detections":
        """Those with a score of at least ``threshold``, and those that continue a face with a lower one."""
        return self[(self.scores >= threshold) | (self.parts != NO_PART)]

    def to_dicts(self) -> list[dict[str, object]]:
        """Plain JSON values: label name, score to four places, box to hundredths of a pixel."""
        return [
            {"label": name, "score": round(score, 4), "box": [round(value, 2) for value in box]}
            for name, score, box in zip(self.names, self.scores.tolist(), self.boxes.tolist(), strict=True)
        ]

    def _box(self, row: int) -> Box:
        x1, y1, x2, y2 = self.boxes[row].tolist()
        return x1, y1, x2, y2

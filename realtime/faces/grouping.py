"""Which eyes, eyebrows, nose and mouth belong to which face, and which of a pair is the left one."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from realtime.faces.assignment import best_assignment
from realtime.faces.boxes import iou
from realtime.structures import PARTS, Detections

PLACES = {
    "left_eye": (0.217, -0.196, 0.74),
    "right_eye": (-0.217, -0.196, 0.74),
    "left_eyebrow": (0.251, -0.296, 0.81),
    "right_eyebrow": (-0.251, -0.296, 0.81),
    "nose": (0.0, -0.054, 1.0),
    "mouth": (0.0, 0.228, 0.77),
}
"""Where the centre of each feature lies in the box of an upright frontal face: x and y from the centre of the box, in
widths and heights, then how far it moves in x as the head turns, relative to the nose. Left and right are the
subject's own, so the left eye lies at larger x. Mean and first principal component over 3,133 labelled upright faces
of the training data of the shipped detectors; turning explains 89 % of the variance."""
ASPECT = 0.86
"""Width of an upright face divided by its height, over the same faces."""
TILTS_DEG = tuple(range(-60, 61, 15))
TURNS = (-0.39, -0.26, -0.13, 0.0, 0.13, 0.26, 0.39)
"""Positions of the nose in widths from the centre; 0.39 is near profile."""
MAX_X = 0.42
"""Largest distance of a feature from the middle, in widths: features on the far side end up beside the nose."""
SPREAD = 0.1
"""Standard deviation of a feature about its place, in widths and heights: half a step of tilt and turn, plus the
differences between faces and between the conventions of data sets."""
MIN_FIT = 0.05
"""A feature that fits its place less belongs to no face: 2.4 standard deviations."""
MAX_OUTSIDE = 0.15
"""How far outside the box of the face the centre of a feature may lie, in widths and heights."""
TILT_COST, TURN_COST = 0.04, 0.03
"""Penalty of a tilt of 30 degrees and of a turn of 0.13, where a perfect feature is worth 1: if in doubt, a face is
upright and frontal."""
LEFT, RIGHT = slice(0, 4, 2), slice(1, 4, 2)
"""The paired features, by their position in ``PLACES``."""
EXPECTED_MIN_IOU = 0.3
"""Minimum IoU of a feature with where it is expected, for it to count as the same."""
EXPECTED_BONUS = 0.2
"""Added to the value of a feature for full overlap with its expected place; a perfect feature has a value of 1."""


def _poses() -> tuple[np.ndarray, np.ndarray]:
    """The places in all poses (P,6,2), from 0 to 1 in the box of the face, and the penalty of each pose (P,).

    The outline of a face is modelled as the ellipse in its upright box, which gives the box of a tilted face too.
    """
    places, costs = [], []
    size = np.array([ASPECT, 1.0])
    for tilt_deg in TILTS_DEG:
        cos, sin = math.cos(math.radians(tilt_deg)), math.sin(math.radians(tilt_deg))
        box = np.hypot(size * cos, size[::-1] * sin)
        for turn in TURNS:
            upright = (
                np.array([(np.clip(x + shift * turn, -MAX_X, MAX_X), y) for x, y, shift in PLACES.values()]) * size
            )
            places.append(0.5 + upright @ np.array([[cos, sin], [-sin, cos]]) / box)
            costs.append(TILT_COST * (tilt_deg / 30) ** 2 + TURN_COST * (turn / 0.13) ** 2)
    return np.array(places), np.array(costs)


class FaceGrouper:
    """Assigns features to the faces of one image; it keeps no state."""

    def __init__(self, class_names: tuple[str, ...]) -> None:
        """``class_names``: those of the model; its eye, eyebrow, nose and mouth, in any case, are features."""
        names = [name.lower() for name in class_names]
        self.face_label = names.index("face") if "face" in names else None
        """Label of the class ``face``; None if the model has no such class, and so no faces."""
        self.slots = PARTS[1:]
        """Names of the features of a face, of each of which it has at most one."""
        self.slot_labels = np.array(
            [names.index(kind) if kind in names else -1 for kind in (slot.rpartition("_")[2] for slot in self.slots)]
        )
        """(6,) int, label of each feature; -1 if the model has no such class."""
        self._places, self._costs = _poses()

    def group(
        self, faces: np.ndarray, detections: Detections, threshold: float, expected: Sequence[np.ndarray] | None = None
    ) -> np.ndarray:
        """Find the features of all faces at once, none given to two.

        Each face gets the pose (tilt and turn of the head) that the detections fit best; then features are assigned so
        that the sum of score times fit over all faces is largest.

        Args:
            faces: (F,4) float, xyxy px.
            detections: of the same image, the features among them.
            threshold: minimum score of a feature.
            expected: for each face (6,4) float, xyxy px: where its features are expected, NaN where unknown. Boxes that
                overlap them are preferred, and may have a score below the threshold.

        Returns:
            (F,6) int, the index in ``detections`` of each feature, in the order of ``slots``; -1 where there is none.
        """
        values = np.zeros((len(faces), len(self.slots), len(detections)))
        centres = (detections.boxes[:, :2] + detections.boxes[:, 2:]) / 2
        may_fill = detections.labels[:, None] == self.slot_labels  # (D,6)
        for face, box in enumerate(faces):
            where = (centres - box[:2]) / np.maximum(box[2:] - box[:2], 1e-6)
            near = np.flatnonzero((abs(where - 0.5) < 0.5 + MAX_OUTSIDE).all(axis=1) & may_fill.any(axis=1))
            if not len(near):
                continue
            scores = detections.scores[near, None]
            overlap = np.zeros((1, 1)) if expected is None else iou(detections.boxes[near, None], expected[face])
            overlap = np.where(may_fill[near] & (overlap >= EXPECTED_MIN_IOU), overlap, 0)
            is_candidate = (scores[:, 0] >= threshold) | overlap.any(axis=1)
            face_values = self._values(where[near], may_fill[near] * scores, overlap)
            values[face][:, near[is_candidate]] = face_values[is_candidate].T
        found = np.full(values.shape[:2], -1)
        for row, column in best_assignment(values.reshape(found.size, len(detections))):
            found.flat[row] = column
        return found

    def _values(self, where: np.ndarray, scores: np.ndarray, overlap: np.ndarray) -> np.ndarray:
        """The value of each detection as each feature of a face, (D,6), in the most likely pose of the face.

        Args:
            where: (D,2) centres in widths and heights of the box of the face.
            scores: (D,6) of each detection as each feature; 0 where it is of another class.
            overlap: (D,6) IoU with the expected feature.
        """
        away = where[:, None] - self._places[:, None]  # (P,D,6,2)
        fit = np.exp((away[..., 0] ** 2 + away[..., 1] ** 2) / (-2 * SPREAD**2))
        values = (fit >= MIN_FIT) * (scores * fit + EXPECTED_BONUS * overlap)
        left, right = values[..., LEFT], values[..., RIGHT]  # a box is one eye, the one that it fits better
        values[..., LEFT], values[..., RIGHT] = left * (left >= right), right * (right > left)
        best: np.ndarray = values[(values.max(axis=1).sum(axis=1) - self._costs).argmax()]
        return best


def assign_faces(detections: Detections) -> Detections:
    """Assign the detections of a still image to its faces, which are numbered from 1, the best first.

    Args:
        detections: what is to be shown; all of it counts, whatever its score.

    Returns:
        The same detections with ``face_ids`` and ``parts``.
    """
    grouper = FaceGrouper(detections.class_names)
    if grouper.face_label is None:
        return detections
    faces = np.flatnonzero(detections.labels == grouper.face_label)
    members = np.column_stack([faces, grouper.group(detections.boxes[faces], detections, threshold=0)])
    return with_faces(detections, np.arange(1, len(faces) + 1), members)


def with_faces(detections: Detections, face_ids: np.ndarray, members: np.ndarray) -> Detections:
    """Fill in which detection is which part of which face.

    Args:
        detections: in which the faces are.
        face_ids: (F,) int, the number of each face.
        members: (F,7) int, indices in ``detections`` of each face's parts, in the order of ``PARTS``; -1 for none.
    """
    ids, parts = detections.face_ids.copy(), detections.parts.copy()
    face, part = np.nonzero(members >= 0)
    ids[members[face, part]] = np.asarray(face_ids, np.int64)[face]
    parts[members[face, part]] = part
    return replace(detections, face_ids=ids, parts=parts)

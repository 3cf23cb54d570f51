"""Which eyes, eyebrows, nose and mouth belong to which face, and which of a pair is the left one."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from realtime.faces.assignment import best_assignment
from realtime.faces.boxes import iou
from realtime.structures import Box, Detections, Face, Feature

PLACES = {
    "left_eye": (0.217, -0.196, 0.74),
    "right_eye": (-0.217, -0.196, 0.74),
    "left_eyebrow": (0.251, -0.296, 0.81),
    "right_eyebrow": (-0.251, -0.296, 0.81),
    "nose": (0.0, -0.054, 1.0),
    "mouth": (0.0, 0.228, 0.77),
}
"""Where the centre of each feature lies in the box of an upright face that looks ahead: x and y from the box's centre
in widths and heights; then how far it moves in x as the head turns, as a share of the nose's way. Left and right are
the subject's, so the left eye lies at larger x. Mean and first principal component of 3,133 labelled upright faces of
the data that the shipped detectors learnt from; turning is 89 % of the variance there."""
ASPECT = 0.86
"""Width of an upright face by its height, of the same faces."""
TILTS_DEG = tuple(range(-60, 61, 15))
TURNS = (-0.39, -0.26, -0.13, 0.0, 0.13, 0.26, 0.39)
"""Places of the nose in widths from the centre; 0.39 is near profile."""
FURTHEST = 0.42
"""No feature's centre gets further than this from the middle: those on the far side end beside the nose."""
SPREAD = 0.1
"""Standard deviation of a feature about its place, in widths and heights: half the steps of tilt and turn, and what
differs from face to face and in how data sets cut a face."""
LEAST_FIT = 0.05
"""Features that fit their place less belong to no face: 2.4 standard deviations."""
REACH = 0.15
"""How far beyond the face's box the centre of a feature may lie, in widths and heights."""
TILT_COST, TURN_COST = 0.04, 0.03
"""What a tilt of 30 degrees and a turn of 0.13 cost beside a perfect feature's 1: upright and ahead if in doubt."""
LEFT, RIGHT = slice(0, 4, 2), slice(1, 4, 2)
"""Those that come in pairs, as they stand in ``PLACES``."""
KEPT_IOU = 0.3
"""Least overlap of a feature with where it is expected to count as the same."""
KEPT_WORTH = 0.2
"""What full overlap with the expected place is worth beside a perfect feature's 1."""


def _poses() -> tuple[np.ndarray, np.ndarray]:
    """The places in all poses (P,6,2), from 0 to 1 in the face's box, and what each pose costs (P,).

    The outline of a face is taken as the ellipse in its upright box, which gives the box of a tilted face too.
    """
    places, costs = [], []
    size = np.array([ASPECT, 1.0])
    for tilt_deg in TILTS_DEG:
        cos, sin = math.cos(math.radians(tilt_deg)), math.sin(math.radians(tilt_deg))
        box = np.hypot(size * cos, size[::-1] * sin)
        for turn in TURNS:
            upright = (
                np.array([(np.clip(x + way * turn, -FURTHEST, FURTHEST), y) for x, y, way in PLACES.values()]) * size
            )
            places.append(0.5 + upright @ np.array([[cos, sin], [-sin, cos]]) / box)
            costs.append(TILT_COST * (tilt_deg / 30) ** 2 + TURN_COST * (turn / 0.13) ** 2)
    return np.array(places), np.array(costs)


class FaceGrouper:
    """Assigns features to the faces of one picture; it remembers nothing."""

    def __init__(self, class_names: tuple[str, ...]) -> None:
        """``class_names``: those of the model. Features are its classes eye, eyebrow, nose and mouth, in any case."""
        names = [name.lower() for name in class_names]
        self.face_label = names.index("face") if "face" in names else None
        """Label of the class face; None if the model has no such class, and so no faces."""
        self.slots = tuple(PLACES)
        """Names of the features that a face may have, one each."""
        self._slot_labels = np.array(
            [names.index(kind) if kind in names else -1 for kind in (slot.rpartition("_")[2] for slot in self.slots)]
        )
        self._places, self._costs = _poses()

    def group(
        self, faces: np.ndarray, detections: Detections, threshold: float, expected: Sequence[np.ndarray] | None = None
    ) -> np.ndarray:
        """Find the features of all faces at once, none given to two.

        For each face the pose (tilt and turn of the head) is taken at which what was found fits best; then features
        are assigned so that the sum over all faces of score times fit is largest.

        Args:
            faces: (F,4) float, xyxy px.
            detections: the features, among other boxes, in the same picture.
            threshold: least score of a feature.
            expected: for each face (6,4) float, xyxy px: where its features would be if they were still there, NaN for
                those not seen. Boxes that overlap them are preferred, and may have a score below the threshold.

        Returns:
            (F,6) int, the index in ``detections`` of each feature, in the order of ``slots``; -1 where there is none.
        """
        values = np.zeros((len(faces), len(self.slots), len(detections)))
        centres = (detections.boxes[:, :2] + detections.boxes[:, 2:]) / 2
        may_fill = detections.labels[:, None] == self._slot_labels  # (D,6)
        for face, box in enumerate(faces):
            where = (centres - box[:2]) / np.maximum(box[2:] - box[:2], 1e-6)
            near = np.flatnonzero((abs(where - 0.5) < 0.5 + REACH).all(axis=1) & may_fill.any(axis=1))
            if not len(near):
                continue
            scores = detections.scores[near, None]
            kept = np.zeros((1, 1)) if expected is None else iou(detections.boxes[near, None], expected[face])
            kept = np.where(may_fill[near] & (kept >= KEPT_IOU), kept, 0)
            is_good = (scores[:, 0] >= threshold) | kept.any(axis=1)
            values[face][:, near[is_good]] = self._values(where[near], may_fill[near] * scores, kept)[is_good].T
        found = np.full(values.shape[:2], -1)
        for row, column in best_assignment(values.reshape(found.size, len(detections))):
            found.flat[row] = column
        return found

    def _values(self, where: np.ndarray, scores: np.ndarray, kept: np.ndarray) -> np.ndarray:
        """What each detection is worth as each feature of a face, in the pose that the face most likely has.

        Args:
            where: (D,2) centres in widths and heights of the face's box.
            scores: (D,6) of each as each feature; 0 where it is of another class.
            kept: (D,6) overlap with the feature as it was.
        """
        away = where[:, None] - self._places[:, None]  # (P,D,6,2)
        fit = np.exp((away[..., 0] ** 2 + away[..., 1] ** 2) / (-2 * SPREAD**2))
        values = (fit >= LEAST_FIT) * (scores * fit + KEPT_WORTH * kept)
        left, right = values[..., LEFT], values[..., RIGHT]  # one box is one eye: it counts where it fits better
        values[..., LEFT], values[..., RIGHT] = left * (left >= right), right * (right > left)
        return values[(values.max(axis=1).sum(axis=1) - self._costs).argmax()]


def faces_in(detections: Detections, class_names: tuple[str, ...]) -> tuple[Face, ...]:
    """The faces of a still picture, best first, numbered from 1.

    Args:
        detections: what is to be shown; all of it is good enough.
        class_names: names by label.
    """
    grouper = FaceGrouper(class_names)
    if grouper.face_label is None:
        return ()
    faces = np.flatnonzero(detections.labels == grouper.face_label)
    members = np.column_stack([faces, grouper.group(detections.boxes[faces], detections, threshold=0)])
    return tuple(face_of(number, row, detections) for number, row in enumerate(members, start=1))


def faces_above(faces: Iterable[Face], threshold: float) -> tuple[Face, ...]:
    """The faces with a score of at least ``threshold``, with those of their features that have it too."""
    return tuple(
        replace(face, features={name: part for name, part in face.features.items() if part.score >= threshold})
        for face in faces
        if face.score >= threshold
    )


def face_of(number: int, members: np.ndarray, detections: Detections) -> Face:
    """The face with that number; ``members`` (7,) int: indices of its box and its features, -1 where there is none."""
    face, *features = members.tolist()
    return Face(
        number,
        _box(detections, face),
        float(detections.scores[face]),
        {
            slot: Feature(_box(detections, i), float(detections.scores[i]))
            for slot, i in zip(PLACES, features, strict=True)
            if i >= 0
        },
    )


def _box(detections: Detections, index: int) -> Box:
    x1, y1, x2, y2 = detections.boxes[index].tolist()
    return x1, y1, x2, y2

"""Faces over time: who is who, what flickers, what trembles."""

import math
from itertools import count

import numpy as np

from realtime.faces.assignment import best_assignment
from realtime.faces.boxes import grown, iou
from realtime.faces.grouping import FaceGrouper, face_of
from realtime.faces.kalman import BoxMotion
from realtime.faces.one_euro import GAP_S, BoxSmoother
from realtime.structures import Detections, Face

LOST_S = 1.0
"""A face that was not seen for longer is forgotten: when it comes back it is a new one. The time between two pictures
counts as no more, so that faces last through slow and paused sources."""
LOW_SHARE = 0.5
"""What goes on needs this share of the threshold; what is new needs all of it."""
GROWN = 0.25
"""Faces are compared by the overlap of boxes grown by this share of their size on each side, so that one that jumps
by its own width between two pictures is still found (buffered IoU, Yang et al. 2023)."""
LEAST_OVERLAP = 0.2
"""Least overlap of a face with where it is expected."""
CORNER = [0, 1, 0, 1]
"""x and y for both corners of a box."""
SHORTEST_S = 1e-3
"""Pictures whose times do not rise are taken as this far apart."""


class _Track:
    """One face over time."""

    def __init__(self, number: int, box: np.ndarray, slots: int) -> None:
        self.number = number
        self.motion = BoxMotion(box)
        self.smoother = BoxSmoother(1 + slots)
        self.lost_s = 0.0
        self._features = np.full((slots, 4), np.nan)  # in widths and heights of the face, from its upper left corner
        self._unseen_s = np.zeros(slots)

    def go_on(self, elapsed_s: float) -> None:
        """Expect the face where it would be now; until ``see``, it is lost."""
        self.motion.predict(elapsed_s)
        self.lost_s += elapsed_s
        self._unseen_s += elapsed_s
        self._features[self._unseen_s > GAP_S] = np.nan

    def see(self, box: np.ndarray) -> None:
        """Take in the face's box (4,)."""
        self.motion.correct(box)
        self.lost_s = 0.0

    def expected_features(self, box: np.ndarray) -> np.ndarray:
        """Where the features (6,4) would be in the face's box (4,) of now; NaN for those not seen of late."""
        return box[CORNER] + self._features * (box[2:] - box[:2])[CORNER]

    def see_features(self, box: np.ndarray, features: np.ndarray) -> None:
        """Take in the features (6,4), NaN where there is none, of the face's box (4,)."""
        here = ~np.isnan(features[:, 0])
        size = np.maximum(box[2:] - box[:2], 1e-6)
        self._features[here] = (features[here] - box[CORNER]) / size[CORNER]
        self._unseen_s[here] = 0


class FaceTracker:
    """Gives faces numbers that last, and steadies their boxes.

    Faces are associated as in SORT and ByteTrack (Zhang et al. 2022): by overlap with where a Kalman filter expects
    them, sure ones first, then those below the threshold, which may continue a face but not begin one. In the same way
    a feature of a face goes on with a lower score, so that it does not flicker.
    """

    def __init__(self, class_names: tuple[str, ...], *, raw: bool = False) -> None:
        """``class_names``: those of the model; ``raw``: leave boxes and scores as they are, only group and number."""
        self._grouper = FaceGrouper(class_names)
        self._raw = raw
        self._tracks: list[_Track] = []
        self._numbers = count(1)
        self._last_s = -math.inf
        self.steadied = Detections.empty()
        """All detections of the last picture, those of faces and their features with their steadied boxes."""

    def update(
        self, detections: Detections, *, threshold: float, pts_s: float, side_px: float
    ) -> tuple[Detections, tuple[Face, ...]]:
        """Take in the detections of the next picture.

        Args:
            detections: all that the detector gives, those below ``threshold`` too.
            threshold: least score of what is new.
            pts_s: time of the picture.
            side_px: its longer side.

        Returns:
            What is to be shown: the detections above the threshold and those that go on below it, with the boxes of
            faces and their features steadied; and the faces, by number. If the model has no class ``face``, there are
            none, and the detections are as they were.
        """
        self.steadied = detections
        if self._grouper.face_label is None:
            return detections.above(threshold), ()
        elapsed_s = min(max(pts_s - self._last_s, SHORTEST_S), LOST_S)
        self._last_s = pts_s
        candidates = detections.above(threshold if self._raw else LOW_SHARE * threshold)
        faces = self._follow(candidates, threshold, elapsed_s)
        members = self._members(faces, candidates, threshold)
        boxes = candidates.boxes.copy()
        for track, row in zip(faces, members, strict=True):
            found = np.where(row[:, None] >= 0, candidates.boxes[row], np.nan)  # (7,4)
            track.see_features(found[0], found[1:])
            if not self._raw:
                boxes[row[row >= 0]] = track.smoother(found, elapsed_s, side_px)[row >= 0]
        is_shown = candidates.scores >= threshold
        is_shown[members[members >= 0]] = True
        steady = Detections(boxes, candidates.labels, candidates.scores)
        rest = detections.boxes[len(boxes) :]  # candidates are the best, and so the first
        self.steadied = Detections(np.concatenate([boxes, rest]), detections.labels, detections.scores)
        found_faces = [face_of(track.number, row, steady) for track, row in zip(faces, members, strict=True)]
        shown = Detections(boxes[is_shown], candidates.labels[is_shown], candidates.scores[is_shown])
        return shown, tuple(sorted(found_faces, key=lambda face: face.id))

    def _follow(self, candidates: Detections, threshold: float, elapsed_s: float) -> dict[_Track, int]:
        """Continue, begin and forget faces; those seen now, each with the index of its box."""
        for track in self._tracks:
            track.go_on(elapsed_s)
        self._tracks = [track for track in self._tracks if track.lost_s <= LOST_S]
        found = np.flatnonzero(candidates.labels == self._grouper.face_label)
        is_sure = candidates.scores[found] >= threshold
        seen = self._associate(self._tracks, candidates.boxes, found[is_sure])
        new = set(found[is_sure].tolist()) - set(seen.values())
        just_missed = [track for track in self._tracks if track not in seen and track.lost_s <= GAP_S]
        seen |= self._associate(just_missed, candidates.boxes, found[~is_sure])
        for index in sorted(new):
            track = _Track(next(self._numbers), candidates.boxes[index], len(self._grouper.slots))
            self._tracks.append(track)
            seen[track] = index
        return seen

    def _associate(self, tracks: list[_Track], boxes: np.ndarray, indices: np.ndarray) -> dict[_Track, int]:
        """Match faces with the boxes of these indices, and let them see theirs."""
        if not tracks or not len(indices):
            return {}
        expected = grown(np.array([track.motion.box for track in tracks]), GROWN)
        overlap = iou(expected[:, None], grown(boxes[indices], GROWN))
        overlap[overlap < LEAST_OVERLAP] = 0
        matched = {tracks[row]: int(indices[column]) for row, column in best_assignment(overlap)}
        for track, index in matched.items():
            track.see(boxes[index])
        return matched

    def _members(self, faces: dict[_Track, int], candidates: Detections, threshold: float) -> np.ndarray:
        """Indices of each face's box and features (F,7), -1 for those that were not found."""
        indices = np.array(list(faces.values()), int)
        boxes = candidates.boxes[indices]
        expected = (
            None if self._raw else [track.expected_features(box) for track, box in zip(faces, boxes, strict=True)]
        )
        features = self._grouper.group(boxes, candidates, threshold, expected)
        return np.column_stack([indices, features])

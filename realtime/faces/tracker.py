"""Faces over time: identities that last, no flicker, smooth boxes."""

import math
from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import count

import numpy as np

from realtime.faces.assignment import best_assignment
from realtime.faces.boxes import grown, iou
from realtime.faces.grouping import FaceGrouper, with_faces
from realtime.faces.kalman import BoxKalmanFilter
from realtime.faces.known import KnownFaces
from realtime.faces.looks import FACE_PX, FEATURES_PX, Looks
from realtime.faces.one_euro import MAX_GAP_S, BoxSmoother
from realtime.score_levels import UNCALIBRATED, ScoreLevels
from realtime.structures import FACE, Detections

MAX_LOST_S = 1.0
"""A face that was not seen for longer is forgotten: when it comes back it is a new one. The time between two frames
counts as no more, so that faces survive slow and paused sources."""
BUFFER = 0.25
"""Faces are compared by the IoU of boxes grown by this share of their size on each side, so that a face that jumps by
its own width between two frames is still matched (buffered IoU, Yang et al., 2023)."""
MIN_IOU = 0.2
"""Minimum buffered IoU of a face with its predicted box."""
CORNER = [0, 1, 0, 1]
"""Indices of x and y of the upper left corner, for both corners of a box."""
MIN_ELAPSED_S = 1e-3
"""Frames whose timestamps do not rise count as this far apart."""
MAX_HELD_S = 0.5
"""A known face, or a feature of it, that no look of a frame could show is held where it is expected for this time; one
that is lost is looked for as long."""
COARSE = 0.6
"""A box from a look that shows a face at less than this share of the height that another has just shown is no better
than a prediction: boxes that come from both in turn would jump."""
MAX_CLOSE_S = 0.25
"""How long that other look may be ago."""


class _Track:
    """One face over time."""

    def __init__(self, face_id: int, box: np.ndarray, height_px: float, slots: int) -> None:
        self.face_id = face_id
        self.smoother = BoxSmoother(1 + slots)
        self.lost_s = 0.0
        self.is_missed = False
        """A look that was close enough to show it did not: it is not there."""
        self.scores = np.zeros(1 + slots)
        """Of the face and its features, when each was last found."""
        self._close_px, self._close_s = height_px, 0.0  # height in the network's input when last seen, and since when
        self._filter = BoxKalmanFilter(box)
        self._features = np.full((slots, 4), np.nan)  # in widths and heights of the face, from its upper left corner
        self._unseen_s = np.zeros(slots)

    @property
    def box(self) -> np.ndarray:
        """The predicted box (4,), xyxy px."""
        return self._filter.box

    @property
    def speed(self) -> np.ndarray:
        """Of its corners (4,), px/s."""
        return self._filter.speed

    def predict(self, elapsed_s: float) -> None:
        """Advance to the current frame; until ``update``, the face is lost."""
        self._filter.predict(elapsed_s)
        self.lost_s += elapsed_s
        self._close_s += elapsed_s
        self._unseen_s += elapsed_s
        self._features[self._unseen_s > MAX_GAP_S] = np.nan

    def update(self, box: np.ndarray, height_px: float) -> None:
        """Correct the track by the box (4,) that was matched to it, of a face of this height in the network's input."""
        self._filter.update(box)
        self.lost_s = self._close_s = 0.0
        self.is_missed = False
        self._close_px = height_px

    def is_hidden(self, height_px: float) -> bool:
        """Whether looks that show it at this height, at most, say less of the face than is known."""
        is_unseen = height_px < FACE_PX or self.was_closer(height_px)
        return is_unseen and not self.is_missed and self.lost_s <= MAX_HELD_S

    def was_closer(self, height_px: float) -> bool:
        """Whether the face was just seen so much larger that this height would give a worse box."""
        is_coarse = height_px < min(FEATURES_PX, COARSE * self._close_px)
        return is_coarse and self._close_s <= MAX_CLOSE_S

    def expected_features(self, box: np.ndarray) -> np.ndarray:
        """Where the features (6,4) are expected in the face's current box (4,); NaN for those not seen lately."""
        expected: np.ndarray = box[CORNER] + self._features * (box[2:] - box[:2])[CORNER]
        return expected

    def update_features(self, box: np.ndarray, features: np.ndarray) -> None:
        """Remember the features (6,4), NaN where there is none, relative to the face's box (4,)."""
        is_found = ~np.isnan(features[:, 0])
        size = np.maximum(box[2:] - box[:2], 1e-6)
        self._features[is_found] = (features[is_found] - box[CORNER]) / size[CORNER]
        self._unseen_s[is_found] = 0


class FaceTracker:
    """Gives faces ids that last, and smooths their boxes.

    Faces are associated as in SORT and ByteTrack (Zhang et al., 2022): by overlap with the prediction of a Kalman
    filter, confident detections first, then those below the threshold, which may continue a face but not start one.
    Likewise a feature of a face continues with a lower score, so that it does not flicker.
    """

    def __init__(self, class_names: tuple[str, ...], *, raw: bool = False, levels: ScoreLevels = UNCALIBRATED) -> None:
        """No face is known yet.

        Args:
            class_names: those of the model.
            raw: leave boxes and scores as they are, only group and number.
            levels: of the model; ``continuing`` is the share of the threshold that a known face or feature needs.
        """
        self._grouper = FaceGrouper(class_names)
        self._continuing = 1.0 if raw else levels.continuing
        self._raw = raw
        self._tracks: list[_Track] = []
        self._ids = count(1)
        self._last_s = -math.inf

    def known(self) -> KnownFaces:
        """The faces as of the last frame, those just lost included."""
        tracks = [track for track in self._tracks if track.lost_s <= MAX_HELD_S]
        return KnownFaces(
            _boxes_of(tracks),
            np.array([track.speed for track in tracks]).reshape(-1, 4),
            np.array([track.scores[FACE] for track in tracks]),
            self._last_s,
        )

    def update(
        self, detections: Detections, *, threshold: float, pts_s: float, side_px: float, looks: Looks | None = None
    ) -> Detections:
        """Track the faces of the next frame.

        Args:
            detections: all that the detector gives, those below ``threshold`` too.
            threshold: minimum score of a new face or feature.
            pts_s: timestamp of the frame.
            side_px: its longer side.
            looks: how closely each place of it was looked at; by default so closely that what was not found is not
                there.

        Returns:
            The same detections with ``face_ids`` and ``parts``, those in a face with smoothed boxes, and with known
            faces and features that no look could show. Some of these have a score below the threshold:
            ``Detections.above_or_in_face`` selects what is to be shown. A model without a class ``face`` gets its
            detections back unchanged.
        """
        if self._grouper.face_label is None:
            return detections
        elapsed_s = min(max(pts_s - self._last_s, MIN_ELAPSED_S), MAX_LOST_S)
        self._last_s = pts_s
        self._predict(elapsed_s)
        if looks is not None and not self._raw:
            detections = detections[~self._is_coarse(detections, looks)]
        candidates = detections.above(self._continuing * threshold)
        faces = self._match_faces(candidates, threshold, looks)
        members = self._members(faces, candidates, threshold)
        boxes = detections.boxes.copy()  # candidates are the best, and so its first rows
        held: list[Detections] = []
        for track, row in zip(faces, members, strict=True):
            is_found = row >= 0
            found = np.where(is_found[:, None], candidates.boxes[row], np.nan)  # (7,4)
            track.update_features(found[0], found[1:])
            track.scores[is_found] = candidates.scores[row[is_found]]
            if not self._raw:
                expected = self._hidden_features(track, found, looks)
                smooth = track.smoother(np.where(is_found[:, None], found, expected), elapsed_s, side_px)
                boxes[row[is_found]] = smooth[is_found]
                held.append(self._held(track, np.where(is_found[:, None], np.nan, smooth), detections.class_names))
        if looks is not None and not self._raw:
            for track in self._hidden_tracks(faces, looks):
                expected = np.vstack([track.box, track.expected_features(track.box)])
                smooth = track.smoother(expected, elapsed_s, side_px)
                held.append(self._held(track, smooth, detections.class_names))
        ids = np.array([track.face_id for track in faces])
        tracked = with_faces(replace(detections, boxes=boxes), ids, members)
        return _with_held(tracked, held)

    def _hidden_features(self, track: _Track, found: np.ndarray, looks: Looks | None) -> np.ndarray:
        """Where the parts (7,4) of a face are expected whose features no look could show; else NaN."""
        expected = np.full_like(found, np.nan)
        if looks is not None and looks.heights_px(found[:1])[0] < FEATURES_PX:
            expected[1:] = track.expected_features(found[0])
        return expected

    def _hidden_tracks(self, faces: Collection[_Track], looks: Looks) -> list[_Track]:
        """Tracks of faces that were not found, and that no look could show."""
        lost = [track for track in self._tracks if track not in faces]
        hidden = []
        for track, height_px in zip(lost, looks.heights_px(_boxes_of(lost)).tolist(), strict=True):
            if track.is_hidden(height_px):
                hidden.append(track)
            else:
                track.is_missed = True
        return hidden

    def _is_coarse(self, detections: Detections, looks: Looks) -> np.ndarray:
        """Which detections (N,) bool are faces that were just seen much closer, or lie in them."""
        heights_px = looks.heights_px(_boxes_of(self._tracks)).tolist()
        known = [track for track, px in zip(self._tracks, heights_px, strict=True) if track.was_closer(px)]
        if not known:
            return np.zeros(len(detections), bool)
        boxes = _boxes_of(known)
        same: np.ndarray = iou(grown(detections.boxes, BUFFER)[:, None], grown(boxes, BUFFER)) >= MIN_IOU
        centres = ((detections.boxes[:, :2] + detections.boxes[:, 2:]) / 2)[:, None]
        inside: np.ndarray = ((boxes[:, :2] <= centres) & (centres <= boxes[:, 2:])).all(axis=2)
        is_face: np.ndarray = (detections.labels == self._grouper.face_label)[:, None]
        coarse: np.ndarray = ((is_face & same) | (~is_face & inside)).any(axis=1)
        return coarse

    def _held(self, track: _Track, boxes: np.ndarray, class_names: tuple[str, ...]) -> Detections:
        """The parts of a face whose boxes (7,4) are not NaN, as detections with the scores that they last had."""
        parts = np.flatnonzero(~np.isnan(boxes[:, 0]))
        labels = np.array([self._grouper.face_label, *self._grouper.slot_labels], np.int64)[parts]
        scores = track.scores[parts].astype(np.float32)
        ids = np.full(len(parts), track.face_id)
        return Detections(boxes[parts].astype(np.float32), labels, scores, class_names, ids, parts)

    def _predict(self, elapsed_s: float) -> None:
        """Advance the tracks to the next frame, and forget those that were lost for long."""
        for track in self._tracks:
            track.predict(elapsed_s)
        self._tracks = [track for track in self._tracks if track.lost_s <= MAX_LOST_S]

    def _match_faces(self, candidates: Detections, threshold: float, looks: Looks | None) -> dict[_Track, int]:
        """Continue and start tracks; those seen now, each with the index of its box."""
        heights_px = np.zeros(len(candidates)) if looks is None else looks.heights_px(candidates.boxes)
        faces = np.flatnonzero(candidates.labels == self._grouper.face_label)
        is_confident = candidates.scores[faces] >= threshold
        seen = self._associate(self._tracks, candidates.boxes, faces[is_confident], heights_px)
        new = set(faces[is_confident].tolist()) - set(seen.values())
        just_missed = [track for track in self._tracks if track not in seen and track.lost_s <= MAX_GAP_S]
        seen |= self._associate(just_missed, candidates.boxes, faces[~is_confident], heights_px)
        for index in sorted(new):
            track = _Track(next(self._ids), candidates.boxes[index], heights_px[index], len(self._grouper.slots))
            self._tracks.append(track)
            seen[track] = index
        return seen

    def _associate(
        self, tracks: list[_Track], boxes: np.ndarray, indices: np.ndarray, heights_px: np.ndarray
    ) -> dict[_Track, int]:
        """Match tracks with the boxes of these indices, and update each with its own."""
        if not tracks or not len(indices):
            return {}
        predicted = grown(_boxes_of(tracks), BUFFER)
        overlap = iou(predicted[:, None], grown(boxes[indices], BUFFER))
        overlap[overlap < MIN_IOU] = 0
        matched = {tracks[row]: int(indices[column]) for row, column in best_assignment(overlap)}
        for track, index in matched.items():
            track.update(boxes[index], heights_px[index])
        return matched

    def _members(self, faces: dict[_Track, int], candidates: Detections, threshold: float) -> np.ndarray:
        """Indices of the parts of each face (F,7), -1 for those that were not found."""
        indices = np.array(list(faces.values()), int)
        boxes = candidates.boxes[indices]
        expected = (
            None if self._raw else [track.expected_features(box) for track, box in zip(faces, boxes, strict=True)]
        )
        features = self._grouper.group(boxes, candidates, threshold, expected)
        return np.column_stack([indices, features])


def _boxes_of(tracks: Sequence[_Track]) -> np.ndarray:
    """The predicted boxes (T,4) of tracks."""
    return np.array([track.box for track in tracks]).reshape(-1, 4)


def _with_held(tracked: Detections, held: Sequence[Detections]) -> Detections:
    """Detections and those that were held, best first."""
    if not sum(map(len, held)):
        return tracked
    together = Detections.concatenate([tracked, *held])
    return together[np.argsort(-together.scores, kind="stable")]

"""Faces that get a close-up, and what their close-ups make of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from realtime.faces.boxes import grown, inside_any, iou
from realtime.faces.known import KnownFaces
from realtime.metadata import ModelMetadata
from realtime.regions.merge import Seen, merge
from realtime.structures import Detections

MIN_IOU = 0.3
"""Of a face in its close-up with the face as it was found: small boxes are coarse."""
BUFFER = 0.4
"""A face that is known from earlier frames may have moved: then both boxes are grown by this share on each side."""
FEATURELESS_PX = 16
"""A close-up of a face lower than this may show none of its parts."""
SURE_OF_PARTS = 0.4
"""Where all parts of a face together are less likely than this, the face is less likely too: letters and wheels look
like faces, but have no parts."""
MAX_CLOSE_UPS = 64
"""Of the best candidates, so that a crowd takes bounded time."""


@dataclass(frozen=True, slots=True, eq=False)
class Targets:
    """Faces that get a close-up."""

    boxes: np.ndarray
    """(F,4) float, xyxy px."""
    scores: np.ndarray
    """(F,) float, 0..1, of the first look, or of earlier frames."""
    buffers: np.ndarray
    """(F,) float, by which share their boxes are grown to be compared with those in the close-up."""
    rows: np.ndarray
    """(N,) bool, which detections of the first look are among them."""
    are_small: np.ndarray
    """(F,) bool, which are too small to be seen in the whole image: what was found in them is left to the close-up."""


def targets_of(known: KnownFaces, found: Detections) -> Targets:
    """Known faces as targets, and with them the detections that are probably the same faces."""
    rows = is_face(found) & inside_any(found.boxes, known.boxes)
    return Targets(known.boxes, known.scores, np.full(len(known), BUFFER), rows, np.ones(len(known), bool))


def is_face(found: Detections) -> np.ndarray:
    """Which detections are faces: (N,) bool."""
    return np.array([name.lower() == "face" for name in found.names], bool)


def is_candidate(found: Detections, metadata: ModelMetadata) -> np.ndarray:
    """Which detections are faces that a close-up may confirm: (N,) bool."""
    candidate: np.ndarray = is_face(found) & (found.scores >= metadata.levels.candidate)
    return candidate


def shown_by_tiles_alone(found: Detections, seen: Sequence[Seen], metadata: ModelMetadata) -> np.ndarray:
    """Which boxes (N,) bool are those of faces in a tile that the whole image, the first region, does not show."""
    whole, *tiles = (one.found[is_candidate(one.found, metadata)] for one in seen)
    in_tiles = np.concatenate([np.zeros((0, 4), np.float32), *(faces.boxes for faces in tiles)])
    in_whole = whole.above(metadata.threshold).boxes
    alone: np.ndarray = _is_among(found.boxes, in_tiles) & ~_is_among(found.boxes, in_whole)
    return alone


def _is_among(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Which boxes (N,4) are about the same as one of the others (M,4): (N,) bool."""
    is_among: np.ndarray = iou(boxes[:, None], others[None]).max(axis=1, initial=0.0) >= MIN_IOU
    return is_among


def targets_among(
    found: Detections, candidate: np.ndarray, doubtful: np.ndarray, is_small: np.ndarray, known: KnownFaces
) -> Targets:
    """Known faces, and the candidates (N,) bool that are ``doubtful`` (N,) bool.

    A known face is looked at where it is expected, though it may have been found elsewhere: the same view in each frame
    gives the steadiest boxes.
    """
    large = found.boxes[candidate & ~doubtful]
    known = known[~inside_any(known.boxes, large)][:MAX_CLOSE_UPS]
    again = doubtful & inside_any(found.boxes, known.boxes)
    fresh = doubtful & ~again & ~inside_any(found.boxes, large)
    fresh[np.flatnonzero(fresh)[MAX_CLOSE_UPS - len(known) :]] = False
    return Targets(
        np.concatenate([found.boxes[fresh], known.boxes.astype(np.float32)]),
        np.concatenate([found.scores[fresh], known.scores]),
        np.concatenate([np.zeros(fresh.sum()), np.full(len(known), BUFFER)]),
        fresh | again,
        np.concatenate([is_small[fresh], np.ones(len(known), bool)]),
    )


def scores_in_views(boxes: np.ndarray, buffers: np.ndarray, views: Sequence[Detections]) -> np.ndarray:
    """The score of each target in its close-up, 0 where that does not show it.

    Args:
        boxes: (F,4) float, xyxy px, of the targets.
        buffers: (F,) float, theirs.
        views: what their close-ups show.

    Returns:
        (F,) float64.
    """
    rows = [_row_of(face, view, buffer) for face, buffer, view in zip(boxes, buffers.tolist(), views, strict=True)]
    return np.array([0.0 if row is None else view.scores[row] for row, view in zip(rows, views, strict=True)])


def are_undecided(scores: np.ndarray, in_views: np.ndarray, threshold: float) -> np.ndarray:
    """Which faces a third opinion may move across the threshold: (F,) bool.

    Args:
        scores: (F,) float, the mean of two opinions.
        in_views: (F,) float, the second of them; what a close-up does not show is no face.
        threshold: least score of a face.
    """
    undecided: np.ndarray = (in_views > 0) & (scores > (3 * threshold - 1) / 2) & (scores < 3 * threshold / 2)
    return undecided


def replace_by_views(
    metadata: ModelMetadata, found: Detections, targets: Targets, views: Sequence[Detections], scores: np.ndarray
) -> Detections:
    """Replace targets, and all that lies in them, by what their close-ups show, with these scores (F,) float.

    Of a large one that its close-up does not show, the face alone is dropped: the rest was seen in the whole image.
    """
    confirmed = [
        _confirmed(view, face, score, buffer)
        for view, face, score, buffer in zip(
            views, targets.boxes, scores.tolist(), targets.buffers.tolist(), strict=True
        )
    ]
    others = found.boxes[is_candidate(found, metadata) & ~targets.rows]
    is_emptied = targets.are_small | np.array([len(face) > 0 for face in confirmed], bool)
    replaced = inside_any(found.boxes, targets.boxes[is_emptied]) & ~inside_any(found.boxes, others)
    together = Detections.concatenate([found[~targets.rows & ~replaced], *confirmed])
    together = together[np.argsort(-together.scores, kind="stable")].above(metadata.min_score)
    everywhere = Seen(together, np.zeros(4), 1.0)
    return merge([everywhere], (0, 0), len(together))


def _confirmed(view: Detections, face: np.ndarray, score: float, buffer: float) -> Detections:
    """A face (4,) as its close-up shows it, with its parts; nothing if the close-up does not show it.

    The face gets this score; one that is new, not known from earlier frames, less if none of its parts is seen. A part
    that is seen in a face is more likely than by itself, 1 - (1 - part)², but never more likely than the face.
    """
    best = _row_of(face, view, buffer)
    if best is None:
        return view[:0]
    part_of_it = ~is_face(view) & inside_any(view.boxes, view.boxes[best : best + 1])
    if not buffer and face[3] - face[1] > FEATURELESS_PX and _knows_parts(view):
        score *= min(1.0, _any_of(view.scores[part_of_it]) / SURE_OF_PARTS)
    scores = np.minimum(1 - (1 - view.scores) ** 2, score)
    scores[best] = score
    part_of_it[best] = True
    return replace(view, scores=scores.astype(np.float32))[part_of_it]


def _knows_parts(view: Detections) -> bool:
    return {"eye", "nose", "mouth"} <= {name.lower() for name in view.class_names}


def _any_of(scores: np.ndarray) -> float:
    """How likely at least one of some detections (N,) is right."""
    return float(1 - np.prod(1 - scores))


def _row_of(face: np.ndarray, view: Detections, buffer: float) -> int | None:
    """Which detection in its close-up is a face (4,); None if the close-up does not show it."""
    overlap = np.where(is_face(view), iou(grown(view.boxes, buffer), grown(face[None], buffer)), 0.0)
    if overlap.max(initial=0.0) < MIN_IOU:
        return None
    return int(np.argmax(overlap * view.scores))

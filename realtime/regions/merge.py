"""Detections of several regions of one frame as those of the frame."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from realtime.structures import Detections

IOU = 0.5
"""Boxes of one class that overlap more are the same object: the threshold of suppression in the graph."""
CUT_PX = 2.0
"""A box that ends so near to a region's edge, in pixels of the network's input, is cut off by it."""
INSIDE = 0.6
"""A cut-off box with this share of its area in a whole box of its class is a piece of it."""
NESTED = 0.7
"""A face with this share of its area in a face of more than twice its size is a part of it, such as a mouth."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What the network found in one region."""

    found: Detections
    """Boxes in pixels of the frame."""
    region: np.ndarray
    """(4,) float, xyxy in pixels of the frame."""
    scale: float
    """Pixels of the network's input in a pixel of the frame."""


def merge(seen: Sequence[Seen], frame_wh: tuple[int, int], max_detections: int) -> Detections:
    """Suppress what was seen twice, and let the boxes of an object vote, as the graph does for one region.

    Whole boxes come before those that a region's edge cuts off, which are dropped where they are pieces of a whole one.
    Each box is the mean of the boxes that overlap it, weighted by their scores and by how far their overlap exceeds the
    threshold (see ``train.models.voting``).

    Args:
        seen: of one frame, all with the labels of one model.
        frame_wh: width and height in pixels of the frame.
        max_detections: of the result, the best of each.
    """
    found = Detections.concatenate([one.found for one in seen])
    is_cut = np.concatenate([cut_off(one, frame_wh) for one in seen])
    order = np.argsort(is_cut - found.scores, kind="stable")
    found, is_cut = found[order], is_cut[order]
    same_class = found.labels[:, None] == found.labels
    overlaps, inside, margins = _overlap(found.boxes)
    suppresses = same_class & ((overlaps > IOU) | (~is_cut[:, None] & is_cut & (inside.T > INSIDE)))
    kept = _suppress(suppresses)
    kept &= ~_nested(found, inside, kept)
    weights = np.where(same_class & ~is_cut, found.scores * margins, 0.0)
    own = np.eye(len(found), dtype=bool)
    weights = np.where(own & (weights.sum(1, keepdims=True) == 0), 1.0, weights)
    voted = (weights @ found.boxes.astype(np.float64) / weights.sum(1, keepdims=True)).astype(np.float32)
    rows = np.flatnonzero(kept)
    rows = rows[np.argsort(-found.scores[rows], kind="stable")][:max_detections]
    return Detections(voted[rows], found.labels[rows], found.scores[rows], found.class_names)


def cut_off(seen: Seen, frame_wh: tuple[int, int]) -> np.ndarray:
    """Which boxes (N,) bool end at an edge of the region that is not one of the frame."""
    near = CUT_PX / seen.scale
    low, high = seen.region[:2], seen.region[2:]
    at_low = (seen.found.boxes[:, :2] - low < near) & (low > 0)
    at_high = (high - seen.found.boxes[:, 2:] < near) & (high < frame_wh)
    is_cut: np.ndarray = (at_low | at_high).any(axis=1)
    return is_cut


def _overlap(boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How boxes (N,4) overlap, each (N,N).

    Returns:
        The IoU; the share of box i that lies in box j; and by how many px² the overlap exceeds the threshold, 0 where
        it does not.
    """
    low = np.maximum(boxes[:, None, :2], boxes[:, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[:, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    both = area[:, None] + area
    margins = np.clip(shared * ((1 + IOU) / IOU) - both, 0, None)
    return shared / np.maximum(both - shared, 1e-9), shared / np.maximum(area[:, None], 1e-9), margins


def _suppress(suppresses: np.ndarray) -> np.ndarray:
    """Greedy suppression: which boxes (N,) bool are kept, where (N,N) says which earlier one suppresses which."""
    kept = np.ones(len(suppresses), bool)
    for row in range(len(suppresses)):
        if kept[row]:
            kept[row + 1 :] &= ~suppresses[row, row + 1 :]
    return kept


def _nested(found: Detections, inside: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Which faces (N,) bool are a part of a larger one that scores at least as high."""
    is_face = np.array([name.lower() == "face" for name in found.names], bool) & kept
    area = (found.boxes[:, 2:] - found.boxes[:, :2]).prod(axis=1)
    larger = (area > 2 * area[:, None]) & (found.scores >= found.scores[:, None])
    nested: np.ndarray = (is_face[:, None] & is_face & larger & (inside > NESTED)).any(axis=1)
    return nested

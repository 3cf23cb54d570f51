"""Arithmetic of boxes (N,4), xyxy in pixels."""

import numpy as np


def centre_and_size(boxes: np.ndarray) -> np.ndarray:
    """(…,4) xyxy as centre x, centre y, width, height."""
    low, high = boxes[..., :2], boxes[..., 2:]
    return np.concatenate([(low + high) / 2, high - low], axis=-1)


def corners(centred: np.ndarray) -> np.ndarray:
    """(…,4) centre x, centre y, width, height as xyxy."""
    centre, half = centred[..., :2], centred[..., 2:] / 2
    return np.concatenate([centre - half, centre + half], axis=-1)


def grown(boxes: np.ndarray, share: float) -> np.ndarray:
    """Boxes (…,4) with this share of their width and height added on each side."""
    size = boxes[..., 2:] - boxes[..., :2]
    return boxes + share * np.concatenate([-size, size], axis=-1)


def iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes (…,4) with boxes (…,4), broadcast; 0 where a box is NaN or empty."""
    overlap = np.minimum(first[..., 2:], second[..., 2:]) - np.maximum(first[..., :2], second[..., :2])
    shared = np.where((overlap > 0).all(axis=-1), overlap[..., 0] * overlap[..., 1], 0)
    union = _area(first) + _area(second) - shared
    ratio: np.ndarray = np.divide(shared, union, out=np.zeros_like(union), where=shared > 0)
    return ratio


def inside_any(boxes: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Which boxes (N,4) have their centre in one of the faces (F,4): (N,) bool."""
    centres = ((boxes[:, :2] + boxes[:, 2:]) / 2)[:, None]
    inside: np.ndarray = ((faces[:, :2] <= centres) & (centres <= faces[:, 2:])).all(axis=2).any(axis=1)
    return inside


def _area(boxes: np.ndarray) -> np.ndarray:
    area: np.ndarray = (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])
    return area

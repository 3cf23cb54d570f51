"""Hand-made faces as a detector would find them."""

import math

import numpy as np

from realtime.structures import Detections

NAMES = ("face", "eye", "eyebrow", "nose", "mouth")
LABELS = {name: label for label, name in enumerate(NAMES)}
UPRIGHT = {
    "left_eye": (70, 32, 20, 10),
    "right_eye": (30, 32, 20, 10),
    "left_eyebrow": (74, 22, 32, 11),
    "right_eyebrow": (26, 22, 32, 11),
    "nose": (50, 52, 30, 36),
    "mouth": (50, 86, 42, 20),
}
"""Centre, width and height of each part on a face 100 wide and 116 high, by eye from a portrait. The left eye is the
subject's, on the right in the image."""
PROFILE = {
    "left_eye": (40, 34, 18, 11),
    "left_eyebrow": (40, 23, 30, 13),
    "nose": (13, 51, 24, 36),
    "mouth": (21, 84, 28, 20),
}
"""A head that looks towards the left edge of the image, and so shows its left side."""
WIDTH, HEIGHT = 100, 116

Part = tuple[str, float, tuple[float, float, float, float]]
"""Class, score, xyxy box."""


def kind(name: str) -> str:
    """The class of a part."""
    return name.rpartition("_")[2]


def box_about(x: float, y: float, width: float, height: float) -> tuple[float, float, float, float]:
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def made_face(
    at: tuple[float, float] = (300, 200),
    scale: float = 1.0,
    *,
    tilt_deg: float = 0.0,
    parts: dict[str, tuple[float, float, float, float]] | None = None,
    without: tuple[str, ...] = (),
    scores: dict[str, float] | None = None,
) -> dict[str, Part]:
    """A face with its centre ``at`` a place, by name of part ("face" for itself); turned clockwise by ``tilt_deg``."""
    angle = math.radians(tilt_deg)
    cos, sin = math.cos(angle), math.sin(angle)
    around = np.array([(math.cos(a), math.sin(a)) for a in np.linspace(0, 2 * math.pi, 61)]) * [WIDTH / 2, HEIGHT / 2]
    outline = around @ np.array([[cos, sin], [-sin, cos]]) * scale + at
    scores = scores or {}
    made = {"face": ("face", scores.get("face", 0.99), (*outline.min(axis=0).tolist(), *outline.max(axis=0).tolist()))}
    for name, (x, y, width, height) in (parts or UPRIGHT).items():
        if name not in without:
            dx, dy = (x - WIDTH / 2) * scale, (y - HEIGHT / 2) * scale
            centre = at[0] + cos * dx - sin * dy, at[1] + sin * dx + cos * dy
            made[name] = (kind(name), scores.get(name, 0.95), box_about(*centre, width * scale, height * scale))
    return made


def detections_of(*faces: dict[str, Part]) -> Detections:
    """All parts of all faces, best first."""
    parts = sorted((part for face in faces for part in face.values()), key=lambda part: -part[1])
    return Detections(
        np.array([box for _, _, box in parts], np.float32).reshape(-1, 4),
        np.array([LABELS[name] for name, _, _ in parts], np.int64),
        np.array([score for _, score, _ in parts], np.float32),
        NAMES,
    )


def mirrored(detections: Detections, width: float) -> Detections:
    """The same in an image ``width`` px wide that is flipped left to right."""
    boxes = detections.boxes[:, [2, 1, 0, 3]] * [-1, 1, -1, 1] + [width, 0, width, 0]
    return Detections(boxes, detections.labels, detections.scores, NAMES)

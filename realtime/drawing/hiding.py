"""Hiding faces, or other classes, in place of drawing boxes."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from realtime.drawing.covers import Cover
from realtime.errors import ModelError
from realtime.structures import NO_FACE, NO_PART, Detections, Frame

HOLD_S = 0.5
"""A box that is not found again stays hidden for this time: a frame that the detector misses must not reveal the face.
The time between two frames counts as at most half of it."""
GROWTH_PER_S = 0.5
"""Share of its longer side by which such a box grows on each side: the face may have moved."""


@dataclass(frozen=True, slots=True)
class HeldBox:
    """A box and the time at which it was last found."""

    box: np.ndarray
    """(4,) float32, xyxy in pixels."""
    seen_s: float
    face: tuple[int, int] = (NO_FACE, NO_PART)
    """Id of the face, and which part of it this is, where both are known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hiding:
    """What a user wants hidden, and how."""

    classes: str = "face"
    """Names of classes, separated by commas."""
    cover: Cover = field(default_factory=Cover)
    parameter: str = "hide"
    """The option that asked for it, which errors name."""

    @property
    def value(self) -> str:
        """What was given for ``parameter``."""
        return self.cover.how if self.parameter == "hide" else self.classes

    def to_dict(self) -> dict[str, object]:
        """Plain JSON values."""
        cover = self.cover
        return {"classes": self.classes, "how": cover.how, "shape": cover.shape.value, "margin": cover.margin}

    @property
    def names(self) -> list[str]:
        """Those of the classes."""
        return [name.strip() for name in self.classes.split(",")]


def hold(held: Iterable[HeldBox], found: Sequence[HeldBox], now_s: float) -> list[HeldBox]:
    """The boxes to hide now: those found in this frame, and earlier ones that none of them replaces.

    Args:
        held: what this function returned for the previous frame.
        found: in this frame.
        now_s: its timestamp in seconds.
    """
    boxes = boxes_of(found)
    missed = [old for old in held if 0 <= now_s - old.seen_s <= HOLD_S and not is_replaced(old.box, boxes)]
    return [*found, *missed]


def boxes_of(held: Sequence[HeldBox]) -> np.ndarray:
    """Their boxes, (N,4) float32."""
    return np.array([item.box for item in held], np.float32).reshape(-1, 4)


def is_replaced(box: np.ndarray, boxes: np.ndarray) -> bool:
    """True if one of ``boxes`` covers the centre of ``box`` and is not much smaller."""
    middle = (box[:2] + box[2:]) / 2
    covers = ((boxes[:, :2] <= middle) & (middle <= boxes[:, 2:])).all(1)
    sides = boxes[:, 2:] - boxes[:, :2]
    return bool((covers & (sides >= 0.5 * (box[2:] - box[:2])).all(1)).any())


def hide(image: np.ndarray, held: Iterable[HeldBox], now_s: float, cover: Cover | None = None) -> np.ndarray:
    """Hide boxes, and a margin around each that grows with the time since or until it was found.

    Args:
        image: uint8 (H,W,3); left as it is.
        held: what to hide.
        now_s: timestamp of ``image`` in seconds.
        cover: how; by default under blocks.

    Returns:
        A new image of the same shape.
    """
    cover = cover or Cover()
    canvas = image.copy()
    for item in held:
        # In the canvas, not the image: where two boxes overlap, neither may bring back what the other hid.
        cover.put(canvas, item.box, GROWTH_PER_S * abs(now_s - item.seen_s))
    return canvas


class Hider:
    """Draws frames with chosen classes, faces say, hidden; what is missed in a frame stays hidden for a while."""

    def __init__(self, class_names: tuple[str, ...], hiding: Hiding | None = None) -> None:
        """By default, faces are pixelated.

        Raises:
            ModelError: the model has no such class.
        """
        self.hiding = hiding or Hiding()
        for name in self.hiding.names:
            if name not in class_names:
                choices = f"choose from {', '.join(class_names)}"
                parameter = "hide_classes" if self.hiding.parameter == "hide" else self.hiding.parameter
                raise ModelError("the model has no such class", parameter=parameter, value=name, remedy=choices)
        self._labels = [class_names.index(name) for name in self.hiding.names]
        self._held: list[HeldBox] = []
        self._clock_s = 0.0
        """Clock of the held boxes; a frame advances it by at most half of ``HOLD_S``: one miss reveals nothing."""
        self._last_s = math.inf
        self._last_wh: tuple[int, int] | None = None
        self.hidden = np.zeros((0, 4), np.float32)
        """(N,4) what is hidden in the latest frame, without margins."""

    def __call__(self, frame: Frame, detections: Detections) -> np.ndarray:
        """The image uint8 (H,W,3) BGR to show of the next frame of a stream."""
        return hide(frame.image, self.plan(frame, detections), 0.0, self.hiding.cover)

    def plan(self, frame: Frame, detections: Detections) -> list[HeldBox]:
        """What to hide in the next frame of a stream; only the shape of its image counts. Its time is 0."""
        size_wh = frame.image.shape[1], frame.image.shape[0]
        if self._last_wh and size_wh != self._last_wh:  # a stream may change its size
            factors = np.tile(np.divide(size_wh, self._last_wh), 2).astype(np.float32)
            self._held = [replace(old, box=old.box * factors) for old in self._held]
        self._clock_s += min(max(frame.pts_s - self._last_s, 0.0), HOLD_S / 2)
        self._last_s, self._last_wh = frame.pts_s, size_wh
        self._held = hold(self._held, self.find(detections, self._clock_s), self._clock_s)
        shown = [*self._held, *self._expected(frame)]
        self.hidden = boxes_of(shown)
        return [replace(item, seen_s=item.seen_s - self._clock_s) for item in shown]

    def still(self, image: np.ndarray, detections: Detections) -> np.ndarray:
        """The same for a still image."""
        return hide(image, self.find(detections, 0.0), 0.0, self.hiding.cover)

    def find(self, detections: Detections, now_s: float) -> list[HeldBox]:
        """What is to be hidden among what was found."""
        chosen = detections[np.isin(detections.labels, self._labels)]
        rows = zip(chosen.boxes, chosen.face_ids.tolist(), chosen.parts.tolist(), strict=True)
        return [HeldBox(box, now_s, (face_id, part)) for box, face_id, part in rows]

    def _expected(self, frame: Frame) -> list[HeldBox]:
        """What is to be hidden because of frames to come; nothing where they are not known."""
        return []

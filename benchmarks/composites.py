"""Scenes of 1280x720 with small faces whose boxes are known: labelled faces pasted into images without faces."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from train.data.dataset import LabelledImage, boxes_in_pixels
from train.data.images import read_image

SIZE_WH = (1280, 720)
HEIGHTS_PX = (12.0, 200.0)
"""Range of the height of a pasted face, drawn log-uniformly."""
FACES = (1, 12)
CONTEXT = 0.45
"""What is pasted around a face, in its widths and heights on each side: hair and shoulders belong to it."""
FEATHER = 0.2
"""Share of the pasted image over which its edge fades."""
MAX_UPSCALE = 1.5

Scene = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Image uint8 (H,W,3) RGB, boxes (N,4) float32 xyxy px, classes (N,) int64."""


def composites(images: Sequence[LabelledImage], face_class: int, count: int, seed: int = 0) -> Iterator[Scene]:
    """Make scenes, the same for the same images, count and seed.

    Args:
        images: with faces, which are pasted, and without any, into which they are pasted.
        face_class: zero-based class of a face.
        count: number of scenes.
        seed: of the random draws.
    """
    rng = np.random.default_rng(seed)
    empty = [image for image in images if not len(image.classes)]
    faces = [(image, row) for image in images for row in np.flatnonzero(image.classes == face_class)]
    if not empty or not faces:
        return
    for _ in range(count):
        canvas = scene_of(read_image(empty[rng.integers(len(empty))].path), rng)
        boxes, classes, taken = [], [], np.zeros(canvas.shape[:2], bool)
        for _ in range(int(rng.integers(FACES[0], FACES[1] + 1))):
            image, row = faces[rng.integers(len(faces))]
            pasted = _paste(canvas, taken, image, int(row), rng)
            if pasted is not None:
                boxes.append(pasted[0])
                classes.append(pasted[1])
        if boxes:
            yield canvas, np.concatenate(boxes), np.concatenate(classes)


def scene_of(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """An image scaled to cover the scene, cut at random."""
    width, height = SIZE_WH
    scale = max(width / image.shape[1], height / image.shape[0])
    scaled = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    x, y = (int(rng.integers(spare + 1)) for spare in (scaled.shape[1] - width, scaled.shape[0] - height))
    return np.ascontiguousarray(scaled[y : y + height, x : x + width])


@dataclass(frozen=True, slots=True)
class Patch:
    """A face cut out to be pasted."""

    image: np.ndarray
    """uint8 (H,W,3) RGB."""
    alpha: np.ndarray
    """(H,W,1) float64, opacity."""
    boxes: np.ndarray
    """(N,4) float64 xyxy px, the face and its parts, from the upper left corner of ``image``."""
    classes: np.ndarray
    """(N,) int64."""

    def paste(self, canvas: np.ndarray, x: int, y: int) -> np.ndarray:
        """Paste it into an image, its upper left corner at (x, y), and return its boxes (N,4) float32 there."""
        place = slice(y, y + self.image.shape[0]), slice(x, x + self.image.shape[1])
        canvas[place] = np.rint(self.alpha * self.image + (1 - self.alpha) * canvas[place]).astype(np.uint8)
        moved: np.ndarray = (self.boxes + np.tile([x, y], 2)).astype(np.float32)
        return moved


def cut_out(image: LabelledImage, row: int, height_px: float) -> Patch:
    """Cut out the face of a row of the labels with its surroundings, scaled to a height."""
    rgb = read_image(image.path)
    boxes = boxes_in_pixels(image, rgb.shape[1], rgb.shape[0])
    face = boxes[row]
    size = face[2:] - face[:2]
    low, high = np.floor(face[:2] - CONTEXT * size), np.ceil(face[2:] + CONTEXT * size)
    low, high = np.maximum(low, 0).astype(int), np.minimum(high, [rgb.shape[1], rgb.shape[0]]).astype(int)
    patch = rgb[low[1] : high[1], low[0] : high[0]]
    scale = min(height_px / size[1], MAX_UPSCALE)
    wh = np.maximum(1, np.round(np.array(patch.shape[1::-1]) * scale)).astype(int)
    small = cv2.resize(patch, (int(wh[0]), int(wh[1])), interpolation=cv2.INTER_AREA)
    factors = np.tile(wh / np.array(patch.shape[1::-1]), 2)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    of_face = ((face[:2] <= centres) & (centres <= face[2:])).all(axis=1)
    moved = (boxes - np.tile(low, 2)) * factors
    return Patch(small, _feathered(wh)[..., None], moved[of_face], image.classes[of_face])


def _paste(
    canvas: np.ndarray, taken: np.ndarray, image: LabelledImage, row: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray] | None:
    """Paste one face with its surroundings; its boxes and classes, or None if it fits nowhere."""
    patch = cut_out(image, row, math.exp(rng.uniform(*np.log(HEIGHTS_PX))))
    height, width = patch.image.shape[:2]
    spare = np.array(SIZE_WH) - [width, height]
    if (spare < 0).any():
        return None
    x, y = (int(rng.integers(room + 1)) for room in spare)
    place = slice(y, y + height), slice(x, x + width)
    if taken[place].any():
        return None
    taken[place] = True
    return patch.paste(canvas, x, y), patch.classes


def _feathered(wh: np.ndarray) -> np.ndarray:
    """Opacity (H,W) float64: 1 inside an ellipse, falling to 0 at the edge of the rectangle."""
    x, y = (np.linspace(-1, 1, side) for side in wh)
    radius = np.hypot(x[None], y[:, None])
    return np.clip((1 - radius) / FEATHER + 1, 0, 1)

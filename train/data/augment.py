"""Augmentation of training images: geometry, mosaics and backgrounds, then photometric changes.

Each image goes through one affine map (flip, rotation, scale, translation), so pixels are resampled once. Images are
uint8 (H,W,3) RGB; boxes are (N,4) float32 xyxy pixels.
"""

import itertools
import math
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from realtime.letterbox import PADDING_VALUE
from train.data.dataset import LabelledImage, boxes_in_pixels
from train.data.examples import Example
from train.data.geometry import outermost, transform_boxes, warp_onto
from train.data.image_cache import ReadImage
from train.data.images import read_image
from train.data.photometric import photometric_transform

MOSAIC_GRID = (2, 3)
CROWD_GRID = (4, 6)
"""Fewest and most columns, and rows, of a mosaic and of a crowd."""
MAX_ROTATION_DEG = 40
BACKGROUND_SCALE = (0.5, 2.0)
"""Longer side of an image without objects as a fraction of its cell."""

Cell = tuple[int, int, int, int]
"""x1, y1, x2, y2 in pixels of the canvas."""
Range = tuple[float, float]


@dataclass(frozen=True, slots=True)
class AugmentOptions:
    """Probabilities and ranges of the geometric augmentation."""

    box_side: Range = (0.025, 0.95)
    """Longer side of one outermost box (a face, not its parts), as a fraction of the input side, drawn log-uniformly
    …"""
    small_share: float = 0.4
    """… with this probability from below ``small_below``, otherwise from above."""
    small_below: float = 0.15
    max_upscale: float = 2.0
    mosaic: float = 0.15
    """Probability of a mosaic of four to nine images; at 0.4, two thirds of all image instances would be in cells."""
    mosaic_box_side: Range = (0.3, 0.95)
    """As ``box_side``, but as a fraction of a mosaic's cell: the faces of a group are side by side."""
    crowd: float = 0.15
    """Probability of a mosaic of 16 to 36 images: an audience across the room."""
    crowd_box_side: Range = (0.2, 0.95)
    """As ``mosaic_box_side``, for the cells of a crowd."""
    flip: float = 0.5
    """Probability of a horizontal flip."""
    background: float = 0.5
    """Probability that an image is surrounded by an image without objects, if there are any, not by one colour."""
    rotate: float = 0.4
    """Probability of a rotation: the box of a rotated object can only be estimated from its old box …"""
    rotation_deg: float = 15.0
    """… and the standard deviation of its angle, which is clipped at 40°."""
    aspect: float = 0.08
    """Standard deviation of log(width scale / height scale)."""
    min_visible: float = 0.4
    """Boxes with less than this fraction of their area in the cell are dropped."""
    min_side_px: float = 2.5
    """A box whose longer side is below twice this, or shorter side below this, is too small to be learnt."""


class Augment:
    """Makes training examples from the images of a split.

    Every example is a function of (index, rng), so that runs can be repeated and resumed exactly.
    """

    def __init__(
        self,
        images: list[LabelledImage],
        size: int,
        options: AugmentOptions | None = None,
        read: ReadImage = read_image,
    ) -> None:
        """Take the images of a split, which ``read`` reads; ``size`` is the side in pixels of the examples."""
        self.images = images
        self.size = size
        self.options = options or AugmentOptions()
        self._read = read
        self._backgrounds = [image for image in images if not len(image.classes)]
        self._photometric = photometric_transform()

    def __call__(self, index: int, rng: np.random.Generator) -> Example:
        """Make an example around image ``index``: alone on a background, or in a mosaic with others."""
        canvas = np.empty((self.size, self.size, 3), np.uint8)
        cells, box_side = self._layout(rng)
        others = rng.integers(len(self.images), size=len(cells) - 1)
        parts = [
            self._place(canvas, cell, self.images[i], box_side, rng)
            for i, cell in zip([index, *others], cells, strict=True)
        ]
        boxes = np.concatenate([part[0] for part in parts])
        classes = np.concatenate([part[1] for part in parts])
        return Example(self._recolour(canvas, rng), boxes, classes)

    def _layout(self, rng: np.random.Generator) -> tuple[list[Cell], Range]:
        """Cells to fill, and the range of the size of an outermost box in them."""
        o, draw = self.options, rng.random()
        if draw < o.mosaic:
            return mosaic_cells(self.size, MOSAIC_GRID, rng), o.mosaic_box_side
        if draw < o.mosaic + o.crowd:
            return mosaic_cells(self.size, CROWD_GRID, rng), o.crowd_box_side
        is_small = rng.random() < o.small_share
        box_side = (o.box_side[0], o.small_below) if is_small else (o.small_below, o.box_side[1])
        return [(0, 0, self.size, self.size)], box_side

    def _place(
        self, canvas: np.ndarray, cell: Cell, labelled: LabelledImage, box_side: Range, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draw one image into a cell of the canvas; return its visible boxes, in canvas pixels, and classes."""
        x1, y1, x2, y2 = cell
        view, cell_wh = canvas[y1:y2, x1:x2], (x2 - x1, y2 - y1)
        self._fill(view, rng)
        image = self._read(labelled.path)
        boxes = boxes_in_pixels(labelled, image.shape[1], image.shape[0])
        matrix = random_affine((image.shape[1], image.shape[0]), boxes, cell_wh, box_side, self.options, rng)
        warp_onto(view, image, matrix)
        clipped, kept = visible_boxes(transform_boxes(boxes, matrix), cell_wh, self.options)
        return clipped + np.array([x1, y1, x1, y1], np.float32), labelled.classes[kept]

    def _fill(self, view: np.ndarray, rng: np.random.Generator) -> None:
        """Fill a cell with what surrounds the image: an image without objects, letterbox grey, or any colour."""
        if self._backgrounds and rng.random() < self.options.background:
            fill_with_image(view, self._read(self._backgrounds[rng.integers(len(self._backgrounds))].path), rng)
        else:
            view[:] = PADDING_VALUE if rng.random() < 0.5 else rng.integers(256, size=3)

    def _recolour(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(int(rng.integers(2**63)))  # a tenth of the time of torch.manual_seed
            tensor = self._photometric(torch.from_numpy(image).permute(2, 0, 1))
        return tensor.permute(1, 2, 0).contiguous().numpy()


def mosaic_cells(size: int, counts: tuple[int, int], rng: np.random.Generator) -> list[Cell]:
    """Cells of a grid over a canvas of side ``size``, with uneven columns and rows, in random order.

    Args:
        size: side of the canvas in pixels.
        counts: fewest and most columns, and likewise rows.
        rng: what to draw from.
    """
    drawn = rng.integers(counts[0], counts[1] + 1, size=2)
    columns, rows = (_uneven_lines(size, int(count), rng) for count in drawn)
    cells = [(x1, y1, x2, y2) for y1, y2 in itertools.pairwise(rows) for x1, x2 in itertools.pairwise(columns)]
    return [cells[i] for i in rng.permutation(len(cells))]


def _uneven_lines(size: int, count: int, rng: np.random.Generator) -> list[int]:
    """Where ``count`` columns or rows begin, and the end of the last; each line moves by up to 0.3 of a cell."""
    moves = rng.uniform(-0.3, 0.3, size=count - 1)
    return [0, *(round((i + move) * size / count) for i, move in enumerate(moves, 1)), size]


def fill_with_image(view: np.ndarray, image: np.ndarray, rng: np.random.Generator) -> None:
    """Cover ``view`` (uint8 (H,W,3), changed in place) with a random crop of an image."""
    h, w = view.shape[:2]
    scale = max(w / image.shape[1], h / image.shape[0]) * rng.uniform(1.0, 1.5)
    spare = image.shape[1] * scale - w, image.shape[0] * scale - h
    shift = -rng.random() * spare[0], -rng.random() * spare[1]
    matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
    cv2.warpAffine(image, matrix, (w, h), view, borderMode=cv2.BORDER_REFLECT)


def random_affine(
    image_wh: tuple[int, int],
    boxes: np.ndarray,
    cell_wh: tuple[int, int],
    box_side: Range,
    options: AugmentOptions,
    rng: np.random.Generator,
) -> np.ndarray:
    """A 2x3 map from image to cell that gives one of the outermost boxes, the anchor, a random size and place.

    Args:
        image_wh: width and height of the image; the whole image is the anchor if there are no boxes.
        boxes: (N,4) float32 xyxy pixels of the image.
        cell_wh: width and height of the cell.
        box_side: range of the anchor's longer side as a fraction of the cell's shorter side.
        options: of the augmentation.
        rng: what to draw from.
    """
    anchor = rng.choice(outermost(boxes)) if len(boxes) else np.array([0, 0, *image_wh], np.float32)
    side = float((anchor[2:] - anchor[:2]).max())
    low, high = box_side if len(boxes) else BACKGROUND_SCALE
    scale = min(cell_wh) * math.exp(rng.uniform(math.log(low), math.log(high))) / side
    scale = min(scale, options.max_upscale)
    linear = _random_linear(scale, options, rng)
    centre = np.array([(anchor[0] + anchor[2]) / 2, (anchor[1] + anchor[3]) / 2], np.float64)
    # The centre is anywhere that keeps the anchor inside, or slightly outside (up to a fifth of its side).
    margin = 0.6 * side * scale / 2
    target = [rng.uniform(min(margin, wh - margin), max(margin, wh - margin)) for wh in cell_wh]
    return np.column_stack([linear, np.array(target) - linear @ centre])


def _random_linear(scale: float, options: AugmentOptions, rng: np.random.Generator) -> np.ndarray:
    """Scale with a random aspect, rotation and flip, (2,2) float64."""
    aspect = math.exp(rng.normal(0, options.aspect) / 2)
    deviation_deg = options.rotation_deg if rng.random() < options.rotate else 0.0
    angle_deg = np.clip(rng.normal(0, deviation_deg), -MAX_ROTATION_DEG, MAX_ROTATION_DEG)
    angle = math.radians(float(angle_deg))
    flip = -1.0 if rng.random() < options.flip else 1.0
    cos, sin = math.cos(angle), math.sin(angle)
    rotation = np.array([[cos, -sin], [sin, cos]], np.float64)
    linear: np.ndarray = rotation @ np.diag([flip * scale * aspect, scale / aspect])
    return linear


def visible_boxes(
    boxes: np.ndarray, cell_wh: tuple[int, int], options: AugmentOptions
) -> tuple[np.ndarray, np.ndarray]:
    """Clip boxes (N,4) to a cell; return those that remain (M,4) and which they are (N,) bool."""
    clipped = np.clip(boxes, 0, np.array([*cell_wh, *cell_wh], np.float32))
    before = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    sides = clipped[:, 2:] - clipped[:, :2]
    kept = large_enough(sides, options) & (sides.prod(axis=1) >= options.min_visible * before)
    return clipped[kept], kept


def large_enough(sides_px: np.ndarray, options: AugmentOptions) -> np.ndarray:
    """Which boxes of widths and heights (N,2), in pixels of the input, can be learnt: (N,) bool."""
    is_large: np.ndarray = (sides_px.min(axis=1) >= options.min_side_px) & (
        sides_px.max(axis=1) >= 2 * options.min_side_px
    )
    return is_large

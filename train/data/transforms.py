"""From labelled photos to network inputs: letterboxing for evaluation, augmentation for training.

Geometry is one affine map a picture (flip, rotation, scale, placement), applied once, so pixels are resampled once.
Photometric changes are torchvision's. All images here are uint8 (H,W,3) RGB; boxes are (N,4) float32 xyxy pixels.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import v2

from realtime.letterbox import PADDING_VALUE, Letterbox
from train.data.dataset import LabelledImage, boxes_in_pixels, read_image


@dataclass(frozen=True, slots=True)
class Example:
    """A network input before batching: image uint8 (S,S,3) RGB, boxes (N,4) float32 xyxy px, classes (N,) int64."""

    image: np.ndarray
    boxes: np.ndarray
    classes: np.ndarray


@dataclass(frozen=True, slots=True)
class AugmentOptions:
    """Ranges of the geometric augmentation; fractions are of the frame's side."""

    box_side: tuple[float, float] = (0.025, 0.95)
    """Longer side of one outermost box (a face, not its parts) as a fraction of the frame; drawn log-uniformly …"""
    small_share: float = 0.3
    """… from the lower part of that range this often, else from the part above ``small_below``."""
    small_below: float = 0.15
    max_upscale: float = 2.0
    mosaic: float = 0.15
    """How often an example is made of four to nine pictures; at 0.4, two thirds of what is seen would be in cells."""
    mosaic_box_side: tuple[float, float] = (0.3, 0.95)
    """The same as ``box_side``, of a mosaic's cell: faces of a group stand side by side."""
    crowd: float = 0.12
    """How often an example is made of 16 to 36 pictures: an audience across the room …"""
    crowd_box_side: tuple[float, float] = (0.2, 0.95)
    """… and the same as ``box_side``, of its cells."""
    flip: float = 0.5
    background: float = 0.5
    """How often a placed picture is surrounded by a photo without objects, if there are any, not by one colour."""
    turned: float = 0.4
    """How often a picture is turned at all: what bounds a turned part can only be estimated from its box …"""
    rotation_deg: float = 15.0
    """… and the standard deviation of the angle then."""
    aspect: float = 0.08
    """Standard deviation of log(width scale / height scale)."""
    min_visible: float = 0.4
    """A box is kept if this fraction of its area lies in the frame; otherwise it is dropped."""
    min_side_px: float = 2.5
    """A box whose longer side is below twice this, or shorter side below this, is too small to be learnt."""


def letterboxed_example(labelled: LabelledImage, size: int) -> Example:
    """Read a labelled image as the app would show it to the network."""
    image = read_image(labelled.path)
    boxed, transform = Letterbox((size, size))(image)
    boxes = boxes_in_pixels(labelled, image.shape[1], image.shape[0])
    return Example(boxed[0], transform_boxes(boxes, transform.matrix), labelled.classes)


def to_tensors(example: Example) -> tuple[Tensor, dict[str, Tensor]]:
    """Convert to torchvision's detection format: image float32 (3,S,S) in 0..1, labels one-based."""
    return torch.from_numpy(example.image).permute(2, 0, 1).float().div_(255), make_target(example)


def make_target(example: Example) -> dict[str, Tensor]:
    """What torchvision's detectors are trained on: boxes (N,4) float32, labels (N,) int64, one-based."""
    return {"boxes": torch.from_numpy(example.boxes), "labels": torch.from_numpy(example.classes + 1)}


class Augment:
    """Makes training examples from the images of a split.

    Every example is a function of (index, rng), so that runs can be repeated and resumed exactly.
    """

    def __init__(self, images: list[LabelledImage], size: int, options: AugmentOptions | None = None) -> None:
        self.images = images
        self.size = size
        self.options = options or AugmentOptions()
        self._backgrounds = [image for image in images if not len(image.classes)]
        self._photometric = photometric_transform()

    def __call__(self, index: int, rng: np.random.Generator) -> Example:
        """Make an example around image ``index``: alone on a background, or in a mosaic with others."""
        canvas = np.empty((self.size, self.size, 3), np.uint8)
        o, draw = self.options, rng.random()
        if draw < o.mosaic:
            cells, box_side = self._mosaic_cells(rng, (2, 3)), o.mosaic_box_side
        elif draw < o.mosaic + o.crowd:
            cells, box_side = self._mosaic_cells(rng, (4, 6)), o.crowd_box_side
        else:
            cells, box_side = [(0, 0, self.size, self.size)], self._box_side(rng)
        others = rng.integers(len(self.images), size=len(cells) - 1)
        parts = [
            self._place(canvas, cell, self.images[i], box_side, rng)
            for i, cell in zip([index, *others], cells, strict=True)
        ]
        boxes = np.concatenate([part[0] for part in parts])
        classes = np.concatenate([part[1] for part in parts])
        return Example(self._recolour(canvas, rng), boxes, classes)

    def _mosaic_cells(self, rng: np.random.Generator, counts: tuple[int, int]) -> list[tuple[int, int, int, int]]:
        """Cells (x1,y1,x2,y2) of a grid with ``counts`` columns and rows of uneven size, in random order."""
        drawn = rng.integers(counts[0], counts[1] + 1, size=2)
        columns, rows = (self._uneven_lines(int(count), rng) for count in drawn)
        cells = [(x1, y1, x2, y2) for y1, y2 in itertools.pairwise(rows) for x1, x2 in itertools.pairwise(columns)]
        return [cells[i] for i in rng.permutation(len(cells))]

    def _uneven_lines(self, count: int, rng: np.random.Generator) -> list[int]:
        """Where ``count`` columns or rows begin, and the end of the last; each line moves by up to 0.3 of a cell."""
        moves = rng.uniform(-0.3, 0.3, size=count - 1)
        return [0, *(round((i + move) * self.size / count) for i, move in enumerate(moves, 1)), self.size]

    def _box_side(self, rng: np.random.Generator) -> tuple[float, float]:
        o = self.options
        return (o.box_side[0], o.small_below) if rng.random() < o.small_share else (o.small_below, o.box_side[1])

    def _place(
        self,
        canvas: np.ndarray,
        cell: tuple[int, int, int, int],
        labelled: LabelledImage,
        box_side: tuple[float, float],
        rng: np.random.Generator,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draw one picture into a cell of the canvas; return its visible boxes, in canvas pixels, and classes."""
        x1, y1, x2, y2 = cell
        view = canvas[y1:y2, x1:x2]
        self._fill(view, rng)
        image = read_image(labelled.path)
        boxes = boxes_in_pixels(labelled, image.shape[1], image.shape[0])
        matrix = self._random_affine(image.shape[1], image.shape[0], boxes, (x2 - x1, y2 - y1), box_side, rng)
        warp_onto(view, image, matrix)
        moved = transform_boxes(boxes, matrix)
        clipped, kept = self._visible(moved, (x2 - x1, y2 - y1))
        return clipped + np.array([x1, y1, x1, y1], np.float32), labelled.classes[kept]

    def _fill(self, view: np.ndarray, rng: np.random.Generator) -> None:
        """Fill a cell with what surrounds the picture: a photo without objects, letterbox grey, or any colour."""
        if self._backgrounds and rng.random() < self.options.background:
            image = read_image(self._backgrounds[rng.integers(len(self._backgrounds))].path)
            h, w = view.shape[:2]
            scale = max(w / image.shape[1], h / image.shape[0]) * rng.uniform(1.0, 1.5)
            spare = image.shape[1] * scale - w, image.shape[0] * scale - h
            shift = -rng.random() * spare[0], -rng.random() * spare[1]
            cv2.warpAffine(
                image,
                np.array([[scale, 0, shift[0]], [0, scale, shift[1]]]),
                (w, h),
                view,
                borderMode=cv2.BORDER_REFLECT,
            )
        else:
            view[:] = PADDING_VALUE if rng.random() < 0.5 else rng.integers(256, size=3)

    def _random_affine(
        self,
        width: int,
        height: int,
        boxes: np.ndarray,
        cell_wh: tuple[int, int],
        box_side: tuple[float, float],
        rng: np.random.Generator,
    ) -> np.ndarray:
        """A 2x3 map from picture to cell that gives one of the outermost boxes a random size and place."""
        o = self.options
        if len(boxes):
            anchor = rng.choice(outermost(boxes))
            side = float((anchor[2:] - anchor[:2]).max())
        else:
            anchor, side = np.array([0, 0, width, height], np.float32), float(max(width, height))
        low, high = box_side if len(boxes) else (0.5, 2.0)
        scale = min(cell_wh) * math.exp(rng.uniform(math.log(low), math.log(high))) / side
        scale = min(scale, o.max_upscale)
        aspect = math.exp(rng.normal(0, o.aspect) / 2)
        turn = o.rotation_deg if rng.random() < o.turned else 0.0
        angle = math.radians(float(np.clip(rng.normal(0, turn), -40, 40)))
        flip = -1.0 if rng.random() < o.flip else 1.0
        cos, sin = math.cos(angle), math.sin(angle)
        linear = np.array([[cos, -sin], [sin, cos]], np.float64) @ np.diag([flip * scale * aspect, scale / aspect])
        centre = np.array([(anchor[0] + anchor[2]) / 2, (anchor[1] + anchor[3]) / 2], np.float64)
        half = side * scale / 2
        # The centre lies anywhere that keeps the anchor inside, or a little beyond (a fifth of its side is cut off).
        target = [rng.uniform(min(0.6 * half, wh - 0.6 * half), max(0.6 * half, wh - 0.6 * half)) for wh in cell_wh]
        return np.column_stack([linear, np.array(target) - linear @ centre])

    def _visible(self, boxes: np.ndarray, cell_wh: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Clip boxes to the cell; return those that remain (M,4) and which they are (N,) bool."""
        clipped = np.clip(boxes, 0, np.array([*cell_wh, *cell_wh], np.float32))
        before = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
        sides = clipped[:, 2:] - clipped[:, :2]
        kept = large_enough(sides, self.options) & (sides.prod(axis=1) >= self.options.min_visible * before)
        return clipped[kept], kept

    def _recolour(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(int(rng.integers(2**63)))  # a tenth of the time of torch.manual_seed
            tensor = self._photometric(torch.from_numpy(image).permute(2, 0, 1))
        return tensor.permute(1, 2, 0).contiguous().numpy()


def large_enough(sides_px: np.ndarray, options: AugmentOptions) -> np.ndarray:
    """Which boxes of widths and heights (N,2), in pixels of the input, can be learnt: (N,) bool."""
    return (sides_px.min(axis=1) >= options.min_side_px) & (sides_px.max(axis=1) >= 2 * options.min_side_px)


def outermost(boxes: np.ndarray) -> np.ndarray:
    """Those of boxes (N,4) xyxy whose centre lies in no larger box: faces, not their parts. At least one."""
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    inside = ((boxes[:, None, :2] <= centres) & (centres <= boxes[:, None, 2:])).all(axis=2)
    return boxes[~(inside & (areas[:, None] > areas)).any(axis=0)]


def photometric_transform() -> Callable[[Tensor], Tensor]:
    """Changes of colour and quality that cameras, light and video codecs make; uint8 (3,H,W) in and out."""
    return v2.Compose(
        [
            v2.RandomApply([v2.Lambda(relight)], p=0.2),
            v2.RandomApply([v2.ColorJitter(brightness=(0.3, 1.7), contrast=(0.5, 1.5), saturation=(0.3, 1.6))], p=0.7),
            v2.RandomApply([v2.ColorJitter(hue=0.05)], p=0.1),
            v2.RandomGrayscale(p=0.1),
            v2.RandomApply([v2.GaussianBlur(kernel_size=7, sigma=(0.3, 2.0))], p=0.15),
            v2.RandomApply([v2.Lambda(recompress)], p=0.2),
            v2.RandomApply([v2.GaussianNoise(sigma=0.05)], p=0.12),
        ]
    )


def relight(image: Tensor) -> Tensor:
    """A dark stage or a face against the light: a random gamma from 0.5 to 2.5; uint8 (3,H,W) in and out."""
    gamma = float(torch.empty(()).uniform_(math.log(0.5), math.log(2.5)).exp())
    table = (torch.linspace(0, 1, 256) ** gamma * 255).round().to(torch.uint8)
    return table[image.int()]


def recompress(image: Tensor) -> Tensor:
    """Through JPEG and back at a random quality from 15 to 80; uint8 (3,H,W) in and out."""
    quality = int(torch.randint(15, 81, ()))
    _, coded = cv2.imencode(".jpg", image.permute(1, 2, 0).numpy(), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return torch.from_numpy(cv2.imdecode(coded, cv2.IMREAD_COLOR)).permute(2, 0, 1)


def warp_onto(canvas: np.ndarray, image: np.ndarray, matrix: np.ndarray) -> None:
    """Draw ``image`` onto ``canvas`` (uint8 (H,W,3), changed in place) through the 2x3 map ``matrix``."""
    shrink = math.sqrt(abs(np.linalg.det(matrix[:, :2])))
    if shrink < 0.6:  # bilinear sampling would alias: average first
        factor = shrink * 1.2
        reduced_wh = max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor))
        reduced = cv2.resize(image, reduced_wh, interpolation=cv2.INTER_AREA)
        back = np.diag([image.shape[1] / reduced.shape[1], image.shape[0] / reduced.shape[0]])
        image, matrix = reduced, np.column_stack([matrix[:, :2] @ back, matrix[:, 2]])
    wh = canvas.shape[1], canvas.shape[0]
    cv2.warpAffine(
        image, about_pixel_centres(matrix), wh, dst=canvas, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_TRANSPARENT
    )


def about_pixel_centres(matrix: np.ndarray) -> np.ndarray:
    """The 2x3 map in OpenCV's coordinates, where pixel 0 lies at 0, from that of boxes, where it spans 0 to 1."""
    return np.column_stack([matrix[:, :2], matrix[:, 2] + matrix[:, :2] @ [0.5, 0.5] - 0.5])


def transform_boxes(boxes: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Map boxes (N,4) xyxy through an affine map (2,3).

    The result bounds the ellipse inscribed in the mapped box, not its corners: face parts are round, and the corners
    of a rotated box would bound a good deal of background. Without rotation both are the same.
    """
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2 @ matrix[:, :2].T + matrix[:, 2]
    halves = np.sqrt(((boxes[:, 2:] - boxes[:, :2]) / 2) ** 2 @ (matrix[:, :2] ** 2).T)
    return np.concatenate([centres - halves, centres + halves], axis=1).astype(np.float32)

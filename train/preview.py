"""``train preview``: a picture of what the network will see."""

import math
from pathlib import Path

import cv2
import numpy as np
from torch import Tensor

from train.dataset import DataConfig, load_split
from train.drawing import OUTLINE, draw_boxes, draw_legend
from train.errors import TrainError
from train.loading import EpochExamples
from train.options import FitOptions
from train.transforms import Example, letterboxed_example

MIN_CELL_PX = 320
"""Smaller inputs are enlarged by a whole factor, so that pixels stay visible and boxes can be read."""
GAP_PX = 4


def make_preview(config: DataConfig, out: Path, *, split: str, size: int, count: int, seed: int, augment: bool) -> None:
    """Write a grid of examples with their boxes, and a legend of the classes below.

    Args:
        config: the data set.
        out: picture to write; the suffix decides the format.
        split: split to show.
        size: side of the network's input in pixels.
        count: number of examples; all if the split has fewer.
        seed: of the run whose first epoch begins with these examples.
        augment: show them as that training does; else the same images, letterboxed as for validation.

    Raises:
        TrainError: the data set is wrong, an image cannot be read, or the picture not written.
    """
    if not cv2.haveImageWriter(str(out)):
        raise TrainError(f"cannot write {out}: no format of pictures has the suffix '{out.suffix}'. Use .png, say")
    examples = first_examples(config, split=split, size=size, count=count, seed=seed, augment=augment)
    picture = draw_grid(examples, config.class_names)
    if not cv2.imwrite(str(out), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)):
        raise TrainError(f"cannot write {out}: it is a folder, or may not be written, or the disk is full")


def first_examples(config: DataConfig, *, split: str, size: int, count: int, seed: int, augment: bool) -> list[Example]:
    """The first examples of the first epoch of a run with this seed, or their images letterboxed."""
    images = load_split(config, split)
    options = FitOptions(size=size, batch_size=1, seed=seed)
    epoch = EpochExamples(images, options, epoch=0)
    if not augment:
        return [letterboxed_example(images[i], size) for i in epoch.order[:count]]
    return [_from_tensors(*epoch[position]) for position in range(min(count, len(epoch)))]


def draw_grid(examples: list[Example], class_names: tuple[str, ...]) -> np.ndarray:
    """Examples with their boxes, row by row in a grid near square, above a legend: uint8 (H,W,3) RGB."""
    size = len(examples[0].image)
    zoom = max(1, math.ceil(MIN_CELL_PX / size))
    columns = math.ceil(math.sqrt(len(examples)))
    rows = math.ceil(len(examples) / columns)
    pitch = size * zoom + GAP_PX
    grid = np.full((rows * pitch, columns * pitch - GAP_PX, 3), OUTLINE, np.uint8)
    for i, example in enumerate(examples):
        enlarged = example.image.repeat(zoom, axis=0).repeat(zoom, axis=1)
        top, left = i // columns * pitch, i % columns * pitch
        grid[top : top + size * zoom, left : left + size * zoom] = draw_boxes(
            enlarged, example.boxes * zoom, example.classes
        )
    return np.concatenate([grid, draw_legend(class_names, grid.shape[1])])


def _from_tensors(image: Tensor, target: dict[str, Tensor]) -> Example:
    """The inverse of ``to_tensors``."""
    pixels = image.permute(1, 2, 0).mul(255).round().byte().numpy()
    return Example(pixels, target["boxes"].numpy(), target["labels"].numpy() - 1)

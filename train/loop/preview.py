"""``train preview``: an image of what the network will see."""

import math
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from realtime.errors import SinkError
from realtime.image_io import can_write, write_image
from train.data.data_yaml import DataConfig
from train.data.dataset import load_split
from train.data.examples import Example, letterboxed_example
from train.errors import TrainError
from train.evaluation.drawing import OUTLINE, Mark, class_colour, draw_boxes, draw_legend
from train.loop.examples import EpochExamples
from train.loop.options import FitOptions

MIN_CELL_PX = 320
"""Smaller inputs are enlarged by a whole factor, so that pixels stay visible and boxes can be read."""
GAP_PX = 4


def make_preview(config: DataConfig, out: Path, options: FitOptions, *, split: str, count: int, augment: bool) -> None:
    """Write a grid of examples with their boxes, and a legend of the classes below.

    Args:
        config: the data set.
        out: image to write; the suffix decides the format.
        options: of the run whose first epoch begins with these examples.
        split: split to show.
        count: number of examples; all if the split has fewer.
        augment: show them as that training does; else the same images, letterboxed as for validation.

    Raises:
        TrainError: the data set is wrong, an image cannot be read, or the preview not written.
    """
    if not can_write(out.suffix):
        raise TrainError(f"cannot write {out}: no image format has the suffix '{out.suffix}'. Use one such as .png")
    examples = first_examples(config, options, split=split, count=count, augment=augment)
    grid = draw_grid(examples, config.class_names)
    try:
        write_image(out, cv2.cvtColor(grid, cv2.COLOR_RGB2BGR))
    except SinkError as error:
        raise TrainError(str(error)) from error


def first_examples(config: DataConfig, options: FitOptions, *, split: str, count: int, augment: bool) -> list[Example]:
    """The first examples of the first epoch of a run with these options, or their images letterboxed."""
    images = load_split(config, split)
    epoch = EpochExamples(images, replace(options, batch_size=1), epoch=0)  # a split may be smaller than a batch
    if not augment:
        return [letterboxed_example(images[i], options.size) for i in epoch.order[:count]]
    return [epoch[position][0] for position in range(min(count, len(epoch)))]


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
        marks = [
            Mark(tuple(box), class_colour(class_id))
            for box, class_id in zip((example.boxes * zoom).tolist(), example.classes.tolist(), strict=True)
        ]
        grid[top : top + size * zoom, left : left + size * zoom] = draw_boxes(enlarged, marks)
    return np.concatenate([grid, draw_legend(class_names, grid.shape[1])])

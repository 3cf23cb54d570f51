"""Network inputs: letterboxed images and their boxes, as arrays and as torchvision's tensors."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from realtime.letterbox import Letterbox
from train.data.dataset import LabelledImage, boxes_in_pixels
from train.data.geometry import transform_boxes
from train.data.images import read_image


@dataclass(frozen=True, slots=True)
class Example:
    """A network input before batching: image uint8 (S,S,3) RGB, boxes (N,4) float32 xyxy px, classes (N,) int64."""

    image: np.ndarray
    boxes: np.ndarray
    classes: np.ndarray


def letterboxed_example(labelled: LabelledImage, size: int) -> Example:
    """Read a labelled image as the app would show it to the network."""
    image = read_image(labelled.path)
    boxed, transform = Letterbox((size, size))(image)
    boxes = boxes_in_pixels(labelled, image.shape[1], image.shape[0])
    return Example(boxed[0], transform_boxes(boxes, transform.matrix), labelled.classes)


def to_tensors(example: Example) -> tuple[Tensor, dict[str, Tensor]]:
    """Convert to torchvision's detection format: image float32 (3,S,S) in 0..1, labels one-based."""
    target = {"boxes": torch.from_numpy(example.boxes), "labels": torch.from_numpy(example.classes + 1)}
    return torch.from_numpy(example.image).permute(2, 0, 1).float().div_(255), target

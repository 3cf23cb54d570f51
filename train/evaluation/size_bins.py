"""Recall by the size of what an object belongs to: small faces are hard to detect, and so are their eyes.

Nothing here is specific to faces. An object belongs to the largest labelled box of its image that contains its centre,
whatever its class, or to itself where no other does; its bin is that of this box's height. So the parts of a face
are in the row of their face, and in a data set without nested boxes each object in the row of its own height.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from train.evaluation.matching import Boxes, Matching

EDGES_PX = (0, 16, 32, 64, 128, None)
"""Limits of the bins in pixels of the network's input; a bin holds its lower limit, not its upper one."""


@dataclass(frozen=True, slots=True)
class Found:
    """How many of some labelled objects were detected, and how accurately."""

    labelled: int
    recall: float
    """nan if nothing is labelled."""
    mean_iou: float
    """Mean IoU of those found; nan if none was."""


@dataclass(frozen=True, slots=True)
class SizeBin:
    """The objects of one bin."""

    from_px: int
    below_px: int | None
    """None for the last bin, which has no upper limit."""
    all: Found
    classes: dict[str, Found]

    @property
    def name(self) -> str:
        """Limits as text."""
        if not self.from_px:
            return f"below {self.below_px}"
        return f"{self.from_px} or more" if self.below_px is None else f"{self.from_px} to {self.below_px}"


def size_bins(
    labelled: list[Boxes], matching: Matching, class_names: tuple[str, ...], threshold: float
) -> tuple[SizeBin, ...]:
    """Recall and mean IoU by the height of what an object belongs to (see above), at one score threshold.

    Args:
        labelled: labelled boxes of each image, in pixels of the network's input.
        matching: their matches, from the same images.
        class_names: names of the labels 1, 2, ….
        threshold: minimum score of a detection.
    """
    heights = np.concatenate([enclosing_heights(image.boxes) for image in labelled])
    bins = []
    for low, high in pairwise(EDGES_PX):
        inside = (heights >= low) & (heights < (np.inf if high is None else high))
        classes = {
            name: _found(matching, inside & (matching.labels == label), threshold)
            for label, name in enumerate(class_names, start=1)
        }
        bins.append(SizeBin(low or 0, high, _found(matching, inside, threshold), classes))
    return tuple(bins)


def enclosing_heights(boxes: np.ndarray) -> np.ndarray:
    """Height of the largest box, by area, that contains the centre of each.

    Args:
        boxes: (N,4) xyxy, of one image.

    Returns:
        (N,) in the unit of ``boxes``; of a box whose centre lies in no other, its own height.
    """
    centres = (boxes[:, None, :2] + boxes[:, None, 2:]) / 2
    contains = ((boxes[:, :2] <= centres) & (centres <= boxes[:, 2:])).all(axis=2)  # (N centres, N boxes)
    sides: np.ndarray = boxes[:, 2:] - boxes[:, :2]
    largest = np.where(contains, sides.prod(axis=1), -1).argmax(axis=1) if len(boxes) else []
    heights: np.ndarray = sides[largest, 1]
    return heights


def _found(matching: Matching, chosen: np.ndarray, threshold: float) -> Found:
    found = chosen & (matching.scores >= threshold)  # nan, a missed box, is not
    labelled = int(chosen.sum())
    return Found(
        labelled,
        float(found.sum()) / labelled if labelled else float("nan"),
        float(matching.ious[found].mean()) if found.any() else float("nan"),
    )

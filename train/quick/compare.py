"""What two detectors find in the same images: which boxes both find, and which are not labelled."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from train.data.dataset import LabelledImage
from train.evaluation.evaluate import Detected, detect
from train.evaluation.matching import Boxes, match_image
from train.evaluation.metrics import Metrics, evaluate_boxes
from train.models.checkpoint import Checkpoint
from train.models.class_rows import shared_names


@dataclass(frozen=True, slots=True)
class Rated:
    """A detector on labelled images, in the classes of the labels."""

    found: tuple[Detected, ...]
    threshold: float
    """Its own score threshold."""
    class_names: tuple[str, ...]
    """Those of the labels 1, 2, …."""
    size: int
    """Side in pixels of the network's input."""

    @property
    def predicted(self) -> list[Boxes]:
        """The detections above the threshold."""
        return [found.predicted.above(self.threshold) for found in self.found]

    @property
    def metrics(self) -> Metrics:
        """At its own threshold."""
        return evaluate_boxes(
            [found.labelled for found in self.found],
            [found.predicted for found in self.found],
            self.class_names,
            self.threshold,
            [found.proposal_ious for found in self.found],
        )


@dataclass(frozen=True, slots=True)
class Agreement:
    """Of one class: how many boxes of a detector another one finds too."""

    name: str
    boxes: int
    found_too: int


def rate(
    checkpoint: Checkpoint,
    images: Sequence[LabelledImage],
    *,
    size: int,
    class_names: tuple[str, ...],
    device: torch.device,
) -> Rated:
    """Run a detector on images; of its classes those count that have the name of one of ``class_names``.

    Args:
        checkpoint: the detector.
        images: with labels of ``class_names``.
        size: side in pixels of the input.
        class_names: of the data set.
        device: to run on.
    """
    own = checkpoint.config.class_names
    shared = shared_names(own, class_names)
    labels = np.zeros(len(own) + 1, np.int64)
    for i, name in enumerate(own, start=1):
        labels[i] = class_names.index(shared[name]) + 1 if name in shared else 0
    found = detect(checkpoint.build().to(device), list(images), size=size, device=device)
    renamed = (replace(f, predicted=_with_labels(f.predicted, labels)) for f in found)
    return Rated(tuple(renamed), checkpoint.threshold, class_names, size)


def _with_labels(boxes: Boxes, labels: np.ndarray) -> Boxes:
    """The boxes with the label ``labels[l]`` for label l, without those whose label becomes 0."""
    new = labels[boxes.labels]
    return Boxes(boxes.boxes[new > 0], new[new > 0], boxes.scores[new > 0])


def unlabelled(rated: Rated) -> list[Boxes]:
    """Of each image the detections above the threshold that match no labelled box of their class."""
    boxes = []
    for found, predicted in zip(rated.found, rated.predicted, strict=True):
        partners, _ = match_image(found.labelled, predicted, same_class=True)
        free = partners < 0
        boxes.append(Boxes(predicted.boxes[free], predicted.labels[free], predicted.scores[free]))
    return boxes


def agreement(reference: Sequence[Boxes], found: Sequence[Boxes], class_names: Sequence[str]) -> list[Agreement]:
    """How many boxes of ``reference`` are found too, by class, image by image; without classes that have none."""
    boxes, too = np.zeros(len(class_names) + 1, np.int64), np.zeros(len(class_names) + 1, np.int64)
    for expected, predicted in zip(reference, found, strict=True):
        partners, _ = match_image(expected, predicted, same_class=True)
        np.add.at(boxes, expected.labels, 1)
        np.add.at(too, expected.labels[partners[partners >= 0]], 1)
    return [
        Agreement(name, int(boxes[label]), int(too[label]))
        for label, name in enumerate(class_names, start=1)
        if boxes[label]
    ]

"""The labelled boxes of a batch, in tensors of one shape."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Targets(NamedTuple):
    """The labelled boxes of B images, padded to the N of the one with the most; N is at least 1."""

    boxes: Tensor
    """(B,N,4) float32, xyxy px; zeros where an image has fewer."""
    labels: Tensor
    """(B,N) int64, one-based; 0 where an image has fewer."""
    seeds: Tensor
    """(B,) int64: what the random draws of a training step depend on, image by image."""
    counts: Sequence[int]
    """Boxes of each image. Plain numbers, since reading them from a GPU would wait for it."""

    def to(self, device: torch.device) -> "Targets":
        """The same on a device."""
        boxes, labels, seeds = (tensor.to(device, non_blocking=True) for tensor in self[:3])
        return Targets(boxes, labels, seeds, self.counts)


def pad_targets(boxes: Sequence[Tensor], labels: Sequence[Tensor], seeds: Sequence[int]) -> Targets:
    """Targets of images with boxes (N,4) float32 xyxy px and one-based labels (N,) each."""
    counts = [len(one) for one in boxes]
    longest = max(1, *counts)
    padded_boxes = torch.zeros(len(counts), longest, 4)
    padded_labels = torch.zeros(len(counts), longest, dtype=torch.int64)
    for image, count in enumerate(counts):
        padded_boxes[image, :count] = boxes[image]
        padded_labels[image, :count] = labels[image]
    return Targets(padded_boxes, padded_labels, torch.tensor(seeds, dtype=torch.int64), counts)

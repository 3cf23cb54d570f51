"""Which labelled box each anchor or proposal overlaps most: torchvision's ``Matcher`` for a whole batch."""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from train.models.targets import Targets

FEW_BOXES = 8
"""Images with as many boxes or fewer are matched together."""
MAX_PAIRS = 2**26
"""Overlaps computed at once: 256 MB in float32, and a few temporary copies."""


class Matches(NamedTuple):
    """For each of M candidates of B images, the labelled box that it overlaps most."""

    iou: Tensor
    """(B,M) float32; 0 in images without boxes."""
    box: Tensor
    """(B,M) int64, index into the boxes of the image."""
    is_closest: Tensor
    """(B,M) bool: no other candidate overlaps some labelled box more, which torchvision calls a low-quality match."""


def match(targets: Targets, candidates: Tensor) -> Matches:
    """Match candidates (B,M,4), or (1,M,4) for all images, with the labelled boxes of their image.

    Images with about the same number of boxes are matched together: padded to the most crowded image of a batch, the
    others would have ten times the work.
    """
    groups = _groups(targets.counts, candidates.shape[1])
    if len(groups) == 1:
        return _match(targets.boxes, candidates)
    parts = []
    for images in groups:
        rows = torch.tensor(images, device=candidates.device)
        boxes = targets.boxes[rows, : max(1, *(targets.counts[i] for i in images))]
        parts.append(_match(boxes, candidates if len(candidates) == 1 else candidates[rows]))
    places = torch.tensor([image for images in groups for image in images]).argsort().to(candidates.device)
    return Matches(*(torch.cat(tensors)[places] for tensors in zip(*parts, strict=True)))


def pairwise_iou(first: Tensor, second: Tensor) -> Tensor:
    """Overlap of boxes (…,N,4) with boxes (…,M,4), all xyxy px: (…,N,M), as torchvision's ``box_iou``; 0 if empty."""
    a, b = first[..., :, None, :], second[..., None, :, :]
    width = torch.minimum(a[..., 2], b[..., 2]).sub_(torch.maximum(a[..., 0], b[..., 0])).clamp_(min=0)
    height = torch.minimum(a[..., 3], b[..., 3]).sub_(torch.maximum(a[..., 1], b[..., 1])).clamp_(min=0)
    intersection = width.mul_(height)
    union = (_area(a) + _area(b)).sub_(intersection)
    return intersection.div_(union.clamp_(min=torch.finfo(union.dtype).tiny))


def _area(boxes: Tensor) -> Tensor:
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def _groups(counts: Sequence[int], candidates: int) -> list[list[int]]:
    """Images whose numbers of boxes differ by a factor of two at most, in groups that fit in memory."""
    alike: dict[int, list[int]] = defaultdict(list)
    for image, count in enumerate(counts):
        alike[max(count, FEW_BOXES).bit_length()].append(image)
    groups = []
    for bits, images in alike.items():
        size = max(1, MAX_PAIRS // (2**bits * candidates))
        groups += [images[start : start + size] for start in range(0, len(images), size)]
    return groups


def _match(boxes: Tensor, candidates: Tensor) -> Matches:
    overlaps = pairwise_iou(boxes, candidates)
    iou, box = overlaps.max(dim=1)
    closest = overlaps.amax(dim=2, keepdim=True)
    is_closest = ((overlaps == closest) & (closest > 0)).any(dim=1)
    return Matches(iou, box, is_closest)

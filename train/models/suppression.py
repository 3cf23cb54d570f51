"""Non-maximum suppression of many groups of boxes at once."""

import torch
from torch import Tensor
from torchvision.ops import nms

from train.models.matching import MAX_PAIRS, pairwise_iou

ROUNDS_BETWEEN_CHECKS = 8
"""To ask a GPU whether it is done means to wait for it."""


def suppress(boxes: Tensor, is_candidate: Tensor, iou: float) -> Tensor:
    """Which boxes greedy suppression keeps.

    A CPU goes through the boxes of a group one by one. For a GPU the same result is the fixed point of a few products
    of matrices, as in the exported graph (``export/suppression.py``).

    Args:
        boxes: (G,K,4) float32, xyxy px, those of each group sorted by descending score.
        is_candidate: (G,K) bool: the others are dropped, and suppress nothing.
        iou: boxes that overlap a kept one more are dropped.

    Returns:
        (G,K) bool.
    """
    if boxes.device.type == "cpu":
        return suppress_in_turn(boxes, is_candidate, iou)
    size = max(1, MAX_PAIRS // boxes.shape[1] ** 2)
    parts = zip(boxes.split(size), is_candidate.split(size), strict=True)
    return torch.cat([suppress_by_products(part, candidates, iou) for part, candidates in parts])


def suppress_in_turn(boxes: Tensor, is_candidate: Tensor, iou: float) -> Tensor:
    """As ``suppress``, group by group with torchvision's ``nms``."""
    boxes = boxes * is_candidate[..., None]  # an empty box overlaps none
    descending = torch.arange(boxes.shape[1], 0, -1, dtype=boxes.dtype, device=boxes.device)
    keep = torch.zeros_like(is_candidate)
    for kept, group in zip(keep, boxes, strict=True):
        kept[nms(group, descending, iou)] = True
    return keep & is_candidate


def suppress_by_products(boxes: Tensor, is_candidate: Tensor, iou: float) -> Tensor:
    """As ``suppress``, with products of (G,K,K) matrices; the result of greedy suppression is their fixed point."""
    is_over = (pairwise_iou(boxes, boxes) > iou).tril(-1).to(torch.bfloat16)  # a kept box in a row's columns drops it
    keep = is_candidate
    while True:
        before = keep
        for _ in range(ROUNDS_BETWEEN_CHECKS):
            is_dropped = (is_over @ keep[..., None].to(is_over.dtype)).squeeze(-1) > 0
            before, keep = keep, is_candidate & ~is_dropped
        if torch.equal(before, keep):
            return keep

"""Greedy non-maximum suppression with fixed shapes and without control flow.

Boxes are planes, (4,…) of x1, y1, x2, y2.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MIN_SUPPRESSION_ROUNDS = 8
SUPPRESSION_MARGIN = 2
"""An exported graph does this many times the rounds that the photos of its verification needed."""


class Suppression(nn.Module):
    """Greedy non-maximum suppression of sorted boxes by matrix products, group by group.

    At its fixed point ``keep = exists & no kept box before it overlaps it`` is greedy suppression (Cluster-NMS, Zheng
    et al., 2021). Each round settles at least one more link of every chain of suppressions. Without
    ``rounds`` it iterates to the fixed point, which is always exact; an exported graph has a fixed number.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rounds: int | None = None
        self.max_rounds = 0
        """Most rounds that any image so far needed to reach the fixed point."""

    def forward(self, overlaps: Tensor, exists: Tensor) -> Tensor:
        """Decide which boxes stay.

        Args:
            overlaps: (G,N,N) bool, which boxes of a group, sorted by descending score, overlap above the threshold.
            exists: (G,N) bool, rows that take part.

        Returns:
            (G,N) bool, the rows kept.
        """
        earlier = torch.ones(overlaps.shape[1:], dtype=torch.bool, device=overlaps.device).tril(-1)
        suppresses = (overlaps & earlier).float()
        present = exists.float()[:, :, None]  # (G,N,1)
        keep = present
        if self.rounds is not None:
            for _ in range(self.rounds):
                keep = _suppress_once(suppresses, keep, present)
            return keep.squeeze(2) > 0
        rounds = 0
        while True:
            settled = _suppress_once(suppresses, keep, present)
            if torch.equal(settled, keep):
                self.max_rounds = max(self.max_rounds, rounds)
                return keep.squeeze(2) > 0
            keep, rounds = settled, rounds + 1

    def freeze_rounds(self, rounds: int | None = None) -> None:
        """Fix the number of rounds, by default with a margin over what was needed so far."""
        self.rounds = rounds or max(MIN_SUPPRESSION_ROUNDS, SUPPRESSION_MARGIN * self.max_rounds)


def overlap_terms(boxes: Tensor, iou: float) -> tuple[Tensor, Tensor]:
    """Two terms (G,N,N) for boxes (4,G,N) px: the first is the larger where the IoU is above ``iou``.

    IoU > t  <=>  intersection * (1+t)/t > area_i + area_j.
    """
    low, high = torch.split(boxes, 2)
    area = (high - low).prod(0)
    # The factor is applied to the y coordinates. One clamp is enough: with a width of at least 0, a negative height
    # makes the product negative and the test false.
    factor = (1 + iou) / iou
    scaled = boxes * boxes.new_tensor([1, factor, 1, factor]).view(4, 1, 1)
    x1, y1, x2, y2 = torch.split(scaled[..., None], 1)  # (1,G,N,1)
    other_x1, other_y1, other_x2, other_y2 = torch.split(scaled[..., None, :], 1)
    overlap_w = torch.minimum(x2, other_x2) - torch.maximum(x1, other_x1)
    overlap_h = torch.minimum(y2, other_y2) - torch.maximum(y1, other_y1)
    return (F.relu(overlap_w) * overlap_h).squeeze(0), area[..., None] + area[..., None, :]


def _suppress_once(suppresses: Tensor, keep: Tensor, present: Tensor) -> Tensor:
    """One round on (G,N,N) and (G,N,1), all of zeros and ones.

    The product counts the kept boxes that suppress each box: any whole number above 0 takes a present one to 0.
    """
    return F.relu(present - suppresses @ keep)

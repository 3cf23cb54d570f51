"""Greedy non-maximum suppression with fixed shapes and without control flow."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MIN_SUPPRESSION_ROUNDS = 8
SUPPRESSION_MARGIN = 2
"""An exported graph does this many times the rounds of suppression that the photos of its verification needed."""

Corners = tuple[Tensor, Tensor, Tensor, Tensor]
"""x1, y1, x2, y2 apart: every step on them is a plain elementwise operation without strided access."""


class Suppression(nn.Module):
    """Greedy non-maximum suppression of sorted boxes by matrix products, group by group.

    At its fixed point ``keep = exists & no kept box before it overlaps it`` is greedy suppression (Cluster-NMS, Zheng
    et al., 2021). Each round settles at least one more link of every chain of suppressions. Without a number of
    ``rounds`` it goes on to the fixed point, which is always exact; an exported graph has a fixed number.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rounds: int | None = None
        self.most_rounds = 0
        """Rounds that the hardest picture up to now needed to reach the fixed point."""

    def forward(self, overlaps: Tensor, exists: Tensor) -> Tensor:
        """Decide which boxes stay.

        Args:
            overlaps: (G,N,N) bool, which boxes of a group, sorted by falling score, overlap beyond the bar.
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
                keep = _keep_once_more(suppresses, keep, present)
            return keep[:, :, 0] > 0
        rounds = 0
        while True:
            settled = _keep_once_more(suppresses, keep, present)
            if torch.equal(settled, keep):
                self.most_rounds = max(self.most_rounds, rounds)
                return keep[:, :, 0] > 0
            keep, rounds = settled, rounds + 1

    def freeze_rounds(self) -> None:
        """Fix the number of rounds, with a margin over what was needed up to now."""
        self.rounds = max(MIN_SUPPRESSION_ROUNDS, SUPPRESSION_MARGIN * self.most_rounds)


def overlap_terms(corners: Corners, iou: float) -> tuple[Tensor, Tensor]:
    """Two terms (G,N,N) for boxes, four tensors (G,N) px: the first is the larger where the IoU is above ``iou``.

    IoU > t  <=>  intersection * (1+t)/t > area_i + area_j.
    """
    x1, y1, x2, y2 = corners
    # The factor is put into the y coordinates, and one clamp is enough: with a width of at least 0, a negative height
    # makes the product negative, the test false.
    area = (x2 - x1) * (y2 - y1)
    factor = (1 + iou) / iou
    y1, y2 = y1 * factor, y2 * factor
    overlap_w = torch.minimum(x2[:, :, None], x2[:, None]) - torch.maximum(x1[:, :, None], x1[:, None])
    overlap_h = torch.minimum(y2[:, :, None], y2[:, None]) - torch.maximum(y1[:, :, None], y1[:, None])
    return F.relu(overlap_w) * overlap_h, area[:, :, None] + area[:, None]


def _keep_once_more(suppresses: Tensor, keep: Tensor, present: Tensor) -> Tensor:
    """One round on (G,N,N) and (G,N,1), all of zeros and ones.

    The product counts the kept boxes that suppress each box: any whole number above 0 takes a present one to 0.
    """
    return F.relu(present - suppresses @ keep)

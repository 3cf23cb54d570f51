"""Sampling of the anchors and RoIs of a training step, with a random stream for each image.

torchvision draws them from the global random state, so the sample of an image depends on everything drawn before.
Here each image has a seed: the sample is the same on one process or on several, and after a resume.
"""

import torch
from torch import Tensor
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection._utils import BalancedPositiveNegativeSampler


class SeededSampler(BalancedPositiveNegativeSampler):
    """torchvision's sampler of positives and negatives, with a random stream for each image."""

    seeds: list[int]
    """Seeds of the images of the next batch."""
    hard_share = 0.0
    """Share of the negatives that are the first of their image instead of random ones. Proposals are sorted by
    descending objectness, so these are hard negatives (as in Shrivastava et al., 2016)."""

    def __call__(self, matched_idxs: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Choose for each image among its candidates (N,): 1 or more is positive, 0 negative, -1 ignored.

        Returns:
            For each image the chosen positives and the chosen negatives, as uint8 masks (N,).
        """
        positive_masks, negative_masks = [], []
        for matched, seed in zip(matched_idxs, self.seeds, strict=True):
            generator = torch.Generator(matched.device).manual_seed(seed)
            positive, negative = torch.where(matched >= 1)[0], torch.where(matched == 0)[0]
            num_positive = min(positive.numel(), int(self.batch_size_per_image * self.positive_fraction))
            positive_masks.append(_chosen(matched, positive, num_positive, generator))
            num_negative = self.batch_size_per_image - num_positive
            hard, rest = negative.tensor_split([int(num_negative * self.hard_share)])
            chosen = _chosen(matched, rest, num_negative - len(hard), generator)
            chosen[hard] = 1
            negative_masks.append(chosen)
        return positive_masks, negative_masks


def _chosen(matched: Tensor, candidates: Tensor, number: int, generator: torch.Generator) -> Tensor:
    order = torch.randperm(candidates.numel(), device=matched.device, generator=generator)
    mask = torch.zeros_like(matched, dtype=torch.uint8)
    mask[candidates[order[:number]]] = 1
    return mask


def use_seeded_samplers(model: FasterRCNN) -> None:
    """Replace both samplers of a model, keeping their budgets; half of the second stage's negatives are hard."""
    for stage in (model.rpn, model.roi_heads):
        old = stage.fg_bg_sampler
        stage.fg_bg_sampler = SeededSampler(old.batch_size_per_image, old.positive_fraction)
    model.roi_heads.fg_bg_sampler.hard_share = 0.5


def set_seeds(model: FasterRCNN, seeds: list[int]) -> None:
    """Give the images of the next batch their seeds; the two stages draw from different streams."""
    model.rpn.fg_bg_sampler.seeds = seeds
    model.roi_heads.fg_bg_sampler.seeds = [seed + 1 for seed in seeds]

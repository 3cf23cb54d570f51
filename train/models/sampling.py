"""Sampling of the anchors and RoIs of a training step, with a random stream for each image.

torchvision draws them from the global random state, so the sample of an image depends on everything drawn before.
Here each image has a seed, and a draw is a function of (seed, position) alone: the sample is the same on one process
or on several, after a resume, and on any device.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

KEY_BITS = 62


@dataclass(frozen=True, slots=True)
class Sample:
    """Candidates chosen in each of B images, S of each or fewer."""

    index: Tensor
    """(B,S) int64."""
    is_positive: Tensor
    """(B,S) bool."""
    is_valid: Tensor
    """(B,S) bool: False in places that are left over, since an image had too few candidates."""


@dataclass(frozen=True, slots=True)
class Budget:
    """How many candidates of an image are sampled."""

    count: int
    max_positive: int
    hard_share: float = 0.0
    """Share of the negatives that are the first of their image instead of random ones. Proposals are sorted by
    descending objectness, so these are hard negatives (as in Shrivastava et al., 2016)."""


def random_keys(seeds: Tensor, count: int) -> Tensor:
    """Random int64 from 0 to 2**62 - 1, (B,count), for seeds (B,): the generator SplitMix64 (Steele et al., 2014)."""
    position = torch.arange(1, count + 1, device=seeds.device)
    mixed = seeds[:, None] + position * _signed(0x9E3779B97F4A7C15)
    mixed = (mixed ^ _shifted(mixed, 30)) * _signed(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ _shifted(mixed, 27)) * _signed(0x94D049BB133111EB)
    keys: Tensor = (mixed ^ _shifted(mixed, 31)) & (2**KEY_BITS - 1)
    return keys


def sample(is_positive: Tensor, is_negative: Tensor, keys: Tensor, budget: Budget) -> Sample:
    """Choose up to ``max_positive`` positives of each image at random, and fill up with negatives.

    Args:
        is_positive: (B,M) bool.
        is_negative: (B,M) bool; candidates that are neither are never chosen.
        keys: (B,M) int64, as ``random_keys`` gives them: the highest are chosen.
        budget: of each image.
    """
    places = is_positive.shape[1]
    best, positives = keys.where(is_positive, -1).topk(min(budget.max_positive, places), dim=1)
    has_positive = best >= 0
    wanted = budget.count - has_positive.sum(1, keepdim=True)
    rank = is_negative.cumsum(1)
    is_hard = is_negative & (rank <= (wanted * budget.hard_share).long())
    best, negatives = (keys + is_hard * 2**KEY_BITS).where(is_negative, -1).topk(min(budget.count, places), dim=1)
    has_negative = (best >= 0) & (torch.arange(best.shape[1], device=best.device) < wanted)
    chosen = torch.cat([positives, negatives], 1)
    is_valid = torch.cat([has_positive, has_negative], 1)
    filled = is_valid.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, : budget.count]
    from_positives = filled < positives.shape[1]
    is_valid = is_valid.gather(1, filled)
    return Sample(chosen.gather(1, filled), from_positives & is_valid, is_valid)


def _signed(constant: int) -> int:
    """The 64-bit constant as torch's integers hold it; their products wrap around."""
    return constant - 2**64


def _shifted(values: Tensor, bits: int) -> Tensor:
    """Shift int64 right as if it had no sign."""
    shifted: Tensor = (values >> bits) & (2 ** (64 - bits) - 1)
    return shifted

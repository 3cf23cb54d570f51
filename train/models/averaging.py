"""Averaging the weights of several models."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from train.errors import TrainError
from train.models.checkpoint import Checkpoint


def average_weights(checkpoints: Sequence[Checkpoint], shares: Sequence[float] | None = None) -> dict[str, Any]:
    """Mean of the weights and statistics of models with a common origin, often better than each of them.

    Wortsman et al., "Model soups" (2022): models fine-tuned from the same weights lie in one basin of the loss.
    The mean of unrelated models is useless.

    Args:
        checkpoints: two or more.
        shares: of each in the mean, 1 in all; by default the same.

    Returns:
        A state dict with the types of the first; integers, such as the counters of batch norms, are its own.

    Raises:
        TrainError: fewer than two, or models of different architecture, size, classes or options.
    """
    if len(checkpoints) < 2:
        raise TrainError("one checkpoint cannot be averaged: name two or more")
    first = checkpoints[0]
    for other in checkpoints[1:]:
        if replace(other.config, calibration=first.config.calibration) != first.config:
            raise TrainError(f"checkpoints of different models: {first.config} and {other.config}")
    weights = torch.tensor(shares or [1 / len(checkpoints)] * len(checkpoints), dtype=torch.float64)
    return {
        name: torch.tensordot(weights, torch.stack([c.model[name].double() for c in checkpoints]), 1).to(value.dtype)
        if value.is_floating_point()
        else value
        for name, value in first.model.items()
    }

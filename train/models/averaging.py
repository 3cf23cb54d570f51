"""Averaging the weights of several models."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from train.errors import TrainError
from train.models.checkpoint import Checkpoint


def average_weights(checkpoints: Sequence[Checkpoint]) -> dict[str, Any]:
    """Mean of the weights and statistics of models with a common origin, often better than each of them.

    Wortsman et al., "Model soups" (2022): models fine-tuned from the same weights lie in one basin of the loss.
    The mean of unrelated models is useless.

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
    return {
        name: torch.stack([c.model[name].double() for c in checkpoints]).mean(0).to(value.dtype)
        if value.is_floating_point()
        else value
        for name, value in first.model.items()
    }

"""Weights and outputs that are not finite: what a training that diverged leaves."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torchvision.models.detection import FasterRCNN

from train.errors import TrainError

MAX_OUTPUT = 1e6
"""Logits and box deltas of a model in order have two or three digits. Far beyond, no box has an area that is left."""


class DivergedModelError(TrainError):
    """The outputs of a model are not finite, or above ``MAX_OUTPUT``."""

    def __init__(self) -> None:
        found = f"not finite, or above {MAX_OUTPUT:.0e}"
        super().__init__(f"the model's outputs are {found}: its training diverged. Use an earlier checkpoint")


def is_finite(state: Mapping[str, Any]) -> bool:
    """Whether all tensors of a state dict, and of the state dicts in it, have finite values."""
    return all(is_finite(v) if isinstance(v, Mapping) else _has_finite_values(v) for v in state.values())


@contextlib.contextmanager
def finite_outputs(model: FasterRCNN) -> Iterator[None]:
    """A context in which a model raises an error for outputs of its two heads that come from a diverged training.

    Raises:
        DivergedModelError: there are such outputs; the weights may be finite.
    """

    def refuse(_module: Any, _inputs: Any, outputs: Any) -> None:
        tensors = [t for t in torch.utils._pytree.tree_leaves(outputs) if t.numel()]  # noqa: SLF001
        if not all(bool(t.abs().max() <= MAX_OUTPUT) for t in tensors):  # False for nan
            raise DivergedModelError

    with contextlib.ExitStack() as hooks:
        for head in (model.rpn.head, model.roi_heads.box_predictor):
            hooks.enter_context(head.register_forward_hook(refuse))
        yield


def _has_finite_values(value: Any) -> bool:
    return not isinstance(value, Tensor) or not value.is_floating_point() or bool(value.isfinite().all())

"""Rows of the predictor by the names of their classes, so that a model still finds what it knew."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torchvision.models.detection import FasterRCNN

from train.models.widening import fits_within

PREDICTOR = "roi_heads.box_predictor."
BACKGROUND = 0


def shared_names(known: Sequence[str], wanted: Sequence[str]) -> dict[str, str]:
    """The classes that two data sets share, whatever their order: ``wanted`` by ``known``; ``Eye`` is ``eye``."""
    folded = {_folded(name): name for name in known}
    return {folded[_folded(name)]: name for name in wanted if _folded(name) in folded}


def rows_by_name(
    state: Mapping[str, Tensor], own: Mapping[str, Tensor], known: Sequence[str], wanted: Sequence[str]
) -> dict[str, Tensor]:
    """The layers that predict the ``known`` classes, with the rows of the ``wanted`` ones in their order.

    Args:
        state: of a model for ``known``.
        own: of a model for ``wanted``, as wide or wider; where the rows of the other classes come from.
        known: names of the classes 1, 2, … of ``state``.
        wanted: those of the result.

    Returns:
        The tensors of the predictor, (rows,...), with as many inputs as those of ``state``.
    """
    shared = shared_names(known, wanted)
    places = {wanted.index(new) + 1: known.index(old) + 1 for old, new in shared.items()} | {BACKGROUND: BACKGROUND}
    found = {}
    for name in (name for name in state if name.startswith(PREDICTOR) and name in own):
        old_rows, new_rows = (
            state[name].unflatten(0, (len(known) + 1, -1)),
            own[name].unflatten(0, (len(wanted) + 1, -1)),
        )
        if not fits_within(old_rows[:1].flatten(0, 1), new_rows[:1].flatten(0, 1)):
            continue
        rows = new_rows.clone()[(..., *(slice(n) for n in old_rows.shape[2:]))]
        for new, old in places.items():
            rows[new] = old_rows[old]
        found[name] = rows.flatten(0, 1)
    return found


def with_rows_of(
    state: dict[str, Any], other: Mapping[str, Any], class_ids: Sequence[int], count: int
) -> dict[str, Any]:
    """A state dict whose predictor has the rows of another for some classes.

    Args:
        state: of a model with ``count`` classes.
        other: of a model of the same size.
        class_ids: zero-based, those whose rows come from ``other``.
        count: of all classes.
    """
    rows = [class_id + 1 for class_id in class_ids]
    changed = {}
    for name in (name for name in state if name.startswith(PREDICTOR)):
        tensor = state[name].unflatten(0, (count + 1, -1)).clone()
        tensor[rows] = other[name].unflatten(0, (count + 1, -1))[rows]
        changed[name] = tensor.flatten(0, 1)
    return state | changed


def hasten_rows(model: FasterRCNN, class_ids: Sequence[int], gain: float) -> None:
    """Multiply the gradients of what predicts some classes, so that SGD learns them faster than the rest.

    Args:
        model: changed in place: its parameters get hooks.
        class_ids: zero-based.
        gain: factor of the learning rate of these rows.
    """
    if not class_ids:
        return
    predictor = cast("Any", model.roi_heads.box_predictor)
    for layer in (predictor.cls_score, predictor.bbox_pred):
        rows = layer.out_features // predictor.cls_score.out_features
        gains = torch.ones(layer.out_features)
        for class_id in class_ids:
            gains[rows * (class_id + 1) : rows * (class_id + 2)] = gain
        layer.weight.register_hook(_scaled(gains[:, None]))
        layer.bias.register_hook(_scaled(gains))


def _scaled(gains: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda gradient: gradient * gains.to(gradient)


def _folded(name: str) -> str:
    return name.strip().casefold()

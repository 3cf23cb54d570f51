"""Wider layers from narrower ones: a model grows without a change in what it computes."""

from collections.abc import Mapping

from torch import Tensor, nn


def widen_into(model: nn.Module, narrow: Mapping[str, Tensor]) -> None:
    """Load weights of a model of the same layers with fewer channels.

    The old channels keep their weights and get none from the new ones, which start at random: the outputs of the old
    channels stay what they were, and gradients reach every weight at once. As in Chen et al., "Net2Net" (2016), but
    with random new channels instead of copies.

    Args:
        model: what to load into; its tensors that ``narrow`` lacks stay as they are.
        narrow: tensors by their names in ``model``, each of which fits within the model's.
    """
    own = model.state_dict()
    for name, given in narrow.items():
        embed(given, own[name])


def fits_within(small: Tensor, large: Tensor) -> bool:
    """Whether a weight (out,in,...) or (n,) is of the same kind as another, with no more channels."""
    if small.dim() != large.dim() or small.shape[2:] != large.shape[2:]:
        return False
    return all(s <= n for s, n in zip(small.shape[:2], large.shape[:2], strict=True))


def embed(small: Tensor, large: Tensor) -> None:
    """Copy ``small``, (out,in,...) or (n,), into the first channels of ``large``, in place.

    The first outputs of ``large`` read nothing from its further inputs.
    """
    large[tuple(slice(length) for length in small.shape)] = small
    if small.dim() > 1:
        large[: small.shape[0], small.shape[1] :] = 0

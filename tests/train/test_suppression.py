import pytest
import torch
from torchvision.ops import nms

from train.models import suppression
from train.models.suppression import suppress, suppress_by_products, suppress_in_turn

WAYS = [suppress_in_turn, suppress_by_products]


def random_boxes(groups: int, count: int, spread: float, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    start = torch.rand(groups, count, 2, generator=generator) * spread
    return torch.cat([start, start + 10 + 20 * torch.rand(groups, count, 2, generator=generator)], 2)


def chain(count: int) -> torch.Tensor:
    """Boxes of which each overlaps its neighbours alone: whether one is kept depends on all before it."""
    left = torch.arange(count) * 4.0
    return torch.stack([left, torch.zeros(count), left + 10, torch.full((count,), 10.0)], 1)[None]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("spread", [5.0, 60.0, 1000.0])
def test_what_is_kept_is_what_torchvision_keeps(way, spread):
    boxes = random_boxes(4, 120, spread)

    keep = way(boxes, torch.ones(4, 120, dtype=torch.bool), 0.5)

    scores = torch.arange(120, 0, -1).float()
    for kept, group in zip(keep, boxes, strict=True):
        assert kept.nonzero().flatten().tolist() == nms(group, scores, 0.5).tolist()


@pytest.mark.parametrize("way", WAYS)
def test_a_long_chain_is_followed_to_its_end(way):
    keep = way(chain(101), torch.ones(1, 101, dtype=torch.bool), 0.4)

    assert keep[0].tolist() == [i % 2 == 0 for i in range(101)]


@pytest.mark.parametrize("way", WAYS)
def test_what_is_no_candidate_is_dropped_and_drops_nothing(way):
    boxes = random_boxes(1, 1, 5).expand(1, 3, 4)

    keep = way(boxes, torch.tensor([[False, True, True]]), 0.5)

    assert keep.tolist() == [[False, True, False]]


def test_many_groups_are_divided_to_fit_in_memory(monkeypatch):
    boxes, everything = random_boxes(5, 30, 40, seed=1).to("meta"), torch.ones(5, 30, dtype=torch.bool, device="meta")
    sizes = []

    def by_products(part, candidates, _iou):
        sizes.append(len(part))
        return candidates

    monkeypatch.setattr(suppression, "suppress_by_products", by_products)
    monkeypatch.setattr(suppression, "MAX_PAIRS", 2 * 30 * 30)

    assert suppress(boxes, everything, 0.5).shape == (5, 30)
    assert sizes == [2, 2, 1]

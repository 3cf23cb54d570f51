import pytest
import torch
from torchvision.models.detection._utils import BalancedPositiveNegativeSampler

from train.models.sampling import SeededSampler


def candidates(seed: int, positives: int, negatives: int) -> torch.Tensor:
    """Matches as torchvision gives them: ids of ground truth from 1 on, 0 for background, -1 between both."""
    generator = torch.Generator().manual_seed(seed)
    matched = torch.cat([torch.full((positives,), 3), torch.zeros(negatives), torch.full((7,), -1)])
    return matched[torch.randperm(len(matched), generator=generator)]


def draw(seeds: list[int], matched: list[torch.Tensor]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    sampler = SeededSampler(32, 0.25)
    sampler.seeds = seeds
    return sampler(matched)


@pytest.mark.parametrize(("positives", "negatives"), [(20, 100), (3, 100), (0, 100), (20, 5), (0, 0)])
def test_budgets_are_those_of_torchvision(positives, negatives):
    matched = [candidates(0, positives, negatives)]

    ours, theirs = draw([5], matched), BalancedPositiveNegativeSampler(32, 0.25)(matched)

    for mine, reference in zip(ours, theirs, strict=True):
        assert mine[0].sum() == reference[0].sum()
        assert mine[0].dtype == reference[0].dtype
    assert (matched[0][ours[0][0].bool()] >= 1).all()
    assert (matched[0][ours[1][0].bool()] == 0).all()


def test_draw_of_an_image_depends_on_its_seed_alone():
    first, second = candidates(1, 20, 100), candidates(2, 20, 100)
    torch.manual_seed(0)
    together = draw([5, 6], [first, second])
    torch.manual_seed(1)
    alone = draw([6], [second])

    for pair, single in zip(together, alone, strict=True):
        assert torch.equal(pair[1], single[0])
    assert not torch.equal(draw([7], [second])[1][0], alone[1][0])

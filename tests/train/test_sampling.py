import pytest
import torch
from torchvision.models.detection._utils import BalancedPositiveNegativeSampler

from train.models.architectures import ModelConfig, build_model
from train.models.sampling import SeededSampler, use_seeded_samplers


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


def proposals_by_rank(positives: int, negatives: int) -> torch.Tensor:
    """Matches of proposals in falling order of objectness, positives spread among the first negatives."""
    matched = torch.zeros(positives + negatives)
    matched[torch.arange(positives) * 2] = 1
    return matched


@pytest.mark.parametrize(("hard_share", "hard"), [(0.0, 0), (0.5, 12), (1.0, 24)])
def test_hard_share_of_the_negatives_is_the_first_ones_and_the_rest_is_drawn(hard_share, hard):
    matched = proposals_by_rank(8, 500)
    ranked = torch.where(matched == 0)[0]
    sampler = SeededSampler(32, 0.25)
    sampler.hard_share = hard_share

    chosen = []
    for seed in range(5):
        sampler.seeds = [seed]
        [positives], [negatives] = sampler([matched])
        assert (positives.sum(), negatives.sum()) == (8, 24)
        assert negatives[ranked[:hard]].all()
        assert not negatives[matched == 1].any()
        chosen.append(negatives)
    by_chance = [int(one[ranked[hard:100]].sum()) for one in chosen]
    assert max(by_chance) <= 24 - hard
    assert (len({tuple(one.tolist()) for one in chosen}) > 1) == (hard_share < 1)


def test_hard_share_of_few_negatives_takes_each_once():
    sampler = SeededSampler(32, 0.25)
    sampler.hard_share, sampler.seeds = 0.5, [1]

    [_], [negatives] = sampler([proposals_by_rank(8, 10)])

    assert (negatives.sum(), negatives.max()) == (10, 1)


def test_only_the_second_stage_mines_hard_negatives():
    model = build_model(ModelConfig("nano", ("face",), 64))
    budget = model.roi_heads.fg_bg_sampler.batch_size_per_image

    use_seeded_samplers(model)

    assert model.rpn.fg_bg_sampler.hard_share == 0
    assert model.roi_heads.fg_bg_sampler.hard_share == 0.5
    assert model.roi_heads.fg_bg_sampler.batch_size_per_image == budget

import pytest
import torch
from torchvision.models.detection._utils import BalancedPositiveNegativeSampler

from train.models.sampling import Budget, Sample, random_keys, sample

BUDGET = Budget(32, 8)


def candidates(seed: int, positives: int, negatives: int) -> torch.Tensor:
    """Matches as torchvision gives them: ids of ground truth from 1 on, 0 for background, -1 between both."""
    generator = torch.Generator().manual_seed(seed)
    matched = torch.cat([torch.full((positives,), 3), torch.zeros(negatives), torch.full((7,), -1)])
    return matched[torch.randperm(len(matched), generator=generator)]


def draw(seeds: list[int], matched: torch.Tensor, budget: Budget = BUDGET) -> Sample:
    """Samples of images with candidates (B,M)."""
    return sample(matched >= 1, matched == 0, random_keys(torch.tensor(seeds), matched.shape[1]), budget)


def chosen(drawn: Sample, image: int = 0) -> tuple[set[int], set[int]]:
    """Positives and negatives of an image."""
    index, is_positive, is_valid = drawn.index[image], drawn.is_positive[image], drawn.is_valid[image]
    assert not (is_positive & ~is_valid).any()
    positives, negatives = index[is_positive].tolist(), index[is_valid & ~is_positive].tolist()
    assert len(set(positives + negatives)) == len(positives + negatives)  # each once
    return set(positives), set(negatives)


@pytest.mark.parametrize(("positives", "negatives"), [(20, 100), (3, 100), (0, 100), (20, 5), (0, 0), (9, 0)])
def test_budgets_are_those_of_torchvision(positives, negatives):
    matched = candidates(0, positives, negatives)

    ours = chosen(draw([5], matched[None]))
    theirs = BalancedPositiveNegativeSampler(32, 0.25)([matched])

    assert [len(kind) for kind in ours] == [int(kind[0].sum()) for kind in theirs]
    assert all(matched[i] >= 1 for i in ours[0])
    assert all(matched[i] == 0 for i in ours[1])


def test_draw_of_an_image_depends_on_its_seed_alone():
    first, second = candidates(1, 20, 100), candidates(2, 20, 100)
    torch.manual_seed(0)
    together = draw([5, 6], torch.stack([first, second]))
    torch.manual_seed(1)
    alone = draw([6], second[None])

    assert chosen(together, 1) == chosen(alone)
    assert chosen(draw([7], second[None])) != chosen(alone)


def test_draw_does_not_change_with_places_that_another_image_of_the_batch_needs():
    matched = candidates(1, 20, 100)

    padded = torch.cat([matched, torch.full((50,), -1.0)])

    assert chosen(draw([5], padded[None])) == chosen(draw([5], matched[None]))


def test_keys_are_those_of_splitmix64():
    # The first outputs of the reference implementation (prng.di.unimi.it/splitmix64.c) for the seed 1234567.
    reference = [6457827717110365317, 3203168211198807973, 9817491932198370423]

    assert random_keys(torch.tensor([1234567]), 3).tolist() == [[value % 2**62 for value in reference]]


def test_every_candidate_is_drawn_as_often_as_another():
    matched = torch.tensor([1.0] * 10 + [0.0] * 30).expand(4000, -1)

    drawn = draw(list(range(4000)), matched, Budget(8, 2))
    counts = torch.bincount(drawn.index[drawn.is_valid], minlength=40)

    # 800 each; five standard deviations.
    assert ((counts - 800).abs() < 130).all(), counts


def proposals_by_rank(positives: int, negatives: int) -> torch.Tensor:
    """Matches of proposals in falling order of objectness, positives spread among the first negatives."""
    matched = torch.zeros(positives + negatives)
    matched[torch.arange(positives) * 2] = 1
    return matched


@pytest.mark.parametrize(("hard_share", "hard"), [(0.0, 0), (0.5, 12), (1.0, 24)])
def test_hard_share_of_the_negatives_is_the_first_ones_and_the_rest_is_drawn(hard_share, hard):
    matched = proposals_by_rank(8, 500)
    ranked = torch.where(matched == 0)[0].tolist()

    drawn = []
    for seed in range(5):
        positives, negatives = chosen(draw([seed], matched[None], Budget(32, 8, hard_share)))
        assert (len(positives), len(negatives)) == (8, 24)
        assert negatives >= set(ranked[:hard])
        drawn.append(negatives)
    by_chance = [len(one & set(ranked[hard:100])) for one in drawn]
    assert max(by_chance) <= 24 - hard
    assert (len({frozenset(one) for one in drawn}) > 1) == (hard_share < 1)


def test_hard_share_of_few_negatives_takes_each_once():
    _, negatives = chosen(draw([1], proposals_by_rank(8, 10)[None], Budget(32, 8, 0.5)))

    assert len(negatives) == 10

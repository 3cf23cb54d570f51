import pytest
import torch
from torchvision.models.detection._utils import Matcher
from torchvision.ops import box_iou

from train.models import matching
from train.models.matching import match, pairwise_iou
from train.models.targets import pad_targets

HIGH, LOW = 0.5, 0.3


def random_boxes(count: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    start = torch.rand(count, 2, generator=generator) * 60
    return torch.cat([start, start + 5 + 30 * torch.rand(count, 2, generator=generator)], 1)


def test_overlap_is_that_of_torchvision_and_0_for_empty_boxes():
    first, second = random_boxes(7, 0), random_boxes(9, 1)

    torch.testing.assert_close(pairwise_iou(first, second), box_iou(first, second), atol=0, rtol=1e-6)
    assert not pairwise_iou(torch.zeros(1, 4), torch.zeros(1, 4)).any()


@pytest.mark.parametrize("max_pairs", [matching.MAX_PAIRS, 1])
@pytest.mark.parametrize("counts", [(3,), (0, 0), (0, 2, 40, 9, 5, 17)])
def test_matches_are_those_of_torchvision(monkeypatch, counts, max_pairs):
    monkeypatch.setattr(matching, "MAX_PAIRS", max_pairs)  # 1: each image by itself
    boxes = [random_boxes(count, seed) for seed, count in enumerate(counts)]
    targets = pad_targets(boxes, [torch.ones(count, dtype=torch.int64) for count in counts], [0] * len(counts))
    shared = random_boxes(300, 99)
    own = torch.stack([random_boxes(50, 100 + i) for i in range(len(counts))])

    for candidates in (shared[None], own):
        found = match(targets, candidates)
        for image, labelled in enumerate(boxes):
            if not len(labelled):
                assert not found.iou[image].any()
                assert not found.is_closest[image].any()
                continue
            wanted = Matcher(HIGH, LOW, allow_low_quality_matches=True)(
                box_iou(labelled, candidates[min(image, len(candidates) - 1)])
            )
            iou, is_closest = found.iou[image], found.is_closest[image]
            ours = torch.where(iou < LOW, Matcher.BELOW_LOW_THRESHOLD, Matcher.BETWEEN_THRESHOLDS)
            ours = torch.where((iou >= HIGH) | is_closest, found.box[image], ours)
            assert torch.equal(ours, wanted)

import pytest
import torch
from tiny_data import CLASS_NAMES
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.ops import box_iou

from train.models.architectures import ModelConfig, build_model
from train.models.voting import VotingRoIHeads, overlap_margin

SIZE_PX = 100


@pytest.fixture
def heads() -> VotingRoIHeads:
    torch.manual_seed(0)
    return build_model(ModelConfig("nano", CLASS_NAMES, 64)).roi_heads


def results(heads, boxes, probabilities):
    """Detections where each of the proposals (N,4) is its own box for all classes, with probabilities (N,classes+1)."""
    boxes, logits = torch.tensor(boxes), torch.tensor(probabilities).log()
    deltas = torch.zeros(len(boxes), logits.shape[1] * 4)
    found = heads.postprocess_detections(logits, deltas, [boxes], [(SIZE_PX, SIZE_PX)])
    return [output[0] for output in found]


def of_class(label: int, probability: float) -> list[float]:
    """Probabilities of a proposal that is of one class, or else background."""
    return [1 - probability if i == 0 else probability if i == label else 1e-9 for i in range(len(CLASS_NAMES) + 1)]


def test_a_detection_is_the_mean_of_those_that_agree(heads):
    boxes = [[10.0, 10, 30, 30], [12.0, 10, 32, 30], [70.0, 70, 90, 90]]

    found, scores, labels = results(heads, boxes, [of_class(1, 0.8), of_class(1, 0.4), of_class(1, 0.6)])

    # Of the first, intersection * 3 - both areas is 400 with itself and 280 with the second.
    shift = 2 * 0.4 * 280 / (0.8 * 400 + 0.4 * 280)
    torch.testing.assert_close(found[0], torch.tensor([10 + shift, 10, 30 + shift, 30]))
    torch.testing.assert_close(found[1], torch.tensor(boxes[2]))
    torch.testing.assert_close(scores, torch.tensor([0.8, 0.6]))
    assert labels.tolist() == [1, 1]


def test_other_classes_have_no_vote(heads):
    boxes = [[10.0, 10, 30, 30], [12.0, 10, 32, 30]]

    found, _, labels = results(heads, boxes, [of_class(1, 0.8), of_class(2, 0.7)])

    torch.testing.assert_close(found, torch.tensor(boxes))
    assert labels.tolist() == [1, 2]


def test_weak_boxes_and_empty_ones_have_no_vote(heads):
    boxes = [[10.0, 10, 30, 30], [12.0, 10, 32, 30], [20.0, 20, 20, 20]]

    found, _, _ = results(heads, boxes, [of_class(1, 0.8), of_class(1, 0.5 * heads.score_thresh), of_class(1, 0.9)])

    torch.testing.assert_close(found, torch.tensor(boxes[:1]))


def test_nothing_found_is_nothing(heads):
    found, scores, labels = results(heads, [[10.0, 10, 30, 30]], [of_class(1, 1e-3)])

    assert (found.shape, scores.shape, labels.shape) == ((0, 4), (0,), (0,))


def test_margin_is_above_zero_where_the_iou_is_above_the_bar():
    generator = torch.Generator().manual_seed(1)
    corner = 20 * torch.rand(60, 2, generator=generator)
    boxes = torch.cat([corner, corner + 10 + 10 * torch.rand(60, 2, generator=generator)], dim=1)

    for iou in (0.3, 0.5, 0.7):
        assert torch.equal(overlap_margin(boxes[:20], boxes, iou) > 0, box_iou(boxes[:20], boxes) > iou)


def test_scores_and_labels_are_torchvisions_and_each_box_agrees_with_its(heads):
    generator = torch.Generator().manual_seed(2)
    corner = 70 * torch.rand(80, 2, generator=generator)
    boxes = torch.cat([corner, corner + 5 + 25 * torch.rand(80, 2, generator=generator)], dim=1)
    logits = 3 * torch.randn(80, len(CLASS_NAMES) + 1, generator=generator)
    deltas = 0.3 * torch.randn(80, logits.shape[1] * 4, generator=generator)
    inputs = logits, deltas, [boxes], [(SIZE_PX, SIZE_PX)]

    found, scores, labels = (output[0] for output in heads.postprocess_detections(*inputs))

    expected = [output[0] for output in RoIHeads.postprocess_detections(heads, *inputs)]
    assert len(scores) > 20
    torch.testing.assert_close(scores, expected[1])
    assert torch.equal(labels, expected[2])
    assert (box_iou(found, expected[0]).diagonal() > heads.nms_thresh).all()
    assert not torch.equal(found, expected[0])

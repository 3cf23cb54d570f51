import math

import pytest
import torch
from tiny_data import CLASS_NAMES
from torchvision.models.detection._utils import BoxCoder

from train.models.architectures import ModelConfig, build_model
from train.models.second_stage_loss import IGNORED, second_stage_losses
from train.models.targets import pad_targets
from train.models.training_losses import TrainingLosses

CODER = BoxCoder((10.0, 10.0, 5.0, 5.0))
PROPOSAL = [10.0, 10, 30, 30]
CLASSES = 3
"""Background and two more."""


def losses_of(proposals, labels, labelled, deltas=None, logits=None):
    """Losses of proposals (R,4) with labels (R,) and labelled boxes (R,4); by default nothing is regressed."""
    proposals, labelled = torch.tensor(proposals), torch.tensor(labelled)
    deltas = torch.zeros(len(proposals), 4 * CLASSES) if deltas is None else deltas
    logits = torch.zeros(len(proposals), CLASSES) if logits is None else logits
    return second_stage_losses(logits, deltas, torch.tensor(labels), labelled, proposals, CODER)


def test_the_box_loss_is_what_the_overlap_lacks():
    # Half as wide as its label, in a hull that is no larger than the label: GIoU and IoU are 1/2.
    losses = losses_of([PROPOSAL], [1], [[10.0, 10, 50, 30]])

    assert losses["loss_box_reg"].item() == pytest.approx(10 * 0.5)


def test_a_box_that_fits_costs_nothing():
    labelled = [12.0, 9, 40, 33]
    deltas = torch.zeros(1, 4 * CLASSES)
    deltas[0, 8:] = CODER.encode_single(torch.tensor([labelled]), torch.tensor([PROPOSAL]))

    losses = losses_of([PROPOSAL], [2], [labelled], deltas)

    assert losses["loss_box_reg"].item() == pytest.approx(0, abs=1e-4)


def test_background_has_no_box_and_counts_in_the_mean():
    one = losses_of([PROPOSAL], [1], [[10.0, 10, 50, 30]])
    two = losses_of([PROPOSAL, [60.0, 60, 80, 80]], [1, 0], [[10.0, 10, 50, 30], [60.0, 60, 99, 99]])

    assert two["loss_box_reg"].item() == pytest.approx(one["loss_box_reg"].item() / 2)


def test_scores_are_trained_by_cross_entropy():
    logits = torch.tensor([[0.2, 0.7, 0.1]]).log()

    losses = losses_of([PROPOSAL], [1], [[10.0, 10, 50, 30]], logits=logits)

    assert losses["loss_classifier"].item() == pytest.approx(-math.log(0.7))


def test_scores_do_not_train_boxes():
    deltas = torch.zeros(1, 4 * CLASSES, requires_grad=True)
    logits = torch.zeros(1, CLASSES, requires_grad=True)

    losses_of([PROPOSAL], [1], [[10.0, 10, 50, 30]], deltas, logits)["loss_classifier"].backward()

    assert deltas.grad is None
    assert logits.grad.abs().sum() > 0


def test_without_objects_the_box_loss_is_nothing_and_can_be_followed_back():
    deltas = torch.zeros(1, 4 * CLASSES, requires_grad=True)

    losses = losses_of([PROPOSAL], [0], [PROPOSAL], deltas)
    losses["loss_box_reg"].backward()

    assert losses["loss_box_reg"].item() == 0
    assert not deltas.grad.any()


def test_a_detector_trains_by_them():
    torch.manual_seed(0)
    model = build_model(ModelConfig("nano", CLASS_NAMES, 64)).train()
    targets = pad_targets([torch.tensor([[8.0, 8, 40, 40]])], [torch.tensor([1])], [0])
    losses_of_batch = TrainingLosses(model)
    heads = model.roi_heads
    optimizer = torch.optim.SGD([*heads.box_head.parameters(), *heads.box_predictor.parameters()], lr=0.05)
    images = torch.rand(1, 3, 64, 64)

    def step() -> float:
        optimizer.zero_grad()
        losses = losses_of_batch(images, targets)
        loss = losses["loss_box_reg"] + losses["loss_classifier"]
        loss.backward()
        optimizer.step()
        return loss.item()

    first, *_, last = [step() for _ in range(25)]

    assert last < 0.7 * first


def test_a_place_without_roi_counts_for_nothing():
    labelled = [10.0, 10, 50, 30]
    whole = losses_of([PROPOSAL, PROPOSAL], [1, 0], [labelled, PROPOSAL])

    padded = losses_of([PROPOSAL, PROPOSAL, [0.0] * 4], [1, 0, IGNORED], [labelled, PROPOSAL, [0.0] * 4])

    assert padded == whole

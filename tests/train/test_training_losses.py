"""The loss in tensors of a whole batch against torchvision's, which goes image by image, on the same samples."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import fastrcnn_loss
from torchvision.ops import generalized_box_iou_loss

import train.models.proposals
import train.models.training_losses
from train.models.architectures import ARCHITECTURES, ModelConfig, build_model
from train.models.sampling import Sample
from train.models.second_stage_loss import BOX_FACTOR
from train.models.targets import Targets, pad_targets
from train.models.training_losses import TrainingLosses

NAMES = ("face", "eye", "mouth")
SIZE = 96


class Replayed:
    """A sampler for torchvision that chooses what was chosen before."""

    def __init__(self, chosen: Sample, places: int | None = None, boxes: tuple[int, ...] = ()) -> None:
        """``places`` are those of proposals before the labelled boxes, of which each image has so many."""
        self.chosen, self.places, self.boxes = chosen, places, boxes

    def __call__(self, matched: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        masks: tuple[list[Tensor], list[Tensor]] = ([], [])
        for image, candidates in enumerate(matched):
            drawn = self.chosen
            index, is_positive, is_valid = drawn.index[image], drawn.is_positive[image], drawn.is_valid[image]
            if self.places is not None:  # torchvision has as many places as it has proposals
                proposals = len(candidates) - self.boxes[image]
                index = torch.where(index < self.places, index, index - self.places + proposals)
            for kind, mask in zip((is_positive, is_valid & ~is_positive), masks, strict=True):
                chosen = torch.zeros(len(candidates), dtype=torch.uint8)
                chosen[index[kind]] = 1
                mask.append(chosen)
            assert (candidates[masks[0][-1].bool()] >= 1).all()
            assert (candidates[masks[1][-1].bool()] == 0).all()
        return masks


def torchvisions_losses(
    model: FasterRCNN, images: Tensor, targets: Targets, anchors: Sample, rois: Sample
) -> dict[str, Tensor]:
    counts = tuple(targets.counts)
    each = [
        {"boxes": boxes[:count], "labels": labels[:count]}
        for boxes, labels, count in zip(targets.boxes, targets.labels, counts, strict=True)
    ]
    shapes = [(SIZE, SIZE)] * len(images)
    tensors = model.transform(list(images))[0].tensors
    features = model.backbone(tensors)
    model.rpn.fg_bg_sampler = Replayed(anchors)
    proposals, losses = model.rpn(ImageList(tensors, shapes), features, each)
    heads = model.roi_heads
    places = min(model.rpn.post_nms_top_n(), sum(levels_of(model, features)))
    heads.fg_bg_sampler = Replayed(rois, places, counts)
    sampled, _, labels, wanted = heads.select_training_samples(proposals, each)
    logits, deltas = heads.box_predictor(heads.box_head(heads.box_roi_pool(features, sampled, shapes)))
    classifier, _ = fastrcnn_loss(logits, deltas, labels, wanted)
    objects = torch.where(torch.cat(labels) > 0)[0]
    proposed, target = torch.cat(sampled)[objects], torch.cat(wanted)[objects]
    found = deltas.view(len(logits), -1, 4)[objects, torch.cat(labels)[objects]]
    boxes, truth = (heads.box_coder.decode_single(codes, proposed) for codes in (found, target))
    box_reg = BOX_FACTOR * generalized_box_iou_loss(boxes, truth, reduction="sum") / len(logits)
    return losses | {"loss_classifier": classifier, "loss_box_reg": box_reg}


def levels_of(model: FasterRCNN, features: dict[str, Tensor]) -> list[int]:
    """How many candidates of each level there are before suppression."""
    anchors = model.rpn.anchor_generator.num_anchors_per_location()
    per_level = [f.shape[2] * f.shape[3] * count for f, count in zip(features.values(), anchors, strict=True)]
    return [min(model.rpn.pre_nms_top_n(), count) for count in per_level]


def recorded(monkeypatch) -> list[Sample]:
    """The samples that are drawn from now on: of anchors, then of RoIs."""
    drawn: list[Sample] = []
    for module in (train.models.proposals, train.models.training_losses):
        real: Callable[..., Sample] = module.sample
        monkeypatch.setattr(module, "sample", lambda *args, real=real: drawn.append(real(*args)) or drawn[-1])
    return drawn


def boxes_of(count: int, seed: int) -> Tensor:
    """Boxes of 4 to 60 px within the image."""
    generator = torch.Generator().manual_seed(seed)
    sides = torch.rand(count, 2, generator=generator) * 56 + 4
    start = torch.rand(count, 2, generator=generator) * (SIZE - sides)
    return torch.cat([start, start + sides], 1)


def batch(*counts: int) -> tuple[Tensor, Targets]:
    """Noise with so many boxes in each image."""
    images = torch.rand(len(counts), 3, SIZE, SIZE, generator=torch.Generator().manual_seed(5))
    boxes = [boxes_of(count, seed) for seed, count in enumerate(counts)]
    labels = [torch.arange(count) % len(NAMES) + 1 for count in counts]
    return images, pad_targets(boxes, labels, [100 + i for i in range(len(counts))])


def model_of(arch: str, *, frozen_norm: bool = False) -> FasterRCNN:
    torch.manual_seed(0)
    model = build_model(ModelConfig(arch, NAMES, SIZE, frozen_norm=frozen_norm)).train()
    for layer in (model.rpn.head.cls_logits, model.rpn.head.bbox_pred, model.roi_heads.box_predictor.bbox_pred):
        nn.init.normal_(layer.weight, std=0.05)  # as varied as a model in training
    return model


def gradients(model: FasterRCNN, losses: dict[str, Tensor]) -> dict[str, Tensor]:
    model.zero_grad()
    torch.stack(list(losses.values())).sum().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


CASES = {
    "one box": (1,),
    "no box anywhere": (0, 0),
    "none, one, a crowd": (0, 1, 40),
    "several crowds": (3, 70, 12, 0, 33),
}


@pytest.mark.parametrize(
    ("arch", "counts"),
    [
        *(pytest.param("nano", counts, id=f"nano, {name}") for name, counts in CASES.items()),
        *(pytest.param(arch, (0, 2, 20), id=arch) for arch in ARCHITECTURES if arch != "nano"),
        pytest.param("frozen resnet50", (0, 2, 20), id="resnet50 with frozen norms"),
    ],
)
def test_losses_and_gradients_are_those_of_torchvision(monkeypatch, arch, counts):
    model = model_of(arch.split()[-1], frozen_norm=arch.startswith("frozen"))
    images, targets = batch(*counts)
    drawn = recorded(monkeypatch)

    losses = TrainingLosses(model)(images, targets)
    ours = gradients(model, losses)
    reference = torchvisions_losses(model, images, targets, *drawn)
    theirs = gradients(model, reference)

    assert losses.keys() == reference.keys()
    for name, loss in losses.items():
        torch.testing.assert_close(loss, reference[name], atol=1e-5, rtol=1e-5, msg=lambda m, name=name: f"{name}: {m}")
    assert (losses["loss_box_reg"] > 0) == (sum(counts) > 0)
    assert ours.keys() == theirs.keys()
    for name, gradient in ours.items():
        torch.testing.assert_close(
            gradient, theirs[name], atol=1e-4, rtol=1e-3, msg=lambda m, name=name: f"{name}: {m}"
        )


def test_losses_of_an_image_do_not_depend_on_how_crowded_the_others_are():
    model = model_of("nano").eval()  # batch norms at rest
    model.rpn.training = True  # budgets of proposals
    images, targets = batch(2, 60)

    losses = TrainingLosses(model)
    together = losses(images, targets)
    alone = [
        losses(images[i : i + 1], pad_targets([boxes_of(count, i)], [torch.arange(count) % 3 + 1], [100 + i]))
        for i, count in enumerate((2, 60))
    ]

    for name, loss in together.items():
        mean = torch.stack([one[name] for one in alone]).mean()
        torch.testing.assert_close(loss, mean, atol=1e-5, rtol=1e-5)


def test_no_value_is_lost_where_an_image_has_fewer_proposals_than_places():
    model = model_of("nano")
    model.rpn._post_nms_top_n["training"] = 5
    images, targets = batch(0, 3)

    losses = TrainingLosses(model)(images, targets)
    found = gradients(model, losses)

    assert all(loss.isfinite() for loss in losses.values())
    assert all(gradient.isfinite().all() for gradient in found.values())

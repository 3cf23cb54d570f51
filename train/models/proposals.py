"""The first stage of a training step: losses of the RPN, and the proposals that it makes."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.models.detection.rpn import RegionProposalNetwork
from torchvision.ops import clip_boxes_to_image

from train.models.matching import match
from train.models.sampling import Budget, Sample, random_keys, sample
from train.models.suppression import suppress
from train.models.targets import Targets

SMOOTH_L1_BETA = 1 / 9
"""As torchvision's."""


class Predictions(NamedTuple):
    """What the RPN says of the A anchors of B images, level by level."""

    logits: Tensor
    """(B,A) float32."""
    deltas: Tensor
    """(B,A,4) float32."""
    anchors: Tensor
    """(A,4) float32, xyxy px; the same in all images."""
    per_level: list[int]
    """Anchors of each level."""


class Proposals(NamedTuple):
    """Proposals of B images by descending objectness, in P places each."""

    boxes: Tensor
    """(B,P,4) float32, xyxy px."""
    is_valid: Tensor
    """(B,P) bool: False in the last places of an image with fewer."""


def sample_anchors(rpn: RegionProposalNetwork, anchors: Tensor, targets: Targets) -> tuple[Sample, Tensor]:
    """Choose the anchors (A,4) that the losses are computed of, and the labelled box of each, (B,S,4)."""
    matches = match(targets, anchors[None])
    is_positive = (matches.iou >= rpn.proposal_matcher.high_threshold) | matches.is_closest
    is_negative = (matches.iou < rpn.proposal_matcher.low_threshold) & ~is_positive
    keys = random_keys(targets.seeds, len(anchors))
    chosen = sample(is_positive, is_negative, keys, _budget(rpn))
    return chosen, boxes_at(targets.boxes, matches.box.gather(1, chosen.index))


def rpn_losses(
    rpn: RegionProposalNetwork, predictions: Predictions, chosen: Sample, labelled: Tensor
) -> dict[str, Tensor]:
    """``loss_objectness`` and ``loss_rpn_box_reg`` of sampled anchors, whose labelled boxes are (B,S,4) xyxy px."""
    count = chosen.is_valid.sum()
    logits = predictions.logits.gather(1, chosen.index)
    objectness = F.binary_cross_entropy_with_logits(logits, chosen.is_positive.to(logits.dtype), reduction="none")
    anchors = predictions.anchors[chosen.index]
    # A negative has no box to find; what replaces it only has to be finite.
    wanted = torch.where(chosen.is_positive[..., None], labelled, anchors)
    wanted_deltas = rpn.box_coder.encode_single(wanted.flatten(0, 1), anchors.flatten(0, 1)).view_as(wanted)
    deltas = boxes_at(predictions.deltas, chosen.index)
    errors = F.smooth_l1_loss(deltas, wanted_deltas, beta=SMOOTH_L1_BETA, reduction="none").sum(-1)
    return {
        "loss_objectness": torch.where(chosen.is_valid, objectness, 0).sum() / count,
        "loss_rpn_box_reg": torch.where(chosen.is_positive, errors, 0).sum() / count,
    }


def propose(rpn: RegionProposalNetwork, predictions: Predictions, size_hw: tuple[int, int]) -> Proposals:
    """The proposals that torchvision's ``filter_proposals`` gives for inputs of this height and width."""
    levels = zip(
        predictions.logits.split(predictions.per_level, 1),
        predictions.deltas.split(predictions.per_level, 1),
        predictions.anchors.split(predictions.per_level),
        strict=True,
    )
    found = [_propose_in_level(rpn, *level, size_hw) for level in levels]
    boxes, scores = (torch.cat(tensors, 1) for tensors in zip(*found, strict=True))
    scores, index = scores.sort(dim=1, descending=True, stable=True)
    count = rpn.post_nms_top_n()
    return Proposals(boxes_at(boxes, index[:, :count]), scores[:, :count] >= 0)


def boxes_at(boxes: Tensor, index: Tensor) -> Tensor:
    """Of the boxes (B,N,4) of each image those at (B,M): (B,M,4)."""
    return boxes.gather(1, index[..., None].expand(-1, -1, boxes.shape[-1]))


def _budget(rpn: RegionProposalNetwork) -> Budget:
    sampler = rpn.fg_bg_sampler
    return Budget(sampler.batch_size_per_image, int(sampler.batch_size_per_image * sampler.positive_fraction))


def _propose_in_level(
    rpn: RegionProposalNetwork, logits: Tensor, deltas: Tensor, anchors: Tensor, size_hw: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Boxes (B,K,4) of a level by descending objectness, and their scores (B,K), -1 if they were dropped."""
    logits, index = logits.topk(min(rpn.pre_nms_top_n(), logits.shape[1]), dim=1)
    deltas = boxes_at(deltas, index)
    boxes = rpn.box_coder.decode_single(deltas.flatten(0, 1), anchors[index].flatten(0, 1)).view_as(deltas)
    boxes = clip_boxes_to_image(boxes, size_hw)
    scores = logits.sigmoid()
    is_large = ((boxes[..., 2:] - boxes[..., :2]) >= rpn.min_size).all(-1)
    keep = suppress(boxes, is_large & (scores >= rpn.score_thresh), rpn.nms_thresh)
    return boxes, scores.where(keep, -1)

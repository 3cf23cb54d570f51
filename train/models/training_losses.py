"""The loss of a training step, from a batch of images to the four parts that are minimised."""

from typing import cast

import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import concat_box_prediction_layers

from train.models.matching import match
from train.models.proposals import Predictions, Proposals, boxes_at, propose, rpn_losses, sample_anchors
from train.models.sampling import Budget, random_keys, sample
from train.models.second_stage_loss import IGNORED, second_stage_losses
from train.models.targets import Targets

HARD_SHARE = 0.5
"""Share of the hard negatives in the second stage."""


class TrainingLosses(nn.Module):
    """The multi-task loss of a Faster R-CNN, in tensors of the whole batch.

    torchvision matches, samples, suppresses and encodes image by image, thousands of small operations that a GPU waits
    for. Here each is done for all images at once. With the same samples the losses are those of torchvision, except
    for the boxes of the second stage (``second_stage_losses``).
    """

    def __init__(self, model: FasterRCNN) -> None:
        """Compute the loss of ``model``, whose samplers give the budgets."""
        super().__init__()
        self.model = model

    def forward(self, images: Tensor, targets: Targets) -> dict[str, Tensor]:
        """The parts of the loss, as torchvision names them.

        Args:
            images: float32 (B,3,S,S), RGB in 0..1.
            targets: of these images, on their device.
        """
        model, size_hw = self.model, (images.shape[-2], images.shape[-1])
        features: dict[str, Tensor] = model.backbone(self._normalised(images))
        predictions = self._predict(images, list(features.values()))
        with torch.no_grad():
            anchors, labelled = sample_anchors(model.rpn, predictions.anchors, targets)
            proposals = propose(model.rpn, predictions, size_hw)
            rois, labels, wanted = sample_rois(model.roi_heads, proposals, targets)
        heads = model.roi_heads
        pooled = heads.box_roi_pool(features, list(rois), [size_hw] * len(rois))
        logits, deltas = heads.box_predictor(heads.box_head(pooled))
        second = second_stage_losses(
            logits, deltas, labels.flatten(), wanted.flatten(0, 1), rois.flatten(0, 1), heads.box_coder
        )
        return rpn_losses(model.rpn, predictions, anchors, labelled) | second

    def _normalised(self, images: Tensor) -> Tensor:
        transform = self.model.transform
        mean, std = (images.new_tensor(v).view(-1, 1, 1) for v in (transform.image_mean, transform.image_std))
        return (images - mean) / std

    def _predict(self, images: Tensor, levels: list[Tensor]) -> Predictions:
        rpn = self.model.rpn
        logits, deltas = rpn.head(levels)
        per_level = [level[0].numel() for level in logits]
        flat_logits, flat_deltas = concat_box_prediction_layers(logits, deltas)
        batch = len(images)
        anchors = self._anchors(images, levels)
        return Predictions(flat_logits.view(batch, -1), flat_deltas.view(batch, -1, 4), anchors, per_level)

    def _anchors(self, images: Tensor, levels: list[Tensor]) -> Tensor:
        """The anchors of each image (A,4), in float32 also where autocast gives levels in bfloat16."""
        first = ImageList(images[:1], [(images.shape[-2], images.shape[-1])])
        shapes = [images.new_empty(1, 0, *level.shape[-2:]) for level in levels]  # all that the generator looks at
        [anchors] = self.model.rpn.anchor_generator(first, shapes)
        return cast("Tensor", anchors)


def sample_rois(heads: RoIHeads, proposals: Proposals, targets: Targets) -> tuple[Tensor, Tensor, Tensor]:
    """Choose the RoIs that the second stage is trained on: proposals, and the labelled boxes themselves.

    Returns:
        RoIs (B,S,4) xyxy px; their labels (B,S), 0 for background and ``IGNORED`` in places that are left over; and
        their labelled boxes (B,S,4) xyxy px, of the background the RoI itself.
    """
    # Labelled boxes come last: a candidate's place, and so its draw, does not depend on how many others there are.
    candidates = torch.cat([proposals.boxes, targets.boxes], 1)
    is_usable = torch.cat([proposals.is_valid, targets.labels > 0], 1)
    matches = match(targets, candidates)
    matcher, sampler = heads.proposal_matcher, heads.fg_bg_sampler
    is_positive = is_usable & (matches.iou >= matcher.high_threshold)
    is_negative = is_usable & (matches.iou < matcher.low_threshold)
    count = sampler.batch_size_per_image
    budget = Budget(count, int(count * sampler.positive_fraction), HARD_SHARE)
    # Other draws than those of the first stage.
    chosen = sample(is_positive, is_negative, random_keys(targets.seeds + 1, candidates.shape[1]), budget)
    box = matches.box.gather(1, chosen.index)
    rois = boxes_at(candidates, chosen.index)
    labels = targets.labels.gather(1, box) * chosen.is_positive
    wanted = torch.where(chosen.is_positive[..., None], boxes_at(targets.boxes, box), rois)
    return rois, labels.masked_fill(~chosen.is_valid, IGNORED), wanted

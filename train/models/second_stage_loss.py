"""Losses of the second stage: classification, and GIoU of the boxes."""

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.models.detection._utils import BoxCoder
from torchvision.ops import generalized_box_iou_loss

BOX_FACTOR = 10.0
"""Weight of the box loss, which gives it about the gradient of torchvision's smooth L1 of deltas scaled by 10."""


def second_stage_losses(
    logits: Tensor, deltas: Tensor, labels: Tensor, regression_targets: Tensor, proposals: Tensor, coder: BoxCoder
) -> dict[str, Tensor]:
    """The losses of sampled proposals: torchvision's, with the generalised IoU in place of smooth L1.

    Boxes are trained for the overlap that they are evaluated by (Rezatofighi et al., 2019): an error of one pixel
    weighs more for a thin mouth than for a face.

    Args:
        logits: (R,C+1) float32, class 0 the background.
        deltas: (R,4(C+1)) float32, box regression deltas of each class.
        labels: (R,) int64, the class of each proposal, 0 for background.
        regression_targets: (R,4) float32, those of the labelled box; ignored for background.
        proposals: (R,4) float32, xyxy px.
        coder: turns deltas into boxes.

    Returns:
        ``loss_classifier`` and ``loss_box_reg``, as torchvision names them.
    """
    objects = torch.where(labels > 0)[0]
    rois = proposals[objects]
    boxes = coder.decode_single(deltas.unflatten(1, (-1, 4))[objects, labels[objects]], rois)
    giou_loss = generalized_box_iou_loss(boxes, coder.decode_single(regression_targets[objects], rois), reduction="sum")
    return {"loss_classifier": F.cross_entropy(logits, labels), "loss_box_reg": BOX_FACTOR * giou_loss / len(labels)}

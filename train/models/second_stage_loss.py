"""Losses of the second stage: classification, and GIoU of the boxes."""

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.models.detection._utils import BoxCoder
from torchvision.ops import generalized_box_iou_loss

BOX_FACTOR = 10.0
"""Weight of the box loss, which gives it about the gradient of torchvision's smooth L1 of deltas scaled by 10."""
IGNORED = -1
"""Label of a place in a batch that holds no RoI."""


def second_stage_losses(
    logits: Tensor, deltas: Tensor, labels: Tensor, labelled: Tensor, rois: Tensor, coder: BoxCoder
) -> dict[str, Tensor]:
    """The losses of sampled RoIs: torchvision's, with the generalised IoU in place of smooth L1.

    Boxes are trained for the overlap that they are evaluated by (Rezatofighi et al., 2019): an error of one pixel
    weighs more for a thin mouth than for a face.

    Args:
        logits: (R,C+1) float32, class 0 the background.
        deltas: (R,4(C+1)) float32, box regression deltas of each class.
        labels: (R,) int64, the class of each RoI, 0 for background, ``IGNORED`` for none.
        labelled: (R,4) float32, xyxy px, the labelled boxes; those of the background count for nothing.
        rois: (R,4) float32, xyxy px.
        coder: turns deltas into boxes.

    Returns:
        ``loss_classifier`` and ``loss_box_reg``, as torchvision names them.
    """
    of_class = labels.clamp(min=0)[:, None, None].expand(-1, 1, 4)
    boxes = coder.decode_single(deltas.unflatten(1, (-1, 4)).gather(1, of_class).squeeze(1), rois)
    giou_loss = torch.where(labels > 0, generalized_box_iou_loss(boxes, labelled), 0).sum()
    return {
        "loss_classifier": F.cross_entropy(logits, labels, ignore_index=IGNORED),
        "loss_box_reg": BOX_FACTOR * giou_loss / (labels != IGNORED).sum(),
    }

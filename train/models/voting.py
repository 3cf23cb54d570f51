"""The second stage with box voting: each detection is the weighted mean of the boxes that it suppresses."""

from torch import Tensor
from torch.nn import functional as F
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.ops import batched_nms, clip_boxes_to_image, remove_small_boxes

from train.models.calibration import Calibration

MIN_SIDE_PX = 1e-2
"""Boxes with a shorter side are dropped, as torchvision does."""


class VotingRoIHeads(RoIHeads):
    """torchvision's ``RoIHeads`` whose detections are averaged with the boxes that they suppress.

    A part of a face has a dozen proposals, each regressed to a slightly different box. Suppression picks one by its
    score, which is a poor measure of its fit; their mean is more accurate, and more stable from frame to frame. As in
    Gidaris and Komodakis, "Object detection via a multi-region & semantic segmentation-aware CNN model"
    (2015), section 5.2, with weights that decrease to 0 at the IoU threshold.
    """

    calibration: Calibration | None = None
    """Of the scores that leave the model; it changes neither boxes nor which of them are kept."""

    @classmethod
    def of(cls, heads: RoIHeads, calibration: Calibration | None = None) -> "VotingRoIHeads":
        """The same heads, with voting and calibrated scores."""
        matcher, sampler = heads.proposal_matcher, heads.fg_bg_sampler
        voting = cls(
            heads.box_roi_pool,
            heads.box_head,
            heads.box_predictor,
            matcher.high_threshold,
            matcher.low_threshold,
            sampler.batch_size_per_image,
            sampler.positive_fraction,
            heads.box_coder.weights,
            heads.score_thresh,
            heads.nms_thresh,
            heads.detections_per_img,
        )
        voting.calibration = calibration
        return voting

    def postprocess_detections(
        self,
        class_logits: Tensor,
        box_regression: Tensor,
        proposals: list[Tensor],
        image_shapes: list[tuple[int, int]],
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """As torchvision's, then vote: boxes (D,4) xyxy px, scores (D,) and one-based labels (D,) of each image."""
        counts = [len(p) for p in proposals]
        boxes = self.box_coder.decode(box_regression, proposals)
        all_boxes = boxes.reshape(*class_logits.shape, 4).split(counts)  # (R,C+1,4) each; decode has (0,4C+4) of none
        all_scores = F.softmax(class_logits, -1).split(counts)
        found = [self._detections(*each) for each in zip(all_boxes, all_scores, image_shapes, strict=True)]
        boxes, scores, labels = zip(*found, strict=True)
        return list(boxes), list(scores), list(labels)

    def _detections(self, boxes: Tensor, scores: Tensor, shape: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
        boxes = clip_boxes_to_image(boxes, shape)
        scores = scores[:, 1:]  # without background
        roi, class_id = (scores > self.score_thresh).nonzero().unbind(1)
        boxes, scores, labels = boxes[roi, class_id + 1], scores[roi, class_id], class_id + 1
        large = remove_small_boxes(boxes, MIN_SIDE_PX)
        boxes, scores, labels = boxes[large], scores[large], labels[large]
        kept = batched_nms(boxes, scores, labels, self.nms_thresh)[: self.detections_per_img]
        agrees = labels[kept, None] == labels
        weights = scores * agrees * overlap_margin(boxes[kept], boxes, self.nms_thresh)
        voted = weights @ boxes / weights.sum(1, keepdim=True)
        voted = clip_boxes_to_image(voted, shape)  # rounding may move a mean just outside
        return self._calibrated(voted, scores[kept], labels[kept])

    def _calibrated(self, boxes: Tensor, scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The same detections with calibrated scores, best first."""
        if self.calibration is None:
            return boxes, scores, labels
        scores = self.calibration(scores, labels - 1)
        order = scores.argsort(descending=True, stable=True)
        return boxes[order], scores[order], labels[order]


def overlap_margin(boxes: Tensor, others: Tensor, iou: float) -> Tensor:
    """By how much boxes (K,4) overlap others (N,4), all xyxy px, beyond the threshold ``iou``: (K,N) px².

    The intersection times (1 + iou) / iou, less both areas: above 0 where the IoU is above the threshold; 0 elsewhere.
    """
    low = boxes[:, None, :2].maximum(others[:, :2])
    high = boxes[:, None, 2:].minimum(others[:, 2:])
    intersection = F.relu(high - low).prod(2)
    area, other_area = ((b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1]) for b in (boxes, others))
    return F.relu(intersection * ((1 + iou) / iou) - area[:, None] - other_area)

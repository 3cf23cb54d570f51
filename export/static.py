"""A trained torchvision Faster R-CNN as one graph of fixed shapes.

torchvision's inference path has shapes that depend on the data (boxes that survive suppression, RoIs of each pyramid
level), which a runtime must synchronise on and cannot capture as a CUDA graph, and which the exporter refuses. The same
function is implemented here with the *same trained modules* with fixed shapes: constant budgets, masks instead of
selections, suppression as matrix products, one RoIAlign over an atlas of all levels.

Boxes are planes, (4,…) of x1, y1, x2, y2: an operation takes two or all four at once, without strided access. Half of
a small detector's time is the overhead of operations, so their number matters.
"""

import copy
import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import FrozenBatchNorm2d, roi_align

from export.errors import ExportError
from export.suppression import Suppression, overlap_terms
from train.models.voting import VotingRoIHeads

REPLICAS = 2
"""Rows and columns by which a level is extended: as far as RoIAlign samples outside the border."""

NEVER = -1e30
"""Score of an unused row. Finite, since half precision and some runtimes handle infinities badly."""

MIN_VOTES = 1e-12
"""Avoids 0/0 in unused rows; a row with a box has at least its own vote, above 1e-6."""


@dataclass(frozen=True, slots=True)
class Budget:
    """How much a graph does; None for as much as the model, or as the images of the verification need."""

    proposals: int | None = None
    """Boxes that go from the first stage to the second."""
    pre_nms: int | None = None
    """Anchors of each level that the first stage suppresses; the short tail has no such suppression."""
    rounds: int | None = None
    """Rounds of suppression."""
    candidates: int | None = None
    """Boxes of all classes that the second stage suppresses, and rows of the outputs; of the short tail."""


class StaticFasterRCNN(nn.Module):
    """The inference path of a ``FasterRCNN`` for images of one size, with fixed shapes throughout.

    The images of a batch are groups of their own wherever boxes are compared: what is found in one does not depend on
    the others. With a single image there is no axis for it, and so no operation that would handle it.

    In half precision (``to_float16``) the convolutions and the layers of the heads compute in float16. Everything that
    handles coordinates or sorts boxes stays float32: float16 has 11 bits of precision, which is half a pixel at 600 px,
    and areas, which it cannot hold beyond 65,504 px², decide what is suppressed.
    """

    pixel_mean: Tensor
    """(3,1,1), BGR, in 0..255."""
    rpn: Any
    roi_features: Any
    roi_heads: Any
    """The tail: other modules in each form of it."""

    def __init__(self, model: FasterRCNN, input_hw: tuple[int, int], budget: Budget | None = None) -> None:
        """Take a copy of the trained modules of ``model``, batch norms folded into their convolutions.

        Args:
            model: what ``train.models`` built.
            input_hw: height and width in pixels of the input.
            budget: where the graph is to do less than the model.

        Raises:
            ExportError: the model has a part without a fixed-shape implementation here.
        """
        super().__init__()
        model = copy.deepcopy(model).eval()
        if not isinstance(model.roi_heads, VotingRoIHeads):
            raise ExportError("only detectors that train.models built can be exported: this one has other RoI heads")
        self.input_hw = input_hw
        self.budget = budget or Budget()
        self.calibration = model.roi_heads.calibration
        """Of the model. The exported graph is calibrated by ``export.calibration``, after all that is traced here."""
        self.dtype = torch.float32
        """Of the layers that have weights."""
        fold_batch_norms(model)
        pool_by_window(model.backbone)
        self._fold_normalisation(model)
        self.backbone = model.backbone
        self._add_tail(model)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Detect objects.

        Args:
            image: uint8 (B,H,W,3), BGR, letterboxed to the fixed size.

        Returns:
            boxes (D,4) float32 xyxy in pixels of the input, scores (D,) float32 in descending order, not calibrated,
            labels (D,) int64 zero-based; unused rows have score 0. With several images each has an axis (B,…) in front.
        """
        batch = image.shape[0]
        # Planes first: a subtraction along a last axis of length three cannot be vectorised.
        x = image.permute(0, 3, 1, 2).float() - self.pixel_mean  # (B,3,H,W)
        features = list(self.backbone(x.to(self.dtype)).values())
        return self._detect(features, batch)

    def to_float16(self) -> None:
        """Turn the layers that have weights to float16, in place."""
        self.dtype = torch.float16
        for module in (self.backbone, *self._layers()):
            module.to(self.dtype)

    def freeze(self, images: Iterable[Tensor]) -> None:
        """Fix the rounds of suppression for an export, by running ``images``: uint8 (1,H,W,3) BGR, letterboxed."""
        with torch.inference_mode():
            for image in images:
                self(image)
        for module in self.modules():
            if isinstance(module, Suppression):
                module.freeze_rounds(self.budget.rounds)

    def _add_tail(self, model: FasterRCNN) -> None:
        """Make the modules after the backbone, of the trained ones of a copy of the model."""
        self.rpn = StaticRPN(model, self.input_hw)
        self.roi_features = AtlasRoIAlign(model, self.input_hw)
        self.roi_heads = StaticRoIHeads(model, self.input_hw, self.rpn.num_rois)

    def _layers(self) -> list[nn.Module]:
        """The modules after the backbone that have weights."""
        return [self.rpn.head, self.roi_heads.box_head, self.roi_heads.predictor]

    def _detect(self, features: list[Tensor], batch: int) -> tuple[Tensor, Tensor, Tensor]:
        """What ``forward`` returns, of the levels of the pyramid."""
        rois, roi_exists = self.rpn(features)  # (4,B*R), (B*R,)
        roi_features = self.roi_features(features, rois).to(self.dtype)
        detections: tuple[Tensor, Tensor, Tensor] = self.roi_heads(roi_features, rois, roi_exists, batch)
        return detections

    def _fold_normalisation(self, model: FasterRCNN) -> None:
        """Fold channel swap and division by the standard deviation into the first convolution.

        The mean is still subtracted before: the convolution pads with zeros, which represent the mean colour.
        """
        mean = torch.tensor(model.transform.image_mean)
        std = torch.tensor(model.transform.image_std)
        first = next(m for m in model.backbone.modules() if isinstance(m, nn.Conv2d))
        first.weight.data = (first.weight.data / (255 * std.view(1, 3, 1, 1))).flip(1)
        self.register_buffer("pixel_mean", (255 * mean).flip(0).view(3, 1, 1))


class StaticRPN(nn.Module):
    """Proposals: the best anchors of each level, decoded, suppressed level by level, the best of all kept."""

    def __init__(self, model: FasterRCNN, input_hw: tuple[int, int]) -> None:
        super().__init__()
        rpn = model.rpn
        self.head = rpn.head
        self.input_hw = input_hw
        self.min_size_px = rpn.min_size
        self.iou = rpn.nms_thresh
        self.suppress = Suppression()
        self.clip_log_scale = rpn.box_coder.bbox_xform_clip
        anchors, per_location = level_anchors(model, input_hw)
        self.budgets = [min(rpn.pre_nms_top_n(), len(level)) for level in anchors]
        self.num_rois = min(rpn.post_nms_top_n(), sum(self.budgets))
        # torchvision orders anchors (H,W,A) and deltas (A,4,H,W); as (A,H,W) and (4,A,H,W) nothing is transposed later.
        planes_first(cast("nn.Conv2d", rpn.head.bbox_pred), per_location[0])
        for i, (level, count) in enumerate(zip(anchors, per_location, strict=True)):
            x1, y1, x2, y2 = level.view(-1, count, 4).permute(2, 1, 0).flatten(1)
            width, height = x2 - x1, y2 - y1
            centred = torch.stack([x1 + 0.5 * width, y1 + 0.5 * height, width, height])
            self.register_buffer(f"anchors_{i}", centred)  # (4,A*H*W)

    def forward(self, features: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Return RoIs (4,B*R) px and which of them exist (B*R,) bool, image by image, best first."""
        batch = features[0].shape[0]
        all_logits, all_deltas = ([level.float() for level in levels] for levels in self.head(features))
        width = max(self.budgets)
        scores, anchors, deltas = [], [], []
        for i, (logits, level_deltas, budget) in enumerate(zip(all_logits, all_deltas, self.budgets, strict=True)):
            best, index = rows_of_images(logits, batch).topk(budget)  # (k,) or (B,k), sorted
            scores.append(extend(best, width, NEVER))
            anchors.append(extend(take(getattr(self, f"anchors_{i}"), index), width))
            deltas.append(extend(take(planes_of_images(level_deltas, batch), index), width))
        axis = scores[0].dim() - 1
        score = torch.cat(scores, dim=axis).view(-1, width)  # (B*L,K)
        centres, sides = torch.split(torch.cat(anchors, dim=axis + 1).view(4, -1, width), 2)
        boxes = decode(centres, sides, torch.cat(deltas, dim=axis + 1).view(4, -1, width), self.clip_log_scale)
        boxes = clip(boxes, self.input_hw)  # (4,B*L,K)
        exists = (score > NEVER) & is_large(boxes, self.min_size_px)
        intersections, areas = overlap_terms(boxes, self.iou)
        kept = self.suppress(intersections > areas, exists)
        best, index = rows_of_images(torch.where(kept, score, NEVER), batch).topk(self.num_rois)  # (R,) or (B,R)
        rois = take(boxes.flatten(1) if batch == 1 else boxes.reshape(4, batch, -1), index)
        return (rois, best > NEVER) if batch == 1 else (rois.flatten(1), best.flatten() > NEVER)


class AtlasRoIAlign(nn.Module):
    """``MultiScaleRoIAlign`` as a single RoIAlign over an atlas that holds all levels.

    Each level, extended by two replicated rows and columns, is a strip of the atlas, and each RoI is scaled and shifted
    into the strip of its level. RoIAlign clamps its samples at the border of a map; the replicas give the same value.
    RoIs are clipped to the image, but RoIAlign widens one that is thinner than a pixel of its level, and then counts
    samples beyond the right or bottom border as 0. All samples of such a bin have the value of the border, so the share
    of them that lies inside is the factor that the bin needs.
    """

    level_edges: Tensor
    """(L-1,1), area in px² from which on a RoI belongs to a level above the finest."""
    strips: Tensor
    """(7,L): pixels of a level in a pixel of the input; what its strip adds to x1, y1, x2, y2; its width and height."""
    sample_points: Tensor
    """(P,), where RoIAlign samples along a side, as fractions of it."""

    def __init__(self, model: FasterRCNN, input_hw: tuple[int, int]) -> None:
        super().__init__()
        pool = model.roi_heads.box_roi_pool
        self.output_size = pool.output_size
        self.sampling_ratio = pool.sampling_ratio
        if self.sampling_ratio <= 0:
            raise ExportError("RoIAlign with an adaptive sampling ratio has no fixed shape: build the pool with 2")
        all_shapes = feature_shapes(model, input_hw)
        self.level_indices = [list(all_shapes).index(name) for name in pool.featmap_names]
        shapes = [all_shapes[name] for name in pool.featmap_names]
        # The same rounding as torchvision's _infer_scale: strides are powers of two.
        exponents = [round(math.log2(input_hw[0] / h)) for h, _ in shapes]
        # Eq. 1 of Lin et al. (2017), with torchvision's guard against rounding, solved for the area.
        edges = [pool.canonical_scale * 2 ** (k - pool.canonical_level - 1e-6) for k in exponents[1:]]
        self.register_buffer("level_edges", torch.tensor([[edge**2] for edge in edges]))
        self.width = max(w for _, w in shapes) + REPLICAS
        starts = [sum(h + REPLICAS for h, _ in shapes[:i]) for i in range(len(shapes))]
        strips = [
            [2.0**-k, 0, start, 0, start, w, h] for k, start, (h, w) in zip(exponents, starts, shapes, strict=True)
        ]
        self.register_buffer("strips", torch.tensor(strips).t().contiguous())
        points = self.output_size[0] * self.sampling_ratio
        self.register_buffer("sample_points", (torch.arange(points) + 0.5) / points)

    def forward(self, features: list[Tensor], rois: Tensor) -> Tensor:
        """Map pyramid levels (B,C,H_l,W_l) and RoIs (4,B*R) to RoI features (B*R,C,7,7)."""
        extended = []
        for index in self.level_indices:
            level = features[index]
            extended.append(F.pad(level, (0, self.width - level.shape[3], 0, REPLICAS), mode="replicate"))
        atlas = torch.cat(extended, dim=2).float()  # RoIAlign takes map and RoIs of one type
        low, high = torch.split(rois, 2)
        level = ((high - low).prod(0) >= self.level_edges).sum(0)
        scale, shift, limits = torch.split(self.strips.index_select(1, level), [1, 4, 2])  # (1,R), (4,R), (2,R)
        scaled = rois * scale
        batch, count = features[0].shape[0], rois.shape[1]
        batch_index = rois.new_zeros(1, count)
        if batch > 1:
            batch_index = torch.arange(batch).repeat_interleave(count // batch).to(rois)[None]
        placed = torch.cat([batch_index, scaled + shift]).t()  # (R,5)
        aligned: Tensor = roi_align(atlas, placed, self.output_size, sampling_ratio=self.sampling_ratio)
        return aligned * self._share_inside(scaled, limits)[:, None]

    def _share_inside(self, scaled: Tensor, limits: Tensor) -> Tensor:
        """Share of the samples of each bin (R,7,7) that lie within the level; RoIs (4,R) in pixels of their levels."""
        low, high = torch.split(scaled, 2)
        sides = (high - low).clamp(min=1)  # as RoIAlign widens them
        points = low[..., None] + sides[..., None] * self.sample_points  # (2,R,14), x and y
        share = (points <= limits[..., None]).float()
        if self.sampling_ratio > 1:
            share = share.reshape(2, -1, self.output_size[0], self.sampling_ratio).mean(3)  # (2,R,7)
        across, down = torch.split(share, 1)
        return down.view(-1, self.output_size[0], 1) * across.view(-1, 1, self.output_size[1])


class StaticRoIHeads(nn.Module):
    """Second stage: class scores and boxes of every RoI, suppressed class by class, the best of all kept."""

    def __init__(self, model: FasterRCNN, input_hw: tuple[int, int], num_rois: int) -> None:
        super().__init__()
        heads = model.roi_heads
        self.box_head = heads.box_head
        self.predictor = joined_predictor(cast("FastRCNNPredictor", heads.box_predictor), heads.box_coder.weights)
        self.clip_log_scale = heads.box_coder.bbox_xform_clip
        self.input_hw = input_hw
        self.min_score = heads.score_thresh
        self.iou = heads.nms_thresh
        self.suppress = Suppression()
        num_classes = cast("FastRCNNPredictor", heads.box_predictor).cls_score.out_features - 1
        self.max_detections = min(heads.detections_per_img, num_rois * num_classes)
        self.min_size_px = 1e-2  # as in torchvision's postprocess_detections

    def forward(
        self, roi_features: Tensor, rois: Tensor, roi_exists: Tensor, batch: int = 1
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return boxes, scores and labels as ``StaticFasterRCNN.forward`` describes them, for RoIs (4,B*R)."""
        outputs = self.predictor(self.box_head(roi_features)).float().t()
        num_classes = outputs.shape[0] // 5
        logits, deltas = torch.split(outputs, [num_classes + 1, 4 * num_classes])
        scores = F.softmax(logits, dim=0)[1:]  # (C,B*R), without background
        low, high = torch.split(rois[:, None], 2)  # (2,1,R)
        sides = high - low
        boxes = decode(low + 0.5 * sides, sides, deltas.view(4, num_classes, -1), self.clip_log_scale)
        boxes = clip(boxes, self.input_hw)  # (4,C,B*R)
        exists = roi_exists & (scores > self.min_score) & is_large(boxes, self.min_size_px)
        score = torch.where(exists, scores, NEVER)
        if batch > 1:
            score, boxes = classes_of_images(score, batch), classes_of_images(boxes, batch)  # (B*C,R), (4,B*C,R)
        score, order = score.sort(dim=1, descending=True)
        boxes = boxes.gather(2, order.expand(4, -1, -1))
        intersections, areas = overlap_terms(boxes, self.iou)
        kept = self.suppress(intersections > areas, score > NEVER)
        boxes = clip(vote(boxes, F.relu(score), F.relu(intersections - areas)), self.input_hw)
        each = rows_of_images(torch.where(kept, score, NEVER), batch)
        best, index = each.topk(self.max_detections)  # (D,) or (B,D)
        used = best > NEVER
        labels = torch.div(index, score.shape[1], rounding_mode="floor")
        if batch == 1:
            return boxes.flatten(1).index_select(1, index).t() * used[:, None], best * used, labels * used
        found = take(boxes.reshape(4, batch, -1), index).permute(1, 2, 0)
        return found * used[..., None], best * used, labels * used


def vote(boxes: Tensor, scores: Tensor, margins: Tensor) -> Tensor:
    """Means of boxes (4,G,N) px: the votes of ``train.models.voting.VotingRoIHeads``.

    Args:
        boxes: (4,G,N) px.
        scores: (G,N), not negative.
        margins: (G,N,N), by how much two boxes overlap above the threshold; symmetric.
    """
    weighted = torch.cat([boxes, torch.ones_like(boxes[:1])]) * scores  # (5,G,N)
    sums, total = torch.split((weighted.transpose(0, 1) @ margins).transpose(0, 1), [4, 1])
    return sums / total.clamp(min=MIN_VOTES)


def decode(centres: Tensor, sides: Tensor, deltas: Tensor, clip_log_scale: float) -> Tensor:
    """Boxes (4,…) from anchors, centres and sides (2,…), and regressed deltas (4,…).

    The inverse of eq. 2 of Ren et al. (2015), as torchvision's BoxCoder.
    """
    shifts, log_scales = torch.split(deltas, 2)
    centres = centres + shifts * sides
    half_sides = 0.5 * sides * torch.exp(log_scales.clamp(max=clip_log_scale))
    return torch.cat([centres - half_sides, centres + half_sides])


def clip(boxes: Tensor, input_hw: tuple[int, int]) -> Tensor:
    """Clip boxes (4,G,N) to the image."""
    height, width = input_hw
    return F.relu(boxes).minimum(boxes.new_tensor([width, height, width, height]).view(4, 1, 1))


def is_large(boxes: Tensor, min_size_px: float) -> Tensor:
    """Which boxes (4,G,N) have both sides of at least ``min_size_px``: (G,N)."""
    low, high = torch.split(boxes, 2)
    return (high - low).amin(0) >= min_size_px


def rows_of_images(values: Tensor, batch: int) -> Tensor:
    """All values of an image as a row: (N,) of one image, (B,N) of several."""
    return values.flatten() if batch == 1 else values.flatten().view(batch, -1)


def planes_of_images(deltas: Tensor, batch: int) -> Tensor:
    """Deltas (B,4*A,H,W) as planes: (4,N) of one image, (4,B,N) of several."""
    return deltas.reshape(4, -1) if batch == 1 else deltas.reshape(batch, 4, -1).transpose(0, 1)


def classes_of_images(values: Tensor, batch: int) -> Tensor:
    """Values (…,C,B*R) with a row for each class of each image: (…,B*C,R)."""
    parted = values.view(*values.shape[:-1], batch, -1)  # (…,C,B,R)
    return parted.transpose(-3, -2).flatten(-3, -2)


def take(planes: Tensor, index: Tensor) -> Tensor:
    """Columns of planes (P,N), or in each image those of its own: (P,B,N) or (P,N) with an index (B,k) give (P,B,k)."""
    if index.dim() == 1:
        return planes.index_select(1, index)
    if planes.dim() == 2:  # the same for all images
        return planes.index_select(1, index.flatten()).view(-1, *index.shape)
    return planes.gather(2, index.expand(len(planes), -1, -1))


def extend(rows: Tensor, width: int, value: float = 0.0) -> Tensor:
    """Pad the last dimension to ``width``."""
    missing = width - rows.shape[-1]
    return F.pad(rows, (0, missing), value=value) if missing else rows


def planes_first(bbox_pred: nn.Conv2d, count: int) -> None:
    """Reorder the outputs of a convolution in place, from 4 deltas for each of ``count`` anchors to (4,count)."""
    for parameter in (bbox_pred.weight, cast("Tensor", bbox_pred.bias)):
        parameter.data = parameter.data.unflatten(0, (count, 4)).transpose(0, 1).flatten(0, 1).contiguous()


def joined_predictor(predictor: FastRCNNPredictor, weights: tuple[float, ...]) -> nn.Linear:
    """One layer with C+1 logits and (4,C) deltas, without those of the background, divided by the coder's weights."""
    class_score, bbox_pred = predictor.cls_score, predictor.bbox_pred
    joined = nn.Linear(class_score.in_features, 5 * class_score.out_features - 4)
    for ours, logits, deltas in (
        (joined.weight, class_score.weight, bbox_pred.weight),
        (joined.bias, class_score.bias, bbox_pred.bias),
    ):
        scaled = deltas.data.unflatten(0, (-1, 4))[1:].transpose(0, 1)  # (4,C,…)
        scaled = scaled / torch.tensor(weights).view(4, *[1] * (scaled.dim() - 1))
        ours.data = torch.cat([logits.data, scaled.flatten(0, 1)])
    return joined


def level_anchors(model: FasterRCNN, input_hw: tuple[int, int]) -> tuple[list[Tensor], list[int]]:
    """Anchors (N_l,4) of each level, and how many a location has."""
    shapes = list(feature_shapes(model, input_hw).values())
    generator = model.rpn.anchor_generator
    image = torch.zeros(1, 3, *input_hw)
    anchors = generator(ImageList(image, [input_hw]), [torch.zeros(1, 1, *shape) for shape in shapes])[0]
    per_location = generator.num_anchors_per_location()
    sizes = [h * w * count for (h, w), count in zip(shapes, per_location, strict=True)]
    return list(anchors.split(sizes)), per_location


def feature_shapes(model: FasterRCNN, input_hw: tuple[int, int]) -> dict[str, tuple[int, int]]:
    """Height and width of every pyramid level for an input size, finest first."""
    with torch.inference_mode():
        features = model.backbone(torch.zeros(1, 3, *input_hw))
    return {name: (x.shape[2], x.shape[3]) for name, x in features.items()}


def pool_by_window(module: nn.Module) -> None:
    """Give every average over a whole map a window, in place: exporters turn the other form into several operations."""
    for name, child in module.named_children():
        if isinstance(child, nn.AdaptiveAvgPool2d):
            setattr(module, name, WholeMapAverage())
        pool_by_window(child)


class WholeMapAverage(nn.Module):
    """The mean of each channel."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (B,C,H,W) to (B,C,1,1)."""
        return F.avg_pool2d(x, x.shape[2:])


def fold_batch_norms(module: nn.Module) -> None:
    """Fold every batch norm that follows a convolution into it, in place; the norm becomes an identity."""
    children = list(module.named_children())
    for (_, first), (name, second) in pairwise(children):
        if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d | FrozenBatchNorm2d):
            statistics = cast("Tensor", second.running_mean), cast("Tensor", second.running_var)
            first.weight, first.bias = fuse_conv_bn_weights(
                first.weight, first.bias, *statistics, second.eps, second.weight, second.bias
            )
            setattr(module, name, nn.Identity())
    for _, child in children:
        fold_batch_norms(child)

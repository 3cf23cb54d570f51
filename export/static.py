"""A trained torchvision Faster R-CNN as one graph of fixed shapes.

torchvision's inference path has shapes that depend on the data (boxes that survive suppression, RoIs of each pyramid
level), which a runtime must synchronise on, cannot capture as a CUDA graph, and which the exporter refuses. The same
function is written here over the *same trained modules* with fixed shapes: constant budgets, masks instead of
selections, suppression as matrix products, one RoIAlign over an atlas of all levels.
"""

import copy
import math
from collections.abc import Iterable
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import FrozenBatchNorm2d, roi_align

from export.errors import ExportError
from export.suppression import Corners, Suppression, overlap_terms
from train.voting import VotingRoIHeads

REPLICAS = 2
"""Rows and columns by which a level is extended: as far as RoIAlign samples beyond the border."""

NEVER = -1e30
"""Score of a row that holds nothing. Finite, since half precision and some runtimes treat infinities badly."""

MIN_VOTES = 1e-12
"""Keeps rows that hold nothing from being 0/0; one that holds a box has at least its own vote, above 1e-6."""


class StaticFasterRCNN(nn.Module):
    """The inference path of a ``FasterRCNN`` for one image of one size, with fixed shapes throughout.

    In half precision (``halve``) the convolutions and the layers of the heads compute in float16. Whatever deals with
    coordinates or puts boxes in order stays float32: float16 has 11 bits, which place a box at 600 px to half a pixel,
    and areas, which it cannot hold beyond 65,504 px², decide what is suppressed.
    """

    pixel_mean: Tensor
    """(3,1,1), BGR, in 0..255."""

    def __init__(self, model: FasterRCNN, input_hw: tuple[int, int]) -> None:
        """Take a copy of the trained modules of ``model``, batch norms folded into their convolutions.

        Raises:
            ExportError: the model uses a part that has no fixed-shape form here.
        """
        super().__init__()
        model = copy.deepcopy(model).eval()
        if not isinstance(model.roi_heads, VotingRoIHeads):
            raise ExportError("only detectors that train.model built can be exported: this one has other RoI heads")
        self.input_hw = input_hw
        self.dtype = torch.float32
        """Of the layers that have weights."""
        fold_batch_norms(model)
        self._fold_normalisation(model)
        self.backbone = model.backbone
        self.rpn = StaticRPN(model, input_hw)
        self.roi_features = AtlasRoIAlign(model, input_hw)
        self.roi_heads = StaticRoIHeads(model, input_hw)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Detect objects.

        Args:
            image: uint8 (1,H,W,3), BGR, letterboxed to the fixed size.

        Returns:
            boxes (D,4) float32 xyxy in pixels of the input, scores (D,) float32 in falling order, labels (D,) int64
            zero-based; unused rows have score 0.
        """
        # Planes first: a subtraction along the last axis of three has nothing to vectorise.
        x = image.permute(0, 3, 1, 2).float() - self.pixel_mean  # (1,3,H,W)
        features = list(self.backbone(x.to(self.dtype)).values())
        rois, roi_exists = self.rpn(features)  # (R,4), (R,)
        return self.roi_heads(self.roi_features(features, rois).to(self.dtype), rois, roi_exists)

    def halve(self) -> None:
        """Turn the layers that have weights to float16, in place."""
        self.dtype = torch.float16
        for module in (self.backbone, self.rpn.head, self.roi_heads.box_head, self.roi_heads.box_predictor):
            module.to(self.dtype)

    def freeze(self, pictures: Iterable[Tensor]) -> None:
        """Fix all that is still open before an export: the rounds of suppression, by what ``pictures`` need."""
        with torch.inference_mode():
            for picture in pictures:
                self(picture)
        for module in self.modules():
            if isinstance(module, Suppression):
                module.freeze_rounds()

    def _fold_normalisation(self, model: FasterRCNN) -> None:
        """Put channel swap and division by the standard deviation into the first convolution.

        The mean must be subtracted before: the convolution pads with zeros, which stand for the mean colour.
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
        for i, (level, count) in enumerate(zip(anchors, per_location, strict=True)):
            # torchvision orders anchors (H,W,A); the head's output is (A,H,W), and reordering constants costs nothing.
            reordered = level.view(-1, count, 4).transpose(0, 1).reshape(-1, 4)
            self.register_buffer(f"anchors_{i}", reordered)

    def forward(self, features: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Return RoIs (R,4) xyxy px and which of them exist (R,) bool, best first."""
        logits, deltas = ([level.float() for level in levels] for levels in self.head(features))
        width = max(self.budgets)
        scores, anchors, offsets = [], [], []
        for i, (logit, delta, budget) in enumerate(zip(logits, deltas, self.budgets, strict=True)):
            best, index = logit.flatten().topk(budget)  # (k,), sorted
            per_anchor = delta.reshape(logit.shape[1], 4, -1).transpose(1, 2).reshape(-1, 4)  # (A*H*W,4)
            scores.append(F.pad(best, (0, width - budget), value=NEVER))
            anchors.append(F.pad(getattr(self, f"anchors_{i}").index_select(0, index), (0, 0, 0, width - budget)))
            offsets.append(F.pad(per_anchor.index_select(0, index), (0, 0, 0, width - budget)))
        score = torch.stack(scores)  # (L,K)
        corners = decode(
            torch.stack(anchors).unbind(-1), torch.stack(offsets).unbind(-1), (1.0, 1.0, 1.0, 1.0), self.clip_log_scale
        )
        corners = clip(corners, self.input_hw)
        exists = (score > NEVER) & is_large(corners, self.min_size_px)
        intersections, areas = overlap_terms(corners, self.iou)
        kept = self.suppress(intersections > areas, exists)
        best, index = torch.where(kept, score, NEVER).flatten().topk(self.num_rois)  # (R,)
        rois = torch.stack([c.flatten().index_select(0, index) for c in corners], dim=1)
        return rois, best > NEVER


class AtlasRoIAlign(nn.Module):
    """``MultiScaleRoIAlign`` as a single RoIAlign over an atlas that holds all levels.

    Each level, extended by two replicated rows and columns, is a strip of the atlas, and each RoI is scaled and shifted
    into the strip of its level. RoIAlign clamps its samples at the border of a map; the replicas give the same value.
    RoIs are clipped to the image, but RoIAlign widens one that is thinner than a pixel of its level, and then counts
    samples beyond the right or bottom border as 0. All samples of such a bin have the value of the border, so the share
    of them that lies inside is the factor that the bin needs.
    """

    scales: Tensor
    """(L,), pixels of a level in a pixel of the input."""
    starts: Tensor
    """(L,), first row of each level in the atlas."""
    limits: Tensor
    """(L,2), width and height of each level."""
    sample_points: Tensor
    """(P,), where RoIAlign samples along a side, as fractions of it."""

    def __init__(self, model: FasterRCNN, input_hw: tuple[int, int]) -> None:
        super().__init__()
        pool = model.roi_heads.box_roi_pool
        self.output_size = pool.output_size
        self.sampling_ratio = pool.sampling_ratio
        if self.sampling_ratio <= 0:
            raise ExportError("RoIAlign with an adaptive sampling ratio has no fixed shape: build the pool with 2")
        self.canonical_scale = pool.canonical_scale
        self.canonical_level = pool.canonical_level
        all_shapes = feature_shapes(model, input_hw)
        self.level_indices = [list(all_shapes).index(name) for name in pool.featmap_names]
        shapes = [all_shapes[name] for name in pool.featmap_names]
        # The same rounding as torchvision's _infer_scale: strides are powers of two.
        strides = [2 ** round(math.log2(input_hw[0] / h)) for h, _ in shapes]
        self.width = max(w for _, w in shapes) + REPLICAS
        starts = [sum(h + REPLICAS for h, _ in shapes[:i]) for i in range(len(shapes))]
        self.finest_level = round(math.log2(strides[0]))
        self.coarsest_level = round(math.log2(strides[-1]))
        self.register_buffer("scales", torch.tensor([1.0 / s for s in strides]))
        self.register_buffer("starts", torch.tensor([float(s) for s in starts]))
        self.register_buffer("limits", torch.tensor([[float(w), float(h)] for h, w in shapes]))
        points = self.output_size[0] * self.sampling_ratio
        self.register_buffer("sample_points", (torch.arange(points) + 0.5) / points)

    def forward(self, features: list[Tensor], rois: Tensor) -> Tensor:
        """Map pyramid levels (1,C,H_l,W_l) and RoIs (R,4) to RoI features (R,C,7,7)."""
        strips = []
        for index in self.level_indices:
            extended = F.pad(features[index], (0, REPLICAS, 0, REPLICAS), mode="replicate")
            strips.append(F.pad(extended, (0, self.width - extended.shape[3])))
        atlas = torch.cat(strips, dim=2).float()  # RoIAlign takes map and RoIs of one type
        area = (rois[:, 2] - rois[:, 0]) * (rois[:, 3] - rois[:, 1])
        # Eq. 1 of Lin et al. (2017), with torchvision's guard against rounding.
        level = torch.floor(self.canonical_level + torch.log2(torch.sqrt(area) / self.canonical_scale) + 1e-6)
        level = level.clamp(self.finest_level, self.coarsest_level).long() - self.finest_level
        scaled = rois * self.scales.index_select(0, level)[:, None]
        start = self.starts.index_select(0, level)
        zero = torch.zeros_like(start)
        placed = scaled + torch.stack([zero, start, zero, start], dim=1)
        batch_index = torch.zeros_like(placed[:, :1])
        aligned = roi_align(
            atlas, torch.cat([batch_index, placed], dim=1), self.output_size, sampling_ratio=self.sampling_ratio
        )
        return aligned * self._share_inside(scaled, self.limits.index_select(0, level))[:, None]

    def _share_inside(self, scaled: Tensor, limits: Tensor) -> Tensor:
        """Share of the samples of each bin (R,7,7) that lie within the level; RoIs in pixels of their levels."""
        sides = (scaled[:, 2:] - scaled[:, :2]).clamp(min=1)  # as RoIAlign widens them
        points = scaled[:, :2, None] + sides[:, :, None] * self.sample_points  # (R,2,14), x and y
        inside = (points <= limits[:, :, None]).float()
        share = inside.reshape(len(scaled), 2, self.output_size[0], self.sampling_ratio).mean(3)  # (R,2,7)
        return share[:, 1, :, None] * share[:, 0, None, :]


class StaticRoIHeads(nn.Module):
    """Second stage: class scores and boxes of every RoI, suppressed class by class, the best of all kept."""

    def __init__(self, model: FasterRCNN, input_hw: tuple[int, int]) -> None:
        super().__init__()
        heads = model.roi_heads
        self.box_head = heads.box_head
        self.box_predictor = heads.box_predictor
        self.box_weights = heads.box_coder.weights
        self.clip_log_scale = heads.box_coder.bbox_xform_clip
        self.input_hw = input_hw
        self.min_score = heads.score_thresh
        self.iou = heads.nms_thresh
        self.suppress = Suppression()
        self.max_detections = heads.detections_per_img
        self.min_size_px = 1e-2  # as in torchvision's postprocess_detections

    def forward(self, roi_features: Tensor, rois: Tensor, roi_exists: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return boxes (D,4), scores (D,), labels (D,) as ``StaticFasterRCNN.forward`` describes them."""
        logits, deltas = (x.float() for x in self.box_predictor(self.box_head(roi_features)))
        scores = F.softmax(logits, dim=1).t()[1:]  # (C,R), without background
        num_classes = scores.shape[0]
        per_class = deltas.reshape(-1, num_classes + 1, 4).permute(2, 1, 0)[:, 1:]  # (4,C,R)
        corners = decode(rois.t()[:, None].unbind(0), per_class.unbind(0), self.box_weights, self.clip_log_scale)
        corners = clip(corners, self.input_hw)
        exists = roi_exists & (scores > self.min_score) & is_large(corners, self.min_size_px)
        score, order = torch.where(exists, scores, NEVER).sort(dim=1, descending=True)  # (C,R)
        x1, y1, x2, y2 = (c.gather(1, order) for c in corners)
        corners = x1, y1, x2, y2
        intersections, areas = overlap_terms(corners, self.iou)
        kept = self.suppress(intersections > areas, score > NEVER)
        corners = clip(vote(corners, F.relu(score)[:, None] * F.relu(intersections - areas)), self.input_hw)
        rows = min(self.max_detections, kept.numel())
        best, index = torch.where(kept, score, NEVER).flatten().topk(rows)  # (D,)
        boxes = torch.stack([c.flatten().index_select(0, index) for c in corners], dim=1)
        used = best > NEVER
        labels = torch.div(index, score.shape[1], rounding_mode="floor")
        return boxes * used[:, None], best * used, labels * used


def vote(corners: Corners, weights: Tensor) -> Corners:
    """Means of boxes (G,N) px, weighted by (G,N,N): the votes of ``train.voting.VotingRoIHeads``."""
    sums = weights @ torch.stack([*corners, torch.ones_like(corners[0])], dim=2)  # (G,N,5)
    x1, y1, x2, y2, total = sums.unbind(2)
    total = total.clamp(min=MIN_VOTES)
    return x1 / total, y1 / total, x2 / total, y2 / total


def decode(
    anchors: tuple[Tensor, ...], deltas: tuple[Tensor, ...], weights: tuple[float, ...], clip_log_scale: float
) -> Corners:
    """Boxes from anchors and regressed deltas: the inverse of eq. 2 of Ren et al. (2015), as torchvision's BoxCoder."""
    x1, y1, x2, y2 = anchors
    dx, dy, dw, dh = (delta / weight for delta, weight in zip(deltas, weights, strict=True))
    width, height = x2 - x1, y2 - y1
    centre_x, centre_y = x1 + 0.5 * width + dx * width, y1 + 0.5 * height + dy * height
    half_width = 0.5 * width * torch.exp(dw.clamp(max=clip_log_scale))
    half_height = 0.5 * height * torch.exp(dh.clamp(max=clip_log_scale))
    return centre_x - half_width, centre_y - half_height, centre_x + half_width, centre_y + half_height


def clip(corners: Corners, input_hw: tuple[int, int]) -> Corners:
    """Clip boxes to the image."""
    height, width = input_hw
    x1, y1, x2, y2 = corners
    return x1.clamp(0, width), y1.clamp(0, height), x2.clamp(0, width), y2.clamp(0, height)


def is_large(corners: Corners, min_size_px: float) -> Tensor:
    """Which boxes have both sides of at least ``min_size_px``."""
    x1, y1, x2, y2 = corners
    return (x2 - x1 >= min_size_px) & (y2 - y1 >= min_size_px)


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

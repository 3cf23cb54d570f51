"""The detector with as few operations after its network as possible, for GPUs, where each costs microseconds.

It computes what ``export.static`` does, but for these differences:

- Proposals are the anchors with the best scores of all levels, without suppression. What they have twice is left to the
  second stage, where it takes part in box voting.
- The second stage suppresses the best candidates of all classes, in one group.
- A RoI thinner than a pixel of its level is not attenuated where it lies at the right or bottom border.
- Regressed sizes are not limited to 62 times those of the anchor; boxes are clipped to the image all the same.

Boxes are *outward planes*: how far the left, top, right and bottom side lie from the middle of the image, each in its
own direction, in widths and heights of the image. Such a box is clipped to -0.5..0.5, its sides are sums of two planes,
and the intersection of two boxes is the smaller of their planes.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision.ops import roi_align

from export.static import MIN_VOTES, REPLICAS, AtlasRoIAlign, StaticFasterRCNN, level_anchors

PROPOSALS, CANDIDATES, ROUNDS = 400, 512, 2
"""By default, and no fewer proposals than the model has; ``benchmarks/README.md`` has what others cost."""
SUPPRESSED = -1e9
"""What a margin of the overlap with a better box is multiplied by: any of float32 takes a kept box below 0."""
MIN_SIDE_PX = 1e-2
"""Shortest side of a box, as in torchvision, and the unit in which areas are compared."""
NO_SIZE = -1e4
"""Logarithm of a size of 0, in half precision too."""
CONSTANT = 0.5
"""Value of a plane that is the constant term of linear maps; clipping leaves it as it is."""
SIGNS = (-1.0, -1.0, 1.0, 1.0)


class ShortFasterRCNN(StaticFasterRCNN):
    """As ``StaticFasterRCNN``; its rows are not sorted, and unused ones, of score 0, are anywhere among them."""

    def _add_tail(self, model: FasterRCNN) -> None:
        proposals = self.budget.proposals or max(PROPOSALS, model.rpn.post_nms_top_n())
        self.rpn = ShortRPN(model, self.input_hw, proposals)
        self.roi_features = ShortRoIAlign(model, self.input_hw)
        candidates = min(self.budget.candidates or CANDIDATES, self.rpn.num_rois * class_count(model))
        self.roi_heads = ShortRoIHeads(
            model, self.input_hw, self.rpn.num_rois, candidates, self.budget.rounds or ROUNDS
        )

    def _layers(self) -> list[nn.Module]:
        rpn = [self.rpn.head, self.rpn.shifts, self.rpn.log_sizes]
        return [*rpn, self.roi_heads.box_head, self.roi_heads.predictor]

    def _detect(self, features: list[Tensor], batch: int) -> tuple[Tensor, Tensor, Tensor]:
        rois = self.rpn(features)  # (B,5,R)
        centres, halves, sides = self.roi_heads.frames(rois)
        roi_features = self.roi_features(features, rois, sides.prod(1)).to(self.dtype)
        outputs = self.roi_heads(roi_features, centres, halves)
        boxes, scores, labels = (output.flatten(0, 1) if batch == 1 else output for output in outputs)
        return boxes, scores, labels


class ShortRPN(nn.Module):
    """Proposals: the anchors with the best scores of all levels, decoded."""

    halves: Tensor
    """(1,5,A*P), half sides of the anchors, and 0; P are the places of all levels."""
    centres: Tensor
    """(1,5,A*P), their centres as planes, and a constant."""

    def __init__(self, model: FasterRCNN, input_hw: tuple[int, int], proposals: int) -> None:
        super().__init__()
        self.head = model.rpn.head
        anchors, per_location = level_anchors(model, input_hw)
        self.shifts, self.log_sizes = outward_layers(self.head.bbox_pred, per_location[0])
        del self.head.bbox_pred
        # (A,P): the convolutions have the types of anchors outside.
        by_type = [level.view(-1, per_location[0], 4).permute(2, 1, 0) for level in anchors]
        planes = to_outward(torch.cat(by_type, dim=2).flatten(1), input_hw)
        centres, halves = ends_to_frames(planes)
        blank = torch.zeros_like(centres[:1])
        self.register_buffer("halves", torch.cat([halves, blank])[None])
        self.register_buffer("centres", torch.cat([centres, blank + CONSTANT])[None])
        self.num_rois = min(proposals, planes.shape[1])

    def forward(self, features: list[Tensor]) -> Tensor:
        """Return RoIs (B,5,R): outward planes and a constant one, best first."""
        hidden = torch.cat([self.head.conv(level).flatten(2) for level in features], dim=2)[..., None]  # (B,C,P,1)
        scores = self.head.cls_logits(hidden).float().flatten(1)  # (B,A*P)
        shape = (len(hidden), 5, -1)
        shifts, log_sizes = (layer(hidden).float().reshape(shape) for layer in (self.shifts, self.log_sizes))
        boxes = self.centres + self.halves * (shifts + torch.exp(log_sizes))
        return best_boxes(boxes, scores.topk(self.num_rois).indices)


class ShortRoIAlign(nn.Module):
    """``AtlasRoIAlign`` with the place of a RoI on each level as one matrix product."""

    edges: Tensor
    """(1,L), area from which on a RoI belongs to a level, in areas of the image."""
    places: Tensor
    """(5,L*4), from planes to the place on each level, less that on the level below."""

    def __init__(self, model: FasterRCNN, input_hw: tuple[int, int]) -> None:
        super().__init__()
        atlas = AtlasRoIAlign(model, input_hw)
        self.output_size, self.sampling_ratio = atlas.output_size, atlas.sampling_ratio
        self.level_indices, self.width = atlas.level_indices, atlas.width
        edges = torch.cat([torch.tensor([[-1.0]]), atlas.level_edges / math.prod(input_hw)])
        self.register_buffer("edges", edges.t().contiguous())
        places = [place_on_level(input_hw, scale, top) for scale, _, top, *_ in atlas.strips.t().tolist()]
        steps = [places[0], *(place - below for below, place in pairwise(places))]
        self.register_buffer("places", torch.cat(steps, dim=1))

    def forward(self, features: list[Tensor], rois: Tensor, areas: Tensor) -> Tensor:
        """Map pyramid levels (B,C,H_l,W_l), RoIs (B,5,R) and their areas (B,R) to RoI features (B*R,C,7,7)."""
        extended = []
        for index in self.level_indices:
            level = features[index]
            extended.append(F.pad(level, (0, self.width - level.shape[3], 0, REPLICAS), mode="replicate"))
        atlas = torch.cat(extended, dim=2).float()
        batch, _, count = rois.shape
        reached = (areas[..., None] >= self.edges).float()[..., None, :]  # (B,R,1,L)
        places = (rois.transpose(1, 2) @ self.places).view(batch, count, -1, 4)  # (B,R,L,4)
        images = torch.arange(batch).repeat_interleave(count)
        return align(atlas, (reached @ places).flatten(0, 2), images, self.output_size, self.sampling_ratio)


class ShortRoIHeads(nn.Module):
    """Second stage: class scores and boxes of every RoI, the best candidates of all classes suppressed by class."""

    frame: Tensor
    """(14,5), from the planes of a RoI to centre and half sides, as planes of its candidates, and two sides."""
    parts: Tensor
    """(11,6), from the planes of a candidate to planes apart by class, scaled sides, corners in pixels, and 1."""
    suppressed: Tensor
    alone: Tensor
    """(D,D) and (D,), which make the margins of overlap the map from what was kept to what is kept a round later. The
    worst candidate gives its place to a constant term: what a box has that no other suppresses."""
    labels: Tensor
    """(C*R,), of the candidates."""

    def __init__(
        self, model: FasterRCNN, input_hw: tuple[int, int], num_rois: int, candidates: int, rounds: int
    ) -> None:
        super().__init__()
        heads = model.roi_heads
        self.num_classes = class_count(model)
        self.box_head = heads.box_head
        self.predictor = outward_predictor(cast("FastRCNNPredictor", heads.box_predictor), heads.box_coder.weights)
        self.min_score = heads.score_thresh
        self.max_detections, self.rounds = candidates, rounds
        self.register_buffer("frame", frame_map())
        self.register_buffer("parts", parts_map(input_hw, self.num_classes, heads.nms_thresh))
        suppressed = SUPPRESSED * torch.ones(candidates, candidates).tril(-1)
        suppressed[-1] = 0
        alone = torch.zeros(candidates)
        alone[-1] = 1
        self.register_buffer("suppressed", suppressed)
        self.register_buffer("alone", alone)
        self.register_buffer("labels", torch.arange(self.num_classes).repeat_interleave(num_rois))

    def frames(self, rois: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Centres (B,6,R) and half sides (B,6,R) of RoIs (B,5,R), as planes of candidates, and sides (B,2,R)."""
        centres, halves, sides = torch.split(self.frame @ rois, [6, 6, 2], dim=1)
        return centres, halves, sides

    def forward(self, roi_features: Tensor, centres: Tensor, halves: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return boxes (B,D,4) px, scores (B,D) and labels (B,D)."""
        outputs = self._outputs(self.box_head(roi_features), len(centres))  # (B,O,R)
        counts = [self.num_classes + 1, 6 * self.num_classes, 6 * self.num_classes]
        logits, shifts, log_sizes = torch.split(outputs, counts, dim=1)
        scores = F.softmax(logits, dim=1)[:, 1:].flatten(1)  # (B,C*R)
        changes = (shifts + torch.exp(log_sizes)).view(len(centres), 6, self.num_classes, -1)
        boxes = (centres[:, :, None] + halves[:, :, None] * changes).flatten(2)  # (B,6,C*R)
        best, index = scores.topk(self.max_detections)  # (B,D)
        apart, sides, corners = torch.split(self.parts @ best_boxes(boxes, index), [4, 2, 5], dim=1)
        margins = overlap_margins(apart, sides)  # (B,D,D)
        votes = above(best, self.min_score)
        # A box without area is nothing; any other has an area above 1 in these units, and no score is above 1.
        kept = F.relu(torch.minimum(torch.minimum(self._kept(margins), votes), sides.prod(1)))
        sums, total = torch.split(margins @ (corners * votes[:, None]).transpose(1, 2), [4, 1], dim=2)
        labels = self.labels.index_select(0, index.flatten()).view(index.shape)
        return sums / total.clamp(min=MIN_VOTES), kept, labels

    def _outputs(self, hidden: Tensor, batch: int) -> Tensor:
        layer = self.predictor
        if batch == 1:
            return torch.addmm(layer.bias, layer.weight, hidden.t()).float()[None]
        return (layer.weight @ hidden.view(batch, -1, hidden.shape[1]).transpose(1, 2) + layer.bias).float()

    def _kept(self, margins: Tensor) -> Tensor:
        """1 for candidates that stay, else 0 or less: (B,D), of sorted ones with these margins (B,D,D).

        As ``Suppression``, a round is a product, here one that subtracts from the constant at once.
        """
        a_round = self.suppressed * margins + self.alone
        kept = a_round @ torch.ones(self.max_detections, 1)
        for _ in range(self.rounds - 1):
            kept = a_round @ F.relu(kept)
        return kept.flatten(1)


def above(scores: Tensor, least: float) -> Tensor:
    """Scores above the least one, the others as 0; one operation where it is exported."""
    if not torch.compiler.is_exporting():
        return F.threshold(scores, least, 0.0)
    return symbolic("ThresholdedRelu", 10, (scores,), {"alpha": least}, tuple(scores.shape))


def align(atlas: Tensor, boxes: Tensor, images: Tensor, size: tuple[int, int], sampling_ratio: int) -> Tensor:
    """RoIAlign of boxes (N,4) px in maps (B,C,H,W), of those images (N,); one operation where it is exported."""
    if not torch.compiler.is_exporting():
        rois = torch.cat([images[:, None].to(boxes), boxes], dim=1)
        aligned: Tensor = roi_align(atlas, rois, size, sampling_ratio=sampling_ratio)
        return aligned
    attributes = {
        "coordinate_transformation_mode": "output_half_pixel",
        "mode": "avg",
        "output_height": size[0],
        "output_width": size[1],
        "sampling_ratio": sampling_ratio,
    }
    return symbolic("RoiAlign", 16, (atlas, boxes, images), attributes, (len(boxes), atlas.shape[1], *size))


def symbolic(
    operator: str, version: int, inputs: tuple[Tensor, ...], attributes: Mapping[str, object], shape: Sequence[int]
) -> Tensor:
    """An operator of ONNX, with that version of it, for the exporter: its output has the type of the first input."""
    given = cast("dict[str, Any]", dict(attributes))
    output: Tensor = torch.onnx.ops.symbolic(
        operator, inputs, given, dtype=inputs[0].dtype, shape=shape, version=version
    )
    return output


def overlap_margins(planes: Tensor, sides: Tensor) -> Tensor:
    """By how much boxes overlap above the threshold, (B,D,D), 0 where they do not.

    Args:
        planes: (B,4,D), outward.
        sides: (B,2,D), whose products are the areas times t/(1+t), for a threshold t of the IoU.
    """
    areas = sides.prod(1)
    shared = torch.minimum(planes[..., None], planes[..., None, :])  # (B,4,D,D)
    intersections = F.relu(shared.view(len(planes), 2, 2, *shared.shape[2:]).sum(1)).prod(1)
    return F.relu(intersections - (areas[..., None] + areas[..., None, :]))


def best_boxes(planes: Tensor, index: Tensor) -> Tensor:
    """Columns (B,P,K) of planes (B,P,N) by an index (B,K), clipped to the image."""
    if len(index) == 1:
        return planes.index_select(2, index.flatten()).clamp(-0.5, 0.5)
    return planes.gather(2, index[:, None].expand(-1, planes.shape[1], -1)).clamp(-0.5, 0.5)


def class_count(model: FasterRCNN) -> int:
    """Classes of a model, without background."""
    count: int = cast("FastRCNNPredictor", model.roi_heads.box_predictor).cls_score.out_features - 1
    return count


def to_outward(boxes: Tensor, input_hw: tuple[int, int]) -> Tensor:
    """Boxes (4,N) xyxy px as outward planes."""
    height, width = input_hw
    relative = boxes / boxes.new_tensor([width, height, width, height])[:, None] - 0.5
    return relative * boxes.new_tensor(SIGNS)[:, None]


def ends_to_frames(planes: Tensor) -> tuple[Tensor, Tensor]:
    """Centres and half sides (4,…) of boxes in outward planes (4,…): their sum is the box."""
    opposite = planes.roll(2, 0)
    return (planes - opposite) / 2, (planes + opposite) / 2


def outward_deltas(deltas: Tensor) -> tuple[Tensor, Tensor]:
    """Deltas (4,…), shifts in sides and logarithms of sizes, for outward planes (4,…): shifts in half sides."""
    shifts, log_sizes = torch.split(deltas, 2)
    return torch.cat([-2 * shifts, 2 * shifts]), torch.cat([log_sizes, log_sizes])


def outward_layers(bbox_pred: nn.Conv2d, count: int) -> tuple[nn.Conv2d, nn.Conv2d]:
    """Convolutions that give (5,count) shifts and logarithms of sizes, in place of one with 4 deltas an anchor."""
    layers = nn.Conv2d(bbox_pred.in_channels, 5 * count, 1), nn.Conv2d(bbox_pred.in_channels, 5 * count, 1)
    for kind in ("weight", "bias"):
        deltas = getattr(bbox_pred, kind).data.unflatten(0, (count, 4)).transpose(0, 1)  # (4,A,…)
        for layer, planes in zip(layers, outward_deltas(deltas), strict=True):
            getattr(layer, kind).data = torch.cat([planes, torch.zeros_like(planes[:1])]).flatten(0, 1)
    return layers


class Columns(nn.Module):
    """The weights (O,F) and biases (O,1) of a layer that gives columns, so that nothing has to transpose them."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias[:, None])


def outward_predictor(predictor: FastRCNNPredictor, weights: tuple[float, ...]) -> Columns:
    """One layer with C+1 logits, (6,C) shifts and (6,C) logarithms of sizes; the last two planes: class, constant."""
    classes = predictor.cls_score.out_features - 1
    joined = []
    constants = torch.stack([torch.arange(classes) / (2 * classes), torch.full((classes,), CONSTANT)])
    for kind in ("weight", "bias"):
        deltas = getattr(predictor.bbox_pred, kind).data.unflatten(0, (-1, 4))[1:].transpose(0, 1)  # (4,C,…)
        shifts, log_sizes = outward_deltas(deltas / torch.tensor(weights).view(4, *[1] * (deltas.dim() - 1)))
        none = torch.zeros_like(shifts[:2])
        extra = (constants, none + NO_SIZE) if kind == "bias" else (none, none)
        planes = (torch.cat(both).flatten(0, 1) for both in ((shifts, extra[0]), (log_sizes, extra[1])))
        joined.append(torch.cat([getattr(predictor.cls_score, kind).data, *planes]))
    return Columns(*joined)


def place_on_level(input_hw: tuple[int, int], scale: float, top: float) -> Tensor:
    """The map (5,4) from planes to corners on a level of the pyramid, in the atlas: its scale and its first row."""
    sides = torch.tensor([input_hw[1], input_hw[0]] * 2) * scale
    offsets = sides / 2 + torch.tensor([0, top, 0, top])
    return torch.cat([torch.diag(sides * torch.tensor(SIGNS)), offsets[None] / CONSTANT])


def frame_map() -> Tensor:
    """``ShortRoIHeads.frame``."""
    centres, halves = ends_to_frames(torch.eye(4))
    frame = torch.zeros(14, 5)
    frame[0:4, :4], frame[6:10, :4] = centres, halves
    frame[10:12, 4] = 1 / CONSTANT  # class and constant are multiplied by 1
    frame[12:14, :4] = 2 * halves[:2]
    return frame


def parts_map(input_hw: tuple[int, int], classes: int, iou: float) -> Tensor:
    """``ShortRoIHeads.parts``, for an IoU threshold."""
    sides = torch.tensor([input_hw[1], input_hw[0]] * 2)
    parts = torch.zeros(11, 6)
    parts[:4, :4] = torch.eye(4)
    parts[[0, 2], 4] = torch.tensor([-4.0, 4.0]) * classes  # twice the width of the image from class to class
    parts[4, [0, 2]] = iou / (1 + iou)
    parts[5, [1, 3]] = 1
    parts[:6] /= MIN_SIDE_PX / max(input_hw)
    parts[6:10, :4] = torch.diag(sides * torch.tensor(SIGNS))
    parts[6:10, 5] = sides / 2 / CONSTANT
    parts[10, 5] = 1 / CONSTANT
    return parts

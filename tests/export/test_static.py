import copy

import numpy as np
import pytest
import torch
from tiny_data import CLASS_NAMES, as_input, noise_image
from torch import nn
from torchvision.models.resnet import Bottleneck
from torchvision.ops import Conv2dNormActivation, FrozenBatchNorm2d, nms

from export.errors import ExportError
from export.static import AtlasRoIAlign, StaticFasterRCNN, feature_shapes, fold_batch_norms
from export.suppression import MIN_SUPPRESSION_ROUNDS, SUPPRESSION_MARGIN, Suppression, overlap_terms
from export.verify import compare_image
from train.models.architectures import ARCHITECTURES

SIZES_HW = [(64, 64), (64, 96), (96, 64)]


def overlaps(boxes: torch.Tensor, iou: float) -> torch.Tensor:
    """Which boxes (G,N,4) of a group overlap beyond the bar: (G,N,N)."""
    intersections, areas = overlap_terms(boxes.permute(2, 0, 1), iou)
    return intersections > areas


def greedy(boxes: torch.Tensor, exists: torch.Tensor, iou: float) -> torch.Tensor:
    """torchvision's suppression, group by group: boxes (G,N,4) by falling score, to rows kept (G,N)."""
    kept = torch.zeros_like(exists)
    for group in range(len(boxes)):
        rows = exists[group].nonzero()[:, 0]
        scores = torch.linspace(1, 0.1, len(rows))
        kept[group, rows[nms(boxes[group, rows], scores, iou)]] = True
    return kept


def crowd(groups: int, count: int, seed: int) -> torch.Tensor:
    """Boxes (G,N,4) that overlap a good deal, some of them twice there or without area."""
    generator = torch.Generator().manual_seed(seed)
    centres = 60 * torch.rand(groups, count, 2, generator=generator)
    sides = 4 + 30 * torch.rand(groups, count, 2, generator=generator)
    sides[:, ::9, 0] = 0
    boxes = torch.cat([centres - sides / 2, centres + sides / 2], dim=2)
    boxes[:, 5::11] = boxes[:, 4::11][:, : boxes[:, 5::11].shape[1]]
    return boxes


def chain(count: int) -> torch.Tensor:
    """Boxes (1,N,4), each of which overlaps its neighbours alone: every second one goes."""
    left = 4.0 * torch.arange(count)
    return torch.stack([left, torch.zeros(count), left + 10, torch.full((count,), 10.0)], dim=1)[None]


@pytest.mark.parametrize("iou", [0.3, 0.5, 0.7])
@pytest.mark.parametrize("count", [1, 20, 120])
def test_suppression_is_torchvisions(iou, count):
    for seed in range(20):
        boxes = crowd(3, count, seed)
        exists = torch.rand(3, count, generator=torch.Generator().manual_seed(seed)) < 0.8

        kept = Suppression()(overlaps(boxes, iou), exists)

        assert torch.equal(kept, greedy(boxes, exists, iou)), f"seed {seed}"


def test_row_that_does_not_exist_neither_stays_nor_suppresses():
    boxes = torch.tensor([[[0.0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 10, 10]]])

    kept = Suppression()(overlaps(boxes, 0.5), torch.tensor([[False, True, True]]))

    assert kept.tolist() == [[False, True, False]]


@pytest.mark.parametrize("count", [2, 13, 60])
def test_chains_are_followed_to_their_end(count):
    boxes, exists = chain(count), torch.ones(1, count, dtype=torch.bool)

    kept = Suppression()(overlaps(boxes, 0.3), exists)

    assert kept[0].tolist() == [i % 2 == 0 for i in range(count)]
    assert torch.equal(kept, greedy(boxes, exists, 0.3))


def test_frozen_rounds_are_exact_for_chains_twice_as_long_as_those_seen():
    suppression = Suppression()
    seen = 20
    suppression(overlaps(chain(seen), 0.3), torch.ones(1, seen, dtype=torch.bool))

    suppression.freeze_rounds()

    count = SUPPRESSION_MARGIN * (seen - 1)
    kept = suppression(overlaps(chain(count), 0.3), torch.ones(1, count, dtype=torch.bool))
    assert kept[0].tolist() == [i % 2 == 0 for i in range(count)]


def test_rounds_frozen_before_any_image_serve_short_chains():
    suppression = Suppression()
    suppression.freeze_rounds()
    count = MIN_SUPPRESSION_ROUNDS + 1

    kept = suppression(overlaps(chain(count), 0.3), torch.ones(1, count, dtype=torch.bool))

    assert kept[0].tolist() == [i % 2 == 0 for i in range(count)]


def clipped_rois(hw: tuple[int, int], count: int) -> torch.Tensor:
    """RoIs (N,4) of all sizes, clipped to the image; the whole of it, its corners and edges of levels among them."""
    height, width = hw
    generator = torch.Generator().manual_seed(0)
    size = torch.tensor([width, height, width, height])
    centres = torch.rand(count, 2, generator=generator) * size[:2]
    sides = 0.01 + torch.rand(count, 2, generator=generator) ** 3 * 1.5 * size[:2]
    rois = torch.cat([centres - sides / 2, centres + sides / 2], dim=1)
    corners = (
        torch.tensor([[0, 0, 1, 1], [0, 0, 0.3, 0.3], [0.7, 0.7, 1, 1], [0.7, 0, 1, 0.3], [0, 0.7, 0.3, 1]]) * size
    )
    # A square of 56 belongs to another level than one of 55; torchvision's guard counts a rounding error less to 56.
    edges = torch.tensor([[0, 0, 56, 56], [0, 0, 55.99999, 55.99999], [0, 0, 55, 56]])
    return torch.cat([rois, corners, edges]).clamp(min=0).minimum(size)


@pytest.mark.parametrize("hw", [(64, 96), (96, 64), (256, 320)])
@pytest.mark.parametrize("arch", list(ARCHITECTURES))
@pytest.mark.parametrize("which", ["of a feature pixel and more", "slivers"])
def test_atlas_roi_align_is_multi_scale_roi_align(lively_model, arch, hw, which):
    model = lively_model(arch)
    pool = model.roi_heads.box_roi_pool
    channels = model.backbone.out_channels
    features = {name: torch.rand(1, channels, *shape) for name, shape in feature_shapes(model, hw).items()}
    rois = clipped_rois(hw, 250)
    pool(features, [rois[:1]], [hw])  # sets up the assignment to levels
    strides = 1 / torch.tensor(pool.scales)[pool.map_levels([rois])]
    # RoIAlign takes a RoI that is narrower than a feature pixel for one of a pixel, which may reach outside the map.
    is_sliver = (rois[:, 2:] - rois[:, :2]).min(dim=1).values < strides
    rois = rois[is_sliver if which == "slivers" else ~is_sliver]
    assert len(rois) > 20

    found = AtlasRoIAlign(model, hw)(list(features.values()), rois.t())

    torch.testing.assert_close(found, pool(features, [rois], [hw]), rtol=1e-4, atol=1e-4)


def shake_norms(module: nn.Module) -> None:
    """Statistics and weights as of a trained model."""
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d | FrozenBatchNorm2d):
            for tensor, low, high in (
                (norm.weight, 0.5, 2), (norm.bias, -1, 1), (norm.running_mean, -1, 1), (norm.running_var, 0.1, 3),
            ):  # fmt: skip
                nn.init.uniform_(tensor, low, high)


@pytest.mark.parametrize(
    "module",
    [
        nn.Sequential(Bottleneck(16, 4, norm_layer=FrozenBatchNorm2d)),
        Bottleneck(
            16, 8, stride=2, norm_layer=FrozenBatchNorm2d,
            downsample=nn.Sequential(nn.Conv2d(16, 32, 1, stride=2, bias=False), FrozenBatchNorm2d(32)),
        ),
        Conv2dNormActivation(16, 8),
        nn.Sequential(nn.Conv2d(16, 8, 3, bias=True), nn.BatchNorm2d(8, eps=0.1)),
    ],
    ids=["Bottleneck", "Bottleneck with downsample", "Conv2dNormActivation", "convolution with bias"],
)  # fmt: skip
def test_folded_batch_norms_leave_the_function(module):
    torch.manual_seed(0)
    module = copy.deepcopy(module).eval()
    shake_norms(module)
    x = torch.randn(2, 16, 8, 8)
    with torch.no_grad():
        expected = module(x)

        fold_batch_norms(module)

        torch.testing.assert_close(module(x), expected, rtol=1e-4, atol=1e-5)
    assert not [m for m in module.modules() if isinstance(m, nn.BatchNorm2d | FrozenBatchNorm2d)]


def test_norm_that_follows_no_convolution_is_left_alone():
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.BatchNorm2d(4)).eval()

    fold_batch_norms(module)

    assert isinstance(module[2], nn.BatchNorm2d)


def both(model, image: np.ndarray):
    """Results of torchvision and of the fixed-shape form; the former shortened to its used rows."""
    static = StaticFasterRCNN(model, image.shape[:2]).eval()
    with torch.inference_mode():
        expected = model([as_input(image)])[0]
        boxes, scores, labels = static(torch.from_numpy(image[None, ..., ::-1].copy()))
    return expected, boxes, scores, labels


@pytest.mark.parametrize("hw", SIZES_HW)
@pytest.mark.parametrize("arch", list(ARCHITECTURES))
def test_static_form_is_torchvisions_function(lively_model, arch, hw):
    model = lively_model(arch)
    for seed in range({"pico": 2, "nano": 6, "mobile": 3, "resnet50": 2}[arch]):
        expected, boxes, scores, labels = both(model, noise_image(*hw, seed=100 + seed))
        reference = [value.numpy() for value in (expected["boxes"], expected["scores"], expected["labels"] - 1)]

        rows = min(100, model.rpn.post_nms_top_n() * len(CLASS_NAMES))
        assert (boxes.shape, scores.shape, labels.shape) == ((rows, 4), (rows,), (rows,))
        assert (scores.diff() <= 0).all()
        assert (scores > 0).sum() == len(expected["scores"])
        found = boxes.numpy(), scores.numpy(), labels.numpy()
        differences = compare_image(reference, found, f"seed {seed}", CLASS_NAMES)
        assert differences.detections > 10
        assert differences.score < 1e-3
        assert differences.box_px < 0.05


@pytest.mark.parametrize("min_score", [0.9, 1.0], ids=["a few objects", "no objects"])
def test_unused_rows_are_zero(lively_model, min_score):
    model = copy.deepcopy(lively_model("nano"))
    model.roi_heads.score_thresh = min_score

    expected, boxes, scores, labels = both(model, noise_image(64, 96, seed=100))

    count = len(expected["scores"])
    assert count < 30
    assert (count == 0) == (min_score == 1.0)
    assert (scores > 0).sum() == count
    assert not any(output[count:].any() for output in (boxes, scores, labels))


def test_model_itself_is_left_alone(lively_model):
    model = lively_model("nano")
    before = {name: value.clone() for name, value in model.state_dict().items()}

    StaticFasterRCNN(model, (64, 64))

    after = model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in after.items())


def test_frozen_form_gives_the_same(lively_model):
    images = [torch.from_numpy(noise_image(64, 64, seed)[None]) for seed in range(3)]
    static = StaticFasterRCNN(lively_model("nano"), (64, 64)).eval()
    with torch.inference_mode():
        expected = [static(image) for image in images]

        static.freeze(images)

        for image, outputs in zip(images, expected, strict=True):
            torch.testing.assert_close(static(image), outputs)
    assert all(m.rounds >= MIN_SUPPRESSION_ROUNDS for m in static.modules() if isinstance(m, Suppression))


def test_parts_without_a_fixed_shape_form_are_refused(lively_model):
    without_votes = copy.deepcopy(lively_model("nano"))
    without_votes.roi_heads = nn.Identity()
    with pytest.raises(ExportError, match=r"only detectors that train.models built can be exported"):
        StaticFasterRCNN(without_votes, (64, 64))

    adaptive = copy.deepcopy(lively_model("nano"))
    adaptive.roi_heads.box_roi_pool.sampling_ratio = 0
    with pytest.raises(ExportError, match="adaptive sampling ratio"):
        StaticFasterRCNN(adaptive, (64, 64))

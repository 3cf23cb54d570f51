"""The detector architectures, each a torchvision ``FasterRCNN``.

``resnet50`` is the reference of Ren et al., "Faster R-CNN" (2015) with the feature pyramid of Lin et al. (2017), as
torchvision builds it. The light ones keep the two stages and replace the parts that are slow on a CPU: a
MobileNetV3 body (Howard et al., 2019), a thin pyramid and depthwise-separable convolutions (Howard et al., 2017).
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import mobilenet_v3_small, resnet50
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.detection import FasterRCNN, FasterRCNN_ResNet50_FPN_Weights, fasterrcnn_resnet50_fpn
from torchvision.models.detection._utils import overwrite_eps
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import _resnet_fpn_extractor
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import Conv2dNormActivation, FrozenBatchNorm2d, MultiScaleRoIAlign

from train.errors import TrainError
from train.models.calibration import Calibration
from train.models.voting import VotingRoIHeads
from train.models.widening import widen_into

SIZE_MULTIPLE_PX = 32
"""Input sides are multiples of the coarsest stride, so that all pyramid levels have integer sizes."""


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """All that is needed to build a detector; stored in every checkpoint."""

    arch: str
    class_names: tuple[str, ...]
    """Names of the foreground classes. Label 0 is torchvision's background; class ``i`` has label ``i + 1``."""
    input_size: int
    """Side in pixels of the square input."""
    model_options: dict[str, float] = field(default_factory=dict)
    """Keyword arguments of ``FasterRCNN`` that override those of the architecture."""
    frozen_norm: bool = False
    """True for a ``resnet50`` that began with COCO weights: as in torchvision, its batch norms are frozen, with eps 0,
    and its first two stages are not trained."""
    calibration: Calibration | None = None
    """What the model's scores are put through; None leaves them as the softmax gives them."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """How to build one architecture, and the input side that it was designed for."""

    build: Callable[..., FasterRCNN]
    default_size: int
    imagenet_backbone: bool
    """True if pretrained weights exist for the body only, not for the whole detector."""


class NormaliseOnly(GeneralizedRCNNTransform):
    """torchvision's input transform without its resizing, which would undo the fixed input size."""

    def resize(self, image: Tensor, target: dict[str, Tensor] | None = None) -> tuple[Tensor, dict[str, Tensor] | None]:
        """Leave image and target as they are."""
        return image, target


class LightFPN(nn.Module):
    """Feature pyramid of 1x1 lateral and depthwise-separable 3x3 smoothing convolutions.

    The top-down pathway of Lin et al. (2017), each level normalised by itself, so that one RPN head may serve all.
    """

    def __init__(self, in_channels_list: list[int], out_channels: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(
            Conv2dNormActivation(c, out_channels, kernel_size=1, activation_layer=None) for c in in_channels_list
        )
        self.smooth = nn.ModuleList(separable_conv(out_channels, norm=True) for _ in in_channels_list)
        self.refine = nn.ModuleList(ResidualSeparableConv(out_channels) for _ in in_channels_list)

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        """Map features (B,C_i,H_i,W_i), finest first, to (B,out_channels,H_i,W_i) under the same names."""
        levels = [conv(x) for conv, x in zip(self.lateral, features.values(), strict=True)]
        for i in range(len(levels) - 2, -1, -1):
            levels[i] = levels[i] + F.interpolate(levels[i + 1], scale_factor=2.0, mode="nearest")
        levels = [refine(smooth(x)) for smooth, refine, x in zip(self.smooth, self.refine, levels, strict=True)]
        return OrderedDict(zip(features, levels, strict=True))


class ResidualSeparableConv(nn.Module):
    """A depthwise-separable convolution that is added to its input, and begins as the identity.

    The scale of its last norm begins at zero (Goyal et al., 2017, section 5.1), so that adding such a block does not
    change what a model computes.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = Conv2dNormActivation(channels, channels, kernel_size=3, groups=channels)
        self.pointwise = Conv2dNormActivation(channels, channels, kernel_size=1, activation_layer=None)
        nn.init.zeros_(cast("nn.BatchNorm2d", self.pointwise[1]).weight)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B,C,H,W) to the same shape."""
        residual: Tensor = self.pointwise(self.depthwise(x))
        return x + residual


class BackboneWithLightFPN(nn.Module):
    """A torchvision feature extractor, tapped at given layers, with a ``LightFPN`` on top."""

    def __init__(self, body: nn.Sequential, taps: dict[int, int], out_channels: int) -> None:
        """``taps`` maps the index of a layer of ``body`` to its number of channels, finest first."""
        super().__init__()
        return_layers = {str(index): str(level) for level, index in enumerate(taps)}
        self.body = IntermediateLayerGetter(body, return_layers)
        self.fpn = LightFPN(list(taps.values()), out_channels)
        self.out_channels = out_channels

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Map (B,3,H,W) float32 to pyramid levels (B,out_channels,H/stride,W/stride), finest first."""
        levels: dict[str, Tensor] = self.fpn(self.body(x))
        return levels


class LightRPNHead(nn.Module):
    """RPN head of two depthwise-separable convolutions, shared by all levels.

    It has no batch norm: a running mean over levels of different statistics would set evaluation apart from training.
    """

    def __init__(self, in_channels: int, num_anchors: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(separable_conv(in_channels, norm=False), separable_conv(in_channels, norm=False))
        self.cls_logits = nn.Conv2d(in_channels, num_anchors, kernel_size=1)
        self.bbox_pred = nn.Conv2d(in_channels, num_anchors * 4, kernel_size=1)
        for layer in (self.cls_logits, self.bbox_pred):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.constant_(cast("Tensor", layer.bias), 0)

    def forward(self, x: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Map levels (B,C,H,W) to objectness logits (B,A,H,W) and box deltas (B,4A,H,W)."""
        hidden = [self.conv(feature) for feature in x]
        return [self.cls_logits(h) for h in hidden], [self.bbox_pred(h) for h in hidden]


def separable_conv(channels: int, *, norm: bool) -> nn.Sequential:
    """Depthwise 3x3, then pointwise 1x1, then ReLU; with batch norm after each convolution if ``norm``."""
    norm_layer = nn.BatchNorm2d if norm else None
    return nn.Sequential(
        Conv2dNormActivation(
            channels, channels, kernel_size=3, groups=channels, norm_layer=norm_layer, activation_layer=None
        ),
        Conv2dNormActivation(channels, channels, kernel_size=1, norm_layer=norm_layer),
    )


def _light(backbone: BackboneWithLightFPN, head_channels: int, anchors: AnchorGenerator, **options: Any) -> FasterRCNN:
    """Assemble a light detector. Scale assignment and budgets are those of small inputs, not of 800 px photos."""
    channels = backbone.out_channels
    levels = len(anchors.sizes)
    # A part of a face covers a few cells of its level: more than one sample in each of the 49 bins only costs time.
    roi_pool = MultiScaleRoIAlign(
        [str(level) for level in range(levels)], output_size=7, sampling_ratio=1, canonical_scale=112, canonical_level=4
    )
    num_classes = options.pop("num_classes")
    defaults = {
        # Small flat boxes seldom reach IoU 0.7 with any anchor, so a lower threshold makes an anchor positive.
        "rpn_fg_iou_thresh": 0.5,
        "rpn_bg_iou_thresh": 0.3,
        "rpn_pre_nms_top_n_train": 600,
        "rpn_pre_nms_top_n_test": 300,
        "rpn_post_nms_top_n_train": 400,
        "rpn_post_nms_top_n_test": 150,
        # RoIAlign's backward pass is a third of a training step on a CPU: fewer RoIs, a larger share of them positive.
        "box_batch_size_per_image": 64,
        "box_positive_fraction": 0.35,
    }
    return FasterRCNN(
        backbone,
        rpn_anchor_generator=anchors,
        rpn_head=LightRPNHead(channels, anchors.num_anchors_per_location()[0]),
        box_roi_pool=roi_pool,
        box_head=TwoMLPHead(channels * 7 * 7, head_channels),
        box_predictor=FastRCNNPredictor(head_channels, num_classes),
        **(defaults | options),
    )


def _nano(pretrained: str | None, **options: Any) -> FasterRCNN:
    backbone = _widened_mobilenet(pretrained, 2.0, pyramid_channels=64)
    return _light(backbone, 256, _anchors((7, 13), (25, 47), (90, 170)), **options)


def _pico(pretrained: str | None, **options: Any) -> FasterRCNN:
    # ``nano`` with a third of the work: fewer pixels, and proposals for three or four faces.
    return _nano(pretrained, **({"rpn_pre_nms_top_n_test": 96, "rpn_post_nms_top_n_test": 48} | options))


def _mobile(pretrained: str | None, **options: Any) -> FasterRCNN:
    # ``nano``, half as wide again, so that it can start from a trained ``nano``.
    backbone = _widened_mobilenet(pretrained, 3.0, pyramid_channels=96)
    return _light(backbone, 256, _anchors((9, 16), (31, 59), (112, 212)), **options)


def _widened_mobilenet(pretrained: str | None, width: float, pyramid_channels: int) -> BackboneWithLightFPN:
    """MobileNetV3-small of strides 4, 8 and 16 with a multiple of its channels.

    Convolutions are cheap beside proposals and RoIs: twice the channels cost little time.
    """
    body = mobilenet_v3_small(width_mult=width).features[:9]
    if pretrained:
        widen_into(body, mobilenet_v3_small(weights=pretrained).features[:9].state_dict())
    taps = {index: body[index].out_channels for index in (1, 3, 8)}
    return BackboneWithLightFPN(body, taps, pyramid_channels)


def _anchors(*sizes_px: tuple[int, ...]) -> AnchorGenerator:
    # Two shapes serve the face (upright: face, nose; flat: eye, eyebrow, mouth); h/w are medians of labelled boxes.
    return AnchorGenerator(sizes=sizes_px, aspect_ratios=((0.45, 1.25),) * len(sizes_px))


def _resnet50(pretrained: str | None, *, frozen_norm: bool = False, **options: Any) -> FasterRCNN:
    num_classes = options.pop("num_classes")
    # In training, fewer candidates and RoIs than torchvision's 2000 a level and 512: 1.35 times the images a second on
    # an H200. A photo has some ten faces with their parts, and the trained model of the model card had these.
    options = {
        "rpn_pre_nms_top_n_train": 600,
        "rpn_post_nms_top_n_train": 1000,
        "box_batch_size_per_image": 192,
        "box_positive_fraction": 0.33,
    } | options
    if frozen_norm:
        # As fasterrcnn_resnet50_fpn(weights=COCO_V1) builds it, but without the need to have the weights.
        body = resnet50(weights=None, norm_layer=FrozenBatchNorm2d)
        model = FasterRCNN(_resnet_fpn_extractor(body, trainable_layers=3), num_classes=91, **options)
        overwrite_eps(model, 0.0)
    else:
        model = fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None, **options)
    if pretrained:
        weights = FasterRCNN_ResNet50_FPN_Weights[pretrained]
        model.load_state_dict(weights.get_state_dict(progress=True, check_hash=True))
    in_features = model.roi_heads.box_predictor.cls_score.in_features
    model.roi_heads.box_predictor = FastRCNNPredictor(in_features, num_classes)
    return model


ARCHITECTURES = {
    "pico": Architecture(_pico, default_size=192, imagenet_backbone=True),
    "nano": Architecture(_nano, default_size=256, imagenet_backbone=True),
    "mobile": Architecture(_mobile, default_size=320, imagenet_backbone=True),
    "resnet50": Architecture(_resnet50, default_size=480, imagenet_backbone=False),
}


def build_model(config: ModelConfig, *, pretrained: bool = False) -> FasterRCNN:
    """Build the detector that ``config`` describes.

    The model takes a list of float32 RGB images (3,S,S) in 0..1 with S = ``config.input_size`` and never resizes them:
    letterboxing is up to the caller, the same in training, evaluation and the app.

    Args:
        config: architecture, classes and input side.
        pretrained: start from torchvision's weights (COCO for ``resnet50``, ImageNet bodies for the light ones).

    Raises:
        TrainError: unknown architecture, unsuitable size, or weights that can neither be found nor downloaded.
    """
    arch = ARCHITECTURES.get(config.arch)
    if arch is None:
        raise TrainError(f"unknown architecture '{config.arch}': choose one of {', '.join(ARCHITECTURES)}")
    if config.input_size < 2 * SIZE_MULTIPLE_PX or config.input_size % SIZE_MULTIPLE_PX:
        raise TrainError(f"input size {config.input_size}: use a multiple of {SIZE_MULTIPLE_PX}, 64 or more")
    weights = None if not pretrained else "IMAGENET1K_V1" if arch.imagenet_backbone else "COCO_V1"
    norm = {"frozen_norm": True} if config.frozen_norm else {}
    model = arch.build(weights, num_classes=len(config.class_names) + 1, **norm, **config.model_options)
    model.roi_heads = VotingRoIHeads.of(model.roi_heads, config.calibration)
    old = model.transform
    model.transform = NormaliseOnly(config.input_size, config.input_size, old.image_mean, old.image_std)
    return model

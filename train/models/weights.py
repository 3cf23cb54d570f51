"""Where the weights come from that training starts with."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torchvision.models import MobileNet_V3_Small_Weights
from torchvision.models.detection import FasterRCNN, FasterRCNN_ResNet50_FPN_Weights

from train.errors import TrainError
from train.models.architectures import ModelConfig, build_model
from train.models.checkpoint import FORMAT, load_file
from train.models.widening import fits_within, widen_into

PRETRAINED = {
    "nano": MobileNet_V3_Small_Weights.IMAGENET1K_V1,
    "mobile": MobileNet_V3_Small_Weights.IMAGENET1K_V1,
    "resnet50": FasterRCNN_ResNet50_FPN_Weights.COCO_V1,
}

PREDICTING = ("roi_heads.box_predictor.", "rpn.head.cls_logits.", "rpn.head.bbox_pred.")


@dataclass(frozen=True, slots=True)
class Start:
    """A model to train."""

    model: FasterRCNN
    config: ModelConfig
    """What builds it again: what a ``resnet50`` began with decides on its norms."""
    begun_anew: tuple[str, ...] = ()
    """Parts of the model that the given weights did not fit or did not have."""


def initial_model(config: ModelConfig, weights: str) -> Start:
    """Build a model to train.

    Args:
        config: what to build.
        weights: ``none``, ``coco`` (torchvision's pretrained weights: COCO for ``resnet50``, ImageNet bodies for the
            light ones), or a file: a checkpoint of this project or a state dict of the same torchvision model.
            Tensors with fewer channels than the model's become a part of them; those of another shape, such as the
            predictor for other classes, keep their random start.

    Raises:
        TrainError: weights that can neither be found nor downloaded, or that fit nowhere.
    """
    if weights == "none":
        return Start(build_model(config), config)
    if weights == "coco":
        config = replace(config, frozen_norm=config.arch == "resnet50")
        begun_anew = ("roi_heads.box_predictor",) if config.frozen_norm else ("backbone.fpn", "rpn", "roi_heads")
        return Start(_pretrained(config), config, begun_anew)
    content = load_file(Path(weights))
    if isinstance(content, dict) and content.get("format") == FORMAT:
        is_frozen = config.arch == "resnet50" and content["config"].get("frozen_norm", False)
        config = replace(config, frozen_norm=is_frozen)
        content = content["model"]
    else:
        config = replace(config, frozen_norm=config.arch == "resnet50")
    model = build_model(config)
    return Start(model, config, load_matching(model, content, weights))


def load_matching(model: FasterRCNN, state: Any, source: str) -> tuple[str, ...]:
    """Load those tensors of ``state`` that have the name of one in ``model`` and its shape, or fewer channels.

    What predicts is taken for the same number of classes and anchors only: its outputs have a meaning each.

    Returns:
        The modules of which tensors keep their random start.

    Raises:
        TrainError: ``state`` is no state dict, or less than half of the model's tensors are in it.
    """
    own = model.state_dict()
    if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise TrainError(f"{source}: neither a checkpoint of this project nor a torchvision state dict")
    usable = {
        name: value
        for name, value in state.items()
        if name in own and not (name.startswith(PREDICTING) and len(value) != len(own[name]))
    }
    is_narrower = all(fits_within(value, own[name]) for name, value in usable.items())
    fitting = {n: value for n, value in usable.items() if is_narrower or value.shape == own[n].shape}
    if 2 * len(fitting) < len(own):
        raise TrainError(f"{source}: only {len(fitting)} of {len(own)} tensors fit; it is of another architecture")
    widen_into(model, fitting)
    # A counter that old files lack says nothing of the weights.
    left = [name for name in own if name not in fitting and not name.endswith("num_batches_tracked")]
    return tuple(dict.fromkeys(name.rpartition(".")[0] for name in left))


def _pretrained(config: ModelConfig) -> FasterRCNN:
    try:
        return build_model(config, pretrained=True)
    except TrainError:
        raise
    except Exception as error:  # no network, or a file that is damaged in any of many ways
        url = PRETRAINED[config.arch].url
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        raise TrainError(
            f"cannot load or download the pretrained weights of '{config.arch}' ({str(error).splitlines()[0][:200]}). "
            f"Fetch {url} into {folder} on a machine with a network, or use --weights none or --weights FILE"
        ) from error

"""The weights that training starts with."""

from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchvision.models import MobileNet_V3_Small_Weights
from torchvision.models.detection import FasterRCNN, FasterRCNN_ResNet50_FPN_Weights

from train.errors import TrainError
from train.models.architectures import ARCHITECTURES, ModelConfig, build_model
from train.models.checkpoint import Checkpoint, checkpoint_of, is_checkpoint, load_file, refuse_diverged
from train.models.class_rows import PREDICTOR, rows_by_name, shared_names
from train.models.onnx_weights import read_onnx
from train.models.widening import fits_within, widen_into

PRETRAINED = {
    "nano": MobileNet_V3_Small_Weights.IMAGENET1K_V1,
    "mobile": MobileNet_V3_Small_Weights.IMAGENET1K_V1,
    "resnet50": FasterRCNN_ResNet50_FPN_Weights.COCO_V1,
}

PREDICTING = (PREDICTOR, "rpn.head.cls_logits.", "rpn.head.bbox_pred.")
FAMILIES = {"pico": "nano"}
"""Architectures with the layers of another."""
SHIPPED_FOLDER = files("realtime.models")


@dataclass(frozen=True, slots=True)
class Start:
    """A model to train."""

    model: FasterRCNN
    config: ModelConfig
    """What builds it again: the weights of a ``resnet50`` decide whether its norms are frozen."""
    reinitialized: tuple[str, ...] = ()
    """Parts of the model that the given weights did not fit or did not have."""
    is_folded: bool = False
    """The weights come from an exported file: ``restore_norms`` is needed before training."""
    new_classes: tuple[str, ...] = ()
    """Those that the weights do not know, where they know others: their rows of the predictor are reinitialized."""


@dataclass(frozen=True, slots=True)
class Given:
    """What a file of weights holds."""

    state: Any
    frozen_norm: bool
    """Whether the norms of a ``resnet50`` with them are frozen."""
    config: ModelConfig | None = None
    """Of a model of this project."""


def initial_model(config: ModelConfig, weights: str) -> Start:
    """Build a model to train.

    Args:
        config: what to build.
        weights: ``none``, ``coco`` (torchvision's pretrained weights: COCO for ``resnet50``, ImageNet bodies for the
            light ones), the name of a model that comes with the app, or a file: an ONNX file or a checkpoint of this
            project, or a state dict of the same torchvision model, as it is or as ``model`` in a dict; its tensors may
            be stored as ``from_int8`` reads them. Tensors with fewer channels than the model's become
            a part of them; those of another shape keep their random start. Of the predictor of a model of this project,
            each class takes the rows of the class of its name.

    Raises:
        TrainError: weights that can neither be found nor downloaded, or that fit nowhere.
    """
    if weights == "none":
        return Start(build_model(config), config)
    if weights == "coco":
        config = replace(config, frozen_norm=config.arch == "resnet50")
        fresh = ("roi_heads.box_predictor",) if config.frozen_norm else ("backbone.fpn", "rpn", "roi_heads")
        return Start(_pretrained(config), config, fresh)
    given = read_weights(weights)
    config = replace(config, frozen_norm=given.frozen_norm and config.arch == "resnet50")
    model = build_model(config)
    state, new_classes = _for_classes(given, model, config.class_names)
    reinitialized = load_matching(model, state, weights)
    if given.config and f"{PREDICTOR}cls_score" in reinitialized:
        new_classes = config.class_names
    return Start(model, config, reinitialized, _path(weights).suffix == ".onnx", new_classes)


def architecture_of(weights: str) -> str | None:
    """The architecture of a detector of this project whose ``weights`` these are; None if they are others.

    A file that cannot be read gives None too: ``initial_model`` says why.
    """
    if weights in {"none", "coco"}:
        return None
    try:
        given = read_weights(weights)
    except TrainError:
        return None
    return given.config.arch if given.config else None


def family(arch: str) -> str:
    """The architecture that has the same layers."""
    return FAMILIES.get(arch, arch)


def shipped_path(name: str) -> Path | None:
    """The ONNX file of a model that comes with the app, if ``name`` is that of one."""
    path = Path(str(SHIPPED_FOLDER / f"{name}.onnx"))
    return path if name in ARCHITECTURES and path.is_file() else None


def read_weights(weights: str) -> Given:
    """Read the weights of a shipped model or of a file.

    Raises:
        TrainError: they cannot be read.
    """
    path = _path(weights)
    if path.suffix == ".onnx":
        return _given(read_onnx(path))
    content = load_file(path)
    if is_checkpoint(content):
        return _given(checkpoint_of(content, path))
    state = content.get("model", content) if isinstance(content, dict) else content
    if not isinstance(state, dict):
        return Given(state, frozen_norm=True)
    # torchvision's frozen norms count no batches.
    has_trained_norms = any(str(name).endswith("num_batches_tracked") for name in state)
    return Given({name: from_int8(value) for name, value in state.items()}, not has_trained_norms)


def _given(checkpoint: Checkpoint) -> Given:
    return Given(checkpoint.model, checkpoint.config.frozen_norm, checkpoint.config)


def _path(weights: str) -> Path:
    return shipped_path(weights) or Path(weights)


def _for_classes(given: Given, model: FasterRCNN, wanted: tuple[str, ...]) -> tuple[Any, tuple[str, ...]]:
    """The state with the predictor of the wanted classes, and those of them that it does not know.

    If the names have nothing in common, the predictor stays as it is, for as many classes: names may be translated.
    """
    shared = shared_names(given.config.class_names, wanted) if given.config else {}
    if not given.config or not shared:
        return given.state, ()
    rows = rows_by_name(given.state, model.state_dict(), given.config.class_names, wanted)
    return given.state | rows, tuple(name for name in wanted if name not in shared.values())


def from_int8(value: Any) -> Any:
    """A tensor that was stored as int8 values and a float32 scale of each output channel; all else as it is."""
    if not (isinstance(value, tuple) and len(value) == 2 and all(isinstance(v, Tensor) for v in value)):
        return value
    stored, scales = value
    if stored.dtype != torch.int8 or scales.shape != stored.shape[:1]:
        return value
    return stored.float() * scales.view(-1, *[1] * (stored.dim() - 1))


def load_matching(model: FasterRCNN, state: Any, source: str) -> tuple[str, ...]:
    """Load those tensors of ``state`` that have the name of one in ``model`` and its shape, or fewer channels.

    The layers that predict are taken for the same number of classes and anchors only: each output has a meaning.

    Returns:
        The modules with tensors that keep their random start.

    Raises:
        TrainError: ``state`` is no state dict, is not finite, or has fewer than half of the model's tensors.
    """
    own = model.state_dict()
    if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise TrainError(f"{source}: neither a checkpoint of this project nor a torchvision state dict")
    refuse_diverged(source, state)
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
    # The counters of batch norm, which old files lack, are no weights.
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

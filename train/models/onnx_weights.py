"""Weights back out of an ONNX file that ``export`` wrote, so that training can continue from an exported detector.

``export.static`` folds batch norms into convolutions and rearranges three layers; each step has an exact inverse. A
folded norm comes back as an identity, so the model computes what the file computes.
"""

from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Any, cast

import onnx
import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.ops import FrozenBatchNorm2d

from realtime.errors import ModelError
from realtime.metadata import ModelMetadata
from train.errors import TrainError
from train.models.architectures import ModelConfig, build_model
from train.models.calibration import Calibration
from train.models.checkpoint import Checkpoint


def read_onnx(path: Path) -> Checkpoint:
    """Read a detector from an ONNX file of this project.

    Returns:
        A checkpoint of the same classes, input side (the longer one), weights and calibration, whose batch norms are
        identities; those of a ``resnet50`` are frozen, as in torchvision's pretrained one.

    Raises:
        TrainError: the file cannot be read, is not of this project, or has no float32 weights.
    """
    proto = _load(path)
    try:
        metadata = ModelMetadata.from_props({p.key: p.value for p in proto.metadata_props}, str(path))
    except ModelError as error:
        raise TrainError(str(error)) from error
    if metadata.precision != "float32":
        raise TrainError(f"{path}: has {metadata.precision} weights. Continue training from a float32 export")
    arch = metadata.architecture
    calibration = Calibration.from_dict(metadata.calibration) if metadata.calibration else None
    config = ModelConfig(
        arch,
        metadata.class_names,
        max(metadata.input_wh),
        frozen_norm=arch == "resnet50",
        calibration=calibration,
    )
    model = build_model(config)
    stored = {t.name: torch.from_numpy(onnx.numpy_helper.to_array(t).copy()) for t in proto.graph.initializer}
    if "rpn.shifts.weight" in stored:
        stored |= _of_exact_tail(stored, len(metadata.class_names))
    load_folded(model, stored, str(path))
    return Checkpoint(config, model.state_dict(), metadata.training)


def _of_exact_tail(stored: dict[str, Tensor], classes: int) -> dict[str, Tensor]:
    """Layers of ``export.static``, of those of ``export.short_tail``, whose planes have each delta twice."""
    layers = {}
    for kind in ("weight", "bias"):
        shifts, sizes = (stored[f"rpn.{name}.{kind}"].unflatten(0, (5, -1)) for name in ("shifts", "log_sizes"))
        layers[f"rpn.head.bbox_pred.{kind}"] = torch.cat([shifts[2:4] / 2, sizes[:2]]).flatten(0, 1)
        rows = stored[f"roi_heads.predictor.{kind}"]
        rows = rows.flatten() if kind == "bias" else rows
        logits, planes = rows[: classes + 1], rows[classes + 1 :].unflatten(0, (2, 6, classes))
        deltas = torch.cat([planes[0, 2:4] / 2, planes[1, :2]]).flatten(0, 1)
        layers[f"roi_heads.predictor.{kind}"] = torch.cat([logits, deltas])
    return layers


def _load(path: Path) -> onnx.ModelProto:
    try:
        return onnx.load(path)
    except OSError as error:
        reason = "not found" if isinstance(error, FileNotFoundError) else error.strerror
        raise TrainError(f"cannot read {path}: {reason}") from error
    except Exception as error:  # protobuf's parser fails in many ways on other files
        raise TrainError(f"{path}: not a readable ONNX file") from error


def load_folded(model: FasterRCNN, stored: dict[str, Tensor], source: str) -> None:
    """Load the initializers of an exported graph, by name, into the model that it was exported from.

    Raises:
        TrainError: a weight is missing or has another shape.
    """
    own = model.state_dict()
    norms = {norm: conv for conv, norm in _norms_after_convolutions(model)}
    state = own | _identity_norms(model, norms, stored, source)
    convolutions = set(norms.values())
    for name, tensor in own.items():
        module = name.rpartition(".")[0]
        if module in norms or name.startswith("roi_heads.box_predictor."):
            continue
        if module in convolutions or tensor.is_floating_point():
            state[name] = _take(stored, name, tensor, source)
    _unfold_normalisation(model, state)
    _anchors_first(model, state)
    _split_predictor(model, state, stored, source)
    model.load_state_dict(state)


def _identity_norms(
    model: nn.Module, norms: dict[str, str], stored: dict[str, Tensor], source: str
) -> dict[str, Tensor]:
    """Tensors of norms that only add what was folded into the bias of their convolution."""
    state = {}
    for name, conv in norms.items():
        norm = cast("nn.BatchNorm2d | FrozenBatchNorm2d", model.get_submodule(name))
        weight = cast("Tensor", norm.weight)
        state[f"{name}.weight"] = torch.ones_like(weight)
        state[f"{name}.running_mean"] = torch.zeros_like(weight)
        state[f"{name}.running_var"] = torch.full_like(weight, 1 - norm.eps)
        state[f"{name}.bias"] = _take(stored, f"{conv}.bias", weight, source)
    return state


def _take(stored: dict[str, Tensor], name: str, like: Tensor, source: str) -> Tensor:
    found = stored.get(name)
    if found is None or found.shape != like.shape:
        what = "is missing" if found is None else f"has shape {tuple(found.shape)}, expected {tuple(like.shape)}"
        cause = "exported by another version of this project, or never trained (equal tensors are stored once)"
        raise TrainError(f"{source}: the weight '{name}' {what}: {cause}")
    return found.to(like.dtype)


def _norms_after_convolutions(model: nn.Module) -> list[tuple[str, str]]:
    """Names of the convolutions and norms that an export folds together."""
    pairs = []
    for name, module in model.named_modules():
        for (first_name, first), (second_name, second) in pairwise(module.named_children()):
            if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d | FrozenBatchNorm2d):
                pairs.append((f"{name}.{first_name}", f"{name}.{second_name}"))
    return pairs


def _unfold_normalisation(model: FasterRCNN, state: dict[str, Tensor]) -> None:
    """Take channel swap and division by the standard deviation out of the first convolution."""
    name = next(name for name, module in model.backbone.named_modules() if isinstance(module, nn.Conv2d))
    std = torch.tensor(model.transform.image_std).view(1, 3, 1, 1)
    key = f"backbone.{name}.weight"
    state[key] = state[key].flip(1) * (255 * std)


def _anchors_first(model: FasterRCNN, state: dict[str, Tensor]) -> None:
    """Reorder the RPN's deltas from (4,A) to (A,4)."""
    count = model.rpn.anchor_generator.num_anchors_per_location()[0]
    for key in ("rpn.head.bbox_pred.weight", "rpn.head.bbox_pred.bias"):
        state[key] = state[key].unflatten(0, (4, count)).transpose(0, 1).flatten(0, 1).contiguous()


def _split_predictor(model: FasterRCNN, state: dict[str, Tensor], stored: dict[str, Tensor], source: str) -> None:
    """Part the joined layer into logits and deltas; the background's deltas, which nothing reads, become zero."""
    predictor = cast("Any", model.roi_heads.box_predictor)
    classes = predictor.cls_score.out_features
    factors = torch.tensor(model.roi_heads.box_coder.weights)
    for kind in ("weight", "bias"):
        like = torch.cat([getattr(predictor.cls_score, kind), getattr(predictor.bbox_pred, kind)[4:]])
        joined = _take(stored, f"roi_heads.predictor.{kind}", like, source)
        deltas = joined[classes:].unflatten(0, (4, classes - 1))
        deltas = (deltas * factors.view(4, *[1] * (deltas.dim() - 1))).transpose(0, 1).flatten(0, 1)
        state[f"roi_heads.box_predictor.cls_score.{kind}"] = joined[:classes]
        state[f"roi_heads.box_predictor.bbox_pred.{kind}"] = torch.cat([torch.zeros_like(deltas[:4]), deltas])


def restore_norms(model: FasterRCNN, images: Tensor) -> None:
    """Give the batch norms of a model the statistics of images; what the model computes stays the same.

    Training normalises by the statistics of the batch: norms that are identities in evaluation would then change the
    features beyond recognition. Here each norm gets the mean and variance of its inputs, and the scale and shift that
    cancel them. Each filter is scaled to the norm that it would have at its random start, since the step size of a
    filter before a batch norm depends on its norm (van Laarhoven, 2017).

    Args:
        model: changed in place, and left in evaluation mode.
        images: float32 (B,3,S,S), RGB in 0..1, what training will see.
    """
    model.eval()
    modules = dict(model.named_modules())
    handles = [
        modules[norm].register_forward_pre_hook(_renormalise(cast("nn.Conv2d", modules[conv])))
        for conv, norm in _norms_after_convolutions(model)
        if isinstance(modules[norm], nn.BatchNorm2d)
    ]
    with torch.no_grad():
        model.backbone(model.transform(list(images))[0].tensors)
    for handle in handles:
        handle.remove()


def _renormalise(conv: nn.Conv2d) -> Any:
    """A hook before the norm that follows ``conv``, which sets the norm by its inputs and rescales the filters."""

    def hook(norm: nn.BatchNorm2d, inputs: tuple[Tensor]) -> tuple[Tensor]:
        (x,) = inputs
        mean_before, var_before = cast("Tensor", norm.running_mean), cast("Tensor", norm.running_var)
        gain = norm.weight / (var_before + norm.eps).sqrt()
        fan_out = conv.out_channels // conv.groups * prod(conv.kernel_size)
        initial_norm = (2 / fan_out * conv.weight[0].numel()) ** 0.5
        factor = initial_norm / conv.weight.flatten(1).norm(dim=1).clamp(min=1e-6)
        variance, mean = torch.var_mean(x, dim=(0, 2, 3), correction=0)
        conv.weight.mul_(factor.view(-1, 1, 1, 1))
        norm.bias.add_(gain * (mean - mean_before))
        norm.running_mean = mean * factor
        norm.running_var = variance * factor**2
        norm.weight.copy_(gain * (norm.running_var + norm.eps).sqrt() / factor)
        return (x * factor.view(1, -1, 1, 1),)

    return hook

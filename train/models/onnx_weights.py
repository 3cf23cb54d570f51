"""Weights back out of an ONNX file that ``export`` wrote, so that a shipped detector can be trained on.

``export.static`` folds batch norms into convolutions and rearranges three layers; each step has an exact inverse. What
was folded comes back as a norm that changes nothing, so that the model computes what the file computes.
"""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN

from train.errors import TrainError
from train.models.architectures import ModelConfig, build_model
from train.models.checkpoint import Checkpoint

PREFIX = "realtime."


def read_onnx(path: Path) -> Checkpoint:
    """Read a detector from an ONNX file of this project.

    Returns:
        A checkpoint of the same classes, input side and weights, whose batch norms are identities.

    Raises:
        TrainError: the file cannot be read, is not of this project, or has no float32 weights.
    """
    try:
        proto = onnx.load(path)
    except FileNotFoundError as error:
        raise TrainError(f"cannot read {path}: not found") from error
    except Exception as error:  # protobuf's parser fails in many ways on files that are none of its own
        raise TrainError(f"{path}: not a readable ONNX file") from error
    props = {p.key.removeprefix(PREFIX): p.value for p in proto.metadata_props if p.key.startswith(PREFIX)}
    if "architecture" not in props:
        raise TrainError(f"{path}: not exported by this project: its metadata has no '{PREFIX}architecture'")
    if json.loads(props.get("precision", '"float32"')) != "float32":
        raise TrainError(f"{path}: has {json.loads(props['precision'])} weights. Train on from a float32 export")
    info: dict[str, Any] = json.loads(props["training"])
    options = info.get("options") or {}
    config = ModelConfig(
        json.loads(props["architecture"]),
        tuple(json.loads(props["class_names"])),
        max(json.loads(props["input_wh"])),
        frozen_norm=bool(options.get("frozen_norm", False)),
    )
    model = build_model(config)
    stored = {t.name: torch.from_numpy(onnx.numpy_helper.to_array(t).copy()) for t in proto.graph.initializer}
    load_folded(model, stored, str(path))
    return Checkpoint(config, model.state_dict(), info)


def load_folded(model: FasterRCNN, stored: dict[str, Tensor], source: str) -> None:
    """Load the initializers of an exported graph, by name, into the model that it was exported from.

    Raises:
        TrainError: a weight is missing or has another shape.
    """
    own = model.state_dict()
    norms = _norms_after_convolutions(model)
    norm_eps = {name: cast("nn.BatchNorm2d", model.get_submodule(name)).eps for name in norms}
    state = dict(own)
    for name, bias_name in norms.items():
        state[name + ".weight"] = torch.ones_like(own[name + ".weight"])
        state[name + ".running_mean"] = torch.zeros_like(own[name + ".running_mean"])
        state[name + ".running_var"] = torch.full_like(own[name + ".running_var"], 1 - norm_eps[name])
        state[name + ".bias"] = _take(stored, bias_name, own[name + ".bias"], source)
    folded = {name.removesuffix(".bias") + ".weight" for name in norms.values()}
    for name, tensor in own.items():
        if name.startswith("roi_heads.box_predictor.") or name.rpartition(".")[0] in norms:
            continue
        if name in folded or tensor.is_floating_point():
            state[name] = _take(stored, name, tensor, source)
    _unfold_normalisation(model, state)
    _unplane(model, state)
    _split_predictor(model, state, stored, source)
    model.load_state_dict(state)


def _take(stored: dict[str, Tensor], name: str, like: Tensor, source: str) -> Tensor:
    found = stored.get(name)
    if found is None or found.shape != like.shape:
        what = "is missing" if found is None else f"has shape {tuple(found.shape)}, expected {tuple(like.shape)}"
        raise TrainError(f"{source}: the weight '{name}' {what}: exported by another version of this project")
    return found.to(like.dtype)


def _norms_after_convolutions(model: nn.Module) -> dict[str, str]:
    """Names of the batch norms that an export folds, and of the convolution's bias that each becomes."""
    norms = {}
    for name, module in model.named_modules():
        children = list(module.named_children())
        for (first_name, first), (second_name, second) in pairwise(children):
            if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
                norms[f"{name}.{second_name}"] = f"{name}.{first_name}.bias"
    return norms


def _unfold_normalisation(model: FasterRCNN, state: dict[str, Tensor]) -> None:
    """Take channel swap and division by the standard deviation out of the first convolution."""
    name = next(name for name, module in model.backbone.named_modules() if isinstance(module, nn.Conv2d))
    std = torch.tensor(model.transform.image_std).view(1, 3, 1, 1)
    key = f"backbone.{name}.weight"
    state[key] = state[key].flip(1) * (255 * std)


def _unplane(model: FasterRCNN, state: dict[str, Tensor]) -> None:
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
    """Give norms that an export made identities the statistics of real images, leaving what is computed as it is.

    Training normalises by the statistics of the batch: with a scale of 1 the features would change beyond recognition.
    Here each norm gets the mean and variance of its inputs, and the scale and shift that cancel them. Each filter is
    scaled to the norm that it would have at its random start, for the step size of a filter before a batch norm is in
    proportion to that (van Laarhoven, 2017).

    Args:
        model: in which every norm after a convolution is an identity.
        images: float32 (B,3,S,S), RGB in 0..1, what training will see.
    """
    model.eval()
    pairs = [
        (first, second)
        for module in model.modules()
        for first, second in pairwise(module.children())
        if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d)
    ]
    handles = [norm.register_forward_pre_hook(_measure(conv)) for conv, norm in pairs]
    with torch.no_grad():
        model.backbone(model.transform(list(images))[0].tensors)
    for handle in handles:
        handle.remove()


def _measure(conv: nn.Conv2d) -> Any:
    def hook(norm: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
        assert isinstance(norm, nn.BatchNorm2d)
        x = inputs[0]
        fan_out = conv.out_channels // conv.groups * int(np.prod(conv.kernel_size))
        per_filter = conv.weight[0].numel()
        target = (2 / fan_out * per_filter) ** 0.5
        factor = target / conv.weight.flatten(1).norm(dim=1).clamp(min=1e-6)
        variance, mean = torch.var_mean(x, dim=(0, 2, 3), correction=0)
        conv.weight.data.mul_(factor.view(-1, 1, 1, 1))
        norm.running_mean = mean * factor
        norm.running_var = variance * factor**2
        scale = (norm.running_var + norm.eps).sqrt()
        norm.weight.data = scale / factor
        norm.bias.data = norm.bias.data + mean
        return (x * factor.view(1, -1, 1, 1),)

    return hook

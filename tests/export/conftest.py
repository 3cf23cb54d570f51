import sys
from collections.abc import Callable

import pytest
import torch
from tiny_data import CLASS_NAMES, as_input, noise_image
from torch import nn
from torchvision.models.detection import FasterRCNN

from export.cli import run_cli
from train.models.architectures import ModelConfig, build_model

# Threads cost more than they bring at these sizes, and one thread adds up in one order.
torch.set_num_threads(1)


@pytest.fixture
def export_cli(capsys, monkeypatch) -> Callable[..., tuple[int, str, str]]:
    """``python -m export ARGS`` in this process: exit code, stdout, stderr."""

    def call(*args: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["export", *map(str, args)])
        with pytest.raises(SystemExit) as ended:
            run_cli()
        return (ended.value.code, *capsys.readouterr())

    return call


@pytest.fixture(scope="session")
def lively_model() -> Callable[..., FasterRCNN]:
    """Build a random detector that behaves like a trained one: many detections with scores far apart."""
    built: dict[str, FasterRCNN] = {}

    def build(arch: str) -> FasterRCNN:
        if arch not in built:
            torch.manual_seed(0)
            model = build_model(ModelConfig(arch, CLASS_NAMES, 64))
            settle_norms(model)
            predictor = model.roi_heads.box_predictor
            for layer, std in (
                (model.rpn.head.cls_logits, 2.0),
                (model.rpn.head.bbox_pred, 0.2),
                (predictor.cls_score, 1.5),
                (predictor.bbox_pred, 0.5),
            ):
                spread_outputs(layer, std, model)
            built[arch] = model.eval()
        return built[arch]

    return build


def settle_norms(model: FasterRCNN) -> None:
    """Give batch norms the statistics of noise, as training gives them those of photos."""
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.momentum = 1.0
    with torch.no_grad():
        model.train().backbone(2 * torch.randn(4, 3, 64, 64))


def spread_outputs(layer: nn.Conv2d | nn.Linear, std: float, model: FasterRCNN) -> None:
    """Scale a layer so that over noise images each of its outputs has mean 0 and deviation ``std``."""
    outputs = []
    hook = layer.register_forward_hook(
        lambda _layer, _inputs, output: outputs.append(output.transpose(0, 1).flatten(1))
    )
    with torch.no_grad():
        model.eval()([as_input(noise_image(64, 64, seed)) for seed in range(4)])
        hook.remove()
        every = torch.cat(outputs, dim=1)  # (C,N)
        scale = std / every.std(dim=1)
        layer.bias.copy_(scale * (layer.bias - every.mean(dim=1)))
        layer.weight.mul_(scale.view(-1, *(1 for _ in layer.weight.shape[1:])))

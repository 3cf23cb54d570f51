from dataclasses import replace

import pytest
import torch
from equal_steps import OPTIONS
from torch import nn

import train.models.training_losses
from train.distributed import World
from train.errors import TrainError
from train.loop.options import FitOptions
from train.loop.train_state import TrainState, build_train_state, freeze_stages
from train.models.architectures import ModelConfig, build_model
from train.models.targets import Targets, pad_targets


def state_of(options: FitOptions) -> TrainState:
    torch.manual_seed(0)
    model = build_model(ModelConfig(options.arch, ("face",), options.size))
    return build_train_state(model, options, 1, torch.device("cpu"), World())


def inputs() -> tuple[torch.Tensor, Targets]:
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    return image, pad_targets([torch.tensor([[8.0, 8, 40, 50]])], [torch.tensor([1])], [0])


@pytest.mark.parametrize(
    ("arch", "trainable", "first_trained"),
    [
        ("resnet50", 0, None),
        ("resnet50", 1, "layer4.0.conv1.weight"),
        ("resnet50", 3, "layer2.0.conv1.weight"),
        ("resnet50", 5, "conv1.weight"),
        ("nano", 1, "4.block.0.0.weight"),  # the block that goes from stride 8 to 16
        ("nano", 4, "0.0.weight"),
    ],
)
def test_last_stages_alone_are_trained(arch, trainable, first_trained):
    model = build_model(ModelConfig(arch, ("face",), 64))

    freeze_stages(model, trainable)

    trained = [name for name, p in model.backbone.body.named_parameters() if p.requires_grad]
    assert (trained[0] if trained else None) == first_trained
    assert all(p.requires_grad for p in model.backbone.fpn.parameters())


def test_more_stages_than_there_are_is_refused():
    with pytest.raises(TrainError, match=r"--trainable-layers 9: the body has 4 stages. Use 0 to 4"):
        state_of(replace(OPTIONS, trainable_layers=9))


def test_frozen_stages_keep_their_running_means():
    state = state_of(replace(OPTIONS, trainable_layers=1))
    norms = {n: m for n, m in state.model.backbone.body.named_modules() if isinstance(m, nn.BatchNorm2d)}
    before = {name: norm.running_mean.clone() for name, norm in norms.items()}

    state.train_mode()
    state.losses(*inputs())

    moved = [name for name, norm in norms.items() if not torch.equal(norm.running_mean, before[name])]
    assert moved
    assert all(int(name.split(".")[0]) >= 4 for name in moved)


def test_boxes_are_decoded_in_float32_under_autocast():
    state = state_of(replace(OPTIONS, amp=True))
    types = []
    state.model.rpn.box_coder.decode_single = lambda codes, boxes: types.append(codes.dtype) or boxes
    state.model.rpn.head.conv.register_forward_hook(lambda *a: types.append(a[2].dtype))

    with torch.autocast("cpu", torch.bfloat16):
        losses = state.losses(*inputs())

    assert types[-1] == torch.float32  # what is decoded
    assert torch.bfloat16 in types  # what autocast is for
    assert all(loss.isfinite() for loss in losses.values())


def test_anchors_are_not_rounded_under_autocast(monkeypatch):
    """bfloat16 has eight bits: 257 px would be 256, and half pixels are lost from 128 on."""
    state = state_of(replace(OPTIONS, amp=True))
    used = []
    losses = train.models.training_losses.sample_anchors
    monkeypatch.setattr(
        train.models.training_losses,
        "sample_anchors",
        lambda rpn, anchors, targets: used.append(anchors) or losses(rpn, anchors, targets),
    )

    state.losses(*inputs())
    with torch.autocast("cpu", torch.bfloat16):
        state.losses(*inputs())

    assert used[1].dtype == torch.float32
    assert torch.equal(*used)


@pytest.mark.parametrize(("name", "kind"), [("sgd", torch.optim.SGD), ("adamw", torch.optim.AdamW)])
def test_optimizer_by_name(name, kind):
    optimizer = state_of(replace(OPTIONS, optimizer=name, lr=0.01, weight_decay=0.03)).optimizer

    assert type(optimizer) is kind
    assert optimizer.param_groups[0]["weight_decay"] == 0.03

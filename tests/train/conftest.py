import sys
from collections.abc import Callable

import pytest
import torch
from tiny_data import make_data_set
from torchvision.models._api import WeightsEnum
from torchvision.models.detection import fasterrcnn_resnet50_fpn

from train.cli import run_cli

# Threads cost more than they bring at these sizes, and one thread adds up in one order.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_yaml(tmp_path_factory):
    """data.yaml of six images to train on and four to validate; not to be changed."""
    return make_data_set(tmp_path_factory.mktemp("tiny"), train=6, val=4)


@pytest.fixture
def train_cli(capsys, monkeypatch) -> Callable[..., tuple[int, str, str]]:
    """``python -m train ARGS`` in this process: exit code, stdout, stderr."""

    def call(*args: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["train", *map(str, args)])
        with pytest.raises(SystemExit) as ended:
            run_cli()
        return (ended.value.code, *capsys.readouterr())

    return call


@pytest.fixture
def coco_weights(monkeypatch) -> dict[str, torch.Tensor]:
    """Stand-in for torchvision's COCO weights of ``resnet50``: names and shapes are theirs, values random."""
    torch.manual_seed(1)
    state = fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None).state_dict()
    for name in [name for name in state if name.endswith("num_batches_tracked")]:
        del state[name]  # the published ones were trained with frozen batch norm
    monkeypatch.setattr(WeightsEnum, "get_state_dict", lambda *_, **__: state)
    return state

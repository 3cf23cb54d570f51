"""Train a few steps with batch norms at rest; one process or, under torchrun, several. Prints the losses as JSON.

Run as: python equal_steps.py DATA.yaml OUT.json
"""

import json
import sys
from pathlib import Path

import torch
from torch import nn

from train.data.data_yaml import load_data_config
from train.data.dataset import load_split
from train.distributed import World, init_distributed
from train.loop.engine import train_steps
from train.loop.examples import RunExamples
from train.loop.interrupt import Interrupt
from train.loop.loading import load_batches
from train.loop.options import FitOptions
from train.loop.train_state import build_train_state
from train.models.architectures import ModelConfig, build_model

OPTIONS = FitOptions(
    arch="nano", weights="none", size=64, epochs=1, batch_size=4, warmup_steps=1, ema=0.9, multi_scale=0.5, seed=3
)


def equal_steps(data: Path, options: FitOptions, world: World) -> tuple[list[dict[str, float]], dict[str, list[float]]]:
    """Losses of each step, and some of the averaged weights after the last."""
    torch.manual_seed(0)
    config = load_data_config(data)
    images = load_split(config, "train")
    model = build_model(ModelConfig(options.arch, config.class_names, options.size))
    state = build_train_state(model, options, len(images) // options.batch_size, torch.device("cpu"), world)
    # A batch norm in training sees its process's images alone; at rest, steps are the same however they are shared out.
    state.frozen = [module for module in state.model.modules() if isinstance(module, nn.BatchNorm2d)]
    batches = load_batches(RunExamples(images, options), 0, 0, world=world, workers=0, pin_memory=False)
    losses = [step.losses for step in train_steps(state, batches, options, world, Interrupt())]
    weights = {n: p.flatten()[:5].tolist() for n, p in state.average.module.named_parameters()}
    return losses, weights


if __name__ == "__main__":
    torch.set_num_threads(1)
    with init_distributed("cpu") as joined:
        result = equal_steps(Path(sys.argv[1]), OPTIONS, joined)
        if joined.is_main:
            Path(sys.argv[2]).write_text(json.dumps(result))

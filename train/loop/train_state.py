"""The state that a training step changes: weights, optimizer, learning rate and averaged weights."""

import contextlib
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, LRScheduler, SequentialLR, StepLR
from torch.optim.swa_utils import AveragedModel
from torchvision.models.detection import FasterRCNN

from train.distributed import World
from train.errors import TrainError
from train.loop.options import FitOptions
from train.loop.wall_clock import WallClockSchedule
from train.models.training_losses import TrainingLosses

Tensors = tuple[Tensor, ...] | list[Tensor]


@dataclass(slots=True)
class TrainState:
    """A detector in training."""

    model: FasterRCNN
    losses: nn.Module
    """The ``TrainingLosses`` of the model, or their wrapper that averages gradients over all processes."""
    optimizer: Optimizer
    scheduler: LRScheduler
    average: AveragedModel
    frozen: list[nn.Module]
    """Parts of the model that stay as they are, running means included."""

    def train_mode(self) -> None:
        """Set the model to training mode, except the frozen parts."""
        self.losses.train()
        for module in self.frozen:
            module.eval()

    def no_sync(self) -> contextlib.AbstractContextManager[None]:
        """A context in which gradients are accumulated locally, and not averaged over all processes."""
        if isinstance(self.losses, DistributedDataParallel):
            return self.losses.no_sync()
        return contextlib.nullcontext()

    def state_dict(self) -> dict[str, Any]:
        """All state that the next step reads."""
        return {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])


def build_train_state(
    model: FasterRCNN, options: FitOptions, steps_per_epoch: int, device: torch.device, world: World
) -> TrainState:
    """Build the optimizer, schedule and averaged weights of a model, and move it to the device.

    Raises:
        TrainError: the model has fewer stages than are to be trained.
    """
    if world.size > 1 and device.type == "cuda":
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # not implemented for CPUs
    frozen = [] if options.trainable_layers is None else freeze_stages(model, options.trainable_layers)
    if options.freeze_norms:
        frozen += batch_norms(model)
    if options.amp:
        predict_in_float32(model)
    model = model.to(device, memory_format=torch.channels_last)
    optimizer = make_optimizer([p for p in model.parameters() if p.requires_grad], options)
    scheduler = make_scheduler(optimizer, options, steps_per_epoch)
    average = averaged_model(model, options.ema)
    losses = world.replicate(TrainingLosses(model), device)
    return TrainState(model, losses, optimizer, scheduler, average, frozen)


def freeze_stages(model: FasterRCNN, trainable: int) -> list[nn.Module]:
    """Train the last stages of the body only, counted as torchvision's ``trainable_backbone_layers`` counts them.

    Returns:
        The layers that are not trained.

    Raises:
        TrainError: more stages are to be trained than there are.
    """
    stages: list[list[nn.Module]] = []
    for name, layer in model.backbone.body.named_children():
        # A stage begins with each change of stride: a 'layerN' of a ResNet, a block that torchvision marks so.
        if not stages or name.startswith("layer") or getattr(layer, "_is_cn", False):
            stages.append([])
        stages[-1].append(layer)
    if trainable > len(stages):
        raise TrainError(f"--trainable-layers {trainable}: the body has {len(stages)} stages. Use 0 to {len(stages)}")
    for index, stage in enumerate(stages):
        for layer in stage:
            layer.requires_grad_(index >= len(stages) - trainable)
    return [layer for stage in stages[: len(stages) - trainable] for layer in stage]


def batch_norms(model: nn.Module) -> list[nn.Module]:
    """Layers that normalise by the statistics of a batch while they are trained."""
    return [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d | nn.SyncBatchNorm)]


def predict_in_float32(model: FasterRCNN) -> None:
    """Convert box deltas and scores, the outputs of the two heads, to float32, whatever autocast computes in.

    torchvision decodes boxes in the type of their deltas, and bfloat16 cannot represent half pixels above 128.
    """

    def to_float32(_module: nn.Module, _inputs: Any, outputs: Any) -> Any:
        return torch.utils._pytree.tree_map_only(Tensor, Tensor.float, outputs)  # noqa: SLF001

    model.rpn.head.register_forward_hook(to_float32)
    model.roi_heads.box_predictor.register_forward_hook(to_float32)


def make_optimizer(parameters: list[nn.Parameter], options: FitOptions) -> Optimizer:
    """SGD with momentum, or AdamW with the same number as its first beta."""
    if options.optimizer == "adamw":
        betas = (options.momentum, 0.999)
        return AdamW(parameters, lr=options.lr, betas=betas, weight_decay=options.weight_decay)
    return SGD(parameters, lr=options.lr, momentum=options.momentum, weight_decay=options.weight_decay)


def make_scheduler(optimizer: Optimizer, options: FitOptions, steps_per_epoch: int) -> LRScheduler:
    """Linear warm-up, then steps by ``gamma`` every ``step_epochs`` epochs, or half a cosine down to 1 % at the end.

    That of a run that is limited in time goes by the clock.
    """
    if options.time:
        return WallClockSchedule(optimizer, options.warmup_steps)
    total = options.epochs * steps_per_epoch
    warmup_steps = min(options.warmup_steps, max(1, total // 5))
    warmup = LinearLR(optimizer, start_factor=0.01, total_iters=warmup_steps)
    after: LRScheduler
    if options.schedule == "cosine":
        after = CosineAnnealingLR(optimizer, T_max=max(1, total - warmup_steps), eta_min=options.lr * 0.01)
    else:
        after = StepLR(optimizer, step_size=options.step_epochs * steps_per_epoch, gamma=options.gamma)
    return SequentialLR(optimizer, [warmup, after], milestones=[warmup_steps])


def averaged_model(model: FasterRCNN, decay: float) -> AveragedModel:
    """Exponential moving average of the weights and batch-norm statistics.

    The decay rises with the steps, min(decay, (1+n)/(10+n)), so that the random start is soon forgotten.
    """

    def average(ema: Tensors, current: Tensors, steps: Tensor | int) -> None:
        n = int(steps)
        weight = 1 - min(decay, (1 + n) / (10 + n))
        if torch.is_floating_point(ema[0]):
            torch._foreach_lerp_(ema, current, weight)
        else:  # counters of batch norm
            torch._foreach_copy_(ema, current)

    return AveragedModel(model, multi_avg_fn=average, use_buffers=True)

"""The two loops: one pass of training steps, one pass of evaluation."""

import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.swa_utils import AveragedModel
from torchvision.models.detection import FasterRCNN
from torchvision.ops import box_iou

from train.dataset import LabelledImage
from train.errors import TrainError
from train.matching import Boxes
from train.metrics import Metrics, evaluate_boxes
from train.transforms import letterboxed_example, to_tensors

Tensors = tuple[Tensor, ...] | list[Tensor]
Batch = tuple[list[Tensor], list[dict[str, Tensor]]]
EVALUATION_BATCH = 8


@dataclass(frozen=True, slots=True)
class Step:
    """One training step, for logs."""

    losses: dict[str, float]
    """The four parts of the multi-task loss, and their sum as ``loss``."""
    lr: float
    images: int
    seconds: float
    """Wall time since the step before, waiting for data included."""


@dataclass(slots=True)
class Trainee:
    """What a step changes."""

    model: FasterRCNN
    optimizer: Optimizer
    scheduler: LRScheduler
    average: AveragedModel


def train_steps(
    trainee: Trainee, batches: Iterable[Batch], *, clip_norm: float, device: torch.device
) -> Iterator[Step]:
    """Train on each batch; after each yield what happened, so that the caller may log, save or stop.

    Raises:
        TrainError: the loss is no longer finite. The weights are then those before the step.
    """
    model = trainee.model.train()
    started = time.monotonic()
    for images, targets in batches:
        inputs = [image.to(device) for image in images]
        losses: dict[str, Tensor] = model(inputs, [{k: v.to(device) for k, v in t.items()} for t in targets])
        loss = torch.stack(list(losses.values())).sum()
        if not math.isfinite(loss.item()):
            parts = ", ".join(f"{name} {value.item():.3g}" for name, value in losses.items())
            raise TrainError(f"the loss is not finite ({parts}). Lower --lr or lengthen --warmup-steps")
        trainee.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
        lr = trainee.optimizer.param_groups[0]["lr"]
        trainee.optimizer.step()
        trainee.scheduler.step()
        trainee.average.update_parameters(model)
        now = time.monotonic()
        yield Step({"loss": loss.item()} | {k: v.item() for k, v in losses.items()}, lr, len(images), now - started)
        started = now


@dataclass(frozen=True, slots=True)
class Detected:
    """What a model made of one labelled image; boxes in pixels of the network's input."""

    labelled: Boxes
    predicted: Boxes
    proposal_ious: np.ndarray
    """(N,) float32: for each labelled box its best IoU with any proposal of the RPN."""


def evaluate(
    model: FasterRCNN,
    images: list[LabelledImage],
    *,
    size: int,
    class_names: tuple[str, ...],
    device: torch.device,
    threshold: float | None = None,
) -> Metrics:
    """Score a model on labelled images, letterboxed as the app does."""
    found = list(detect(model, images, size=size, device=device))
    return evaluate_boxes(
        [f.labelled for f in found],
        [f.predicted for f in found],
        class_names,
        threshold,
        [f.proposal_ious for f in found],
    )


def detect(model: FasterRCNN, images: list[LabelledImage], *, size: int, device: torch.device) -> Iterator[Detected]:
    """Run a model on images, letterboxed to ``size``, in their order.

    Raises:
        TrainError: an image cannot be read.
    """
    model.eval()
    for start in range(0, len(images), EVALUATION_BATCH):
        batch = [to_tensors(letterboxed_example(i, size)) for i in images[start : start + EVALUATION_BATCH]]
        proposals: list[Tensor] = []
        # In evaluation the RPN returns the proposals of each image, and no losses.
        hook = model.rpn.register_forward_hook(lambda _, __, output, into=proposals: into.extend(output[0]))
        with hook, torch.inference_mode():
            outputs = model([image.to(device) for image, _ in batch])
        for (_, target), output, proposed in zip(batch, outputs, proposals, strict=True):
            labels = target["labels"].numpy()
            found = {name: value.cpu().numpy() for name, value in output.items()}
            yield Detected(
                Boxes(target["boxes"].numpy(), labels, np.ones(len(labels), np.float32)),
                Boxes(found["boxes"], found["labels"], found["scores"]),
                best_ious(target["boxes"], proposed.cpu()).numpy(),
            )


def best_ious(boxes: Tensor, proposals: Tensor) -> Tensor:
    """Best IoU of each of N boxes (N,4) with any of P proposals (P,4), all xyxy: (N,), 0 where P is 0."""
    ious = box_iou(boxes, proposals)
    return ious.amax(dim=1) if len(proposals) else ious.new_zeros(len(boxes))


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

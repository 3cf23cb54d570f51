"""The loop: one pass of training steps."""

import contextlib
import math
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from train.distributed import World
from train.errors import TrainError
from train.loop.interrupt import Interrupt
from train.loop.loading import Batch
from train.loop.options import FitOptions
from train.loop.train_state import TrainState
from train.loop.wall_clock import WallClock, WallClockSchedule

BOX_LOSSES = ("loss_box_reg", "loss_rpn_box_reg")


@dataclass(frozen=True, slots=True)
class Step:
    """One training step, for logs."""

    losses: dict[str, float]
    """The four parts of the multi-task loss, and their weighted sum as ``loss``."""
    lr: float
    images: int
    seconds: float
    """Wall time since the step before, waiting for data included."""
    is_stopped: bool = False
    """A signal was received: the run ends after this step."""
    share: float = 0.0
    """Of a run that is limited in time: how much of the time has passed, the same in all processes."""


def train_steps(
    state: TrainState,
    batches: Iterable[Batch],
    options: FitOptions,
    world: World,
    interrupt: Interrupt,
    clock: WallClock | None = None,
) -> Iterator[Step]:
    """Train on each batch; after each step yield what happened, so that the caller may log, save or stop.

    Args:
        state: the detector, its optimizer and its averaged weights; changed in place.
        batches: this process's parts of each batch, ``options.accumulate`` for a step.
        options: of the run.
        world: the processes that each work on a part of the same batch.
        interrupt: checked in each step.
        clock: of a run that is limited in time.

    Raises:
        DivergedRunError: the loss or its gradient is no longer finite. The weights are then those before the step.
    """
    state.train_mode()
    device = next(state.model.parameters()).device
    started = time.monotonic()
    for parts in zip(*[iter(batches)] * options.accumulate, strict=True):
        state.optimizer.zero_grad()
        sums: Counter[str] = Counter()
        for i, part in enumerate(parts):
            is_last = i == len(parts) - 1
            with contextlib.nullcontext() if is_last else state.no_sync():
                losses = _losses(state, part, options, device)
                # One all-reduce for the losses, for whether any process is to stop, and for the time.
                others = losses["loss"].new_tensor([interrupt.signal, clock.share() if clock else 0.0])
                local = torch.cat([torch.stack(list(losses.values())), others]).detach()
                *reduced, stop_signal, share = world.mean(local.float()).tolist()
                parts_of_loss = dict(zip(losses, reduced, strict=True))
                _check_finite(parts_of_loss)
                sums.update(parts_of_loss)
                (losses["loss"] / options.accumulate).backward()
        norm = nn.utils.clip_grad_norm_(state.model.parameters(), options.clip_norm or math.inf).item()
        _check_finite({"norm of the gradient": norm})
        lr = state.optimizer.param_groups[0]["lr"]
        state.optimizer.step()
        if isinstance(state.scheduler, WallClockSchedule):
            state.scheduler.share = share
        state.scheduler.step()
        state.average.update_parameters(state.model)
        means = {name: value / options.accumulate for name, value in sums.items()}
        now = time.monotonic()
        yield Step(means, lr, options.batch_size, now - started, is_stopped=stop_signal > 0, share=share)
        started = now


def _losses(state: TrainState, part: Batch, options: FitOptions, device: torch.device) -> dict[str, Tensor]:
    """The sum that is minimised as ``loss``, and the four parts of the multi-task loss as torchvision gives them."""
    images = part.images.to(device, non_blocking=True).float().div_(255)
    with torch.autocast(device.type, torch.bfloat16, enabled=options.amp):
        losses: dict[str, Tensor] = state.losses(images, part.targets.to(device))
    weighted = [loss * (options.box_loss_weight if name in BOX_LOSSES else 1) for name, loss in losses.items()]
    return {"loss": torch.stack(weighted).sum()} | losses


def _check_finite(values: dict[str, float]) -> None:
    if not all(math.isfinite(value) for value in values.values()):
        found = ", ".join(f"{name} {value:.3g}" for name, value in values.items())
        raise diverged(found)


class DivergedRunError(TrainError):
    """The loss, the weights or the outputs of a run are no longer finite."""


def diverged(found: str) -> DivergedRunError:
    """The error that ends a run whose loss, weights or outputs are no longer finite."""
    return DivergedRunError(f"training diverged ({found}). Lower --lr or lengthen --warmup-steps")

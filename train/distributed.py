"""Several processes that train one model: what they exchange.

``torchrun`` starts the processes and sets the environment variables that torch.distributed reads.
"""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from train.errors import TrainError


@dataclass(frozen=True, slots=True)
class World:
    """The processes of a run, seen from one of them; the default is a single process."""

    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        """True for the one process that writes files and output."""
        return self.rank == 0

    @property
    def local_size(self) -> int:
        """The processes of this machine."""
        return int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if self.size > 1 else 1

    def mean(self, values: Tensor) -> Tensor:
        """Mean over all processes of a tensor of one shape and device; changed in place."""
        if self.size > 1:
            distributed.all_reduce(values)
            values /= self.size
        return values

    def shard(self, items: list[Any]) -> list[Any]:
        """Those of ``items`` that this process works on."""
        return items[self.rank :: self.size]

    def gather(self, results: list[Any]) -> list[Any]:
        """The results of all processes, in the order of the items before ``shard``; the same everywhere."""
        if self.size == 1:
            return results
        parts: list[list[Any]] = [[] for _ in range(self.size)]
        distributed.all_gather_object(parts, results)
        ordered: list[Any] = [None] * sum(len(part) for part in parts)
        for rank, part in enumerate(parts):
            ordered[rank :: self.size] = part
        return ordered

    def broadcast_weights(self, model: nn.Module) -> None:
        """Copy the main process's weights and running means to all; the latter drift apart without SyncBatchNorm."""
        if self.size > 1:
            for tensor in model.state_dict().values():
                distributed.broadcast(tensor, src=0)

    def replicate(self, model: nn.Module, device: torch.device) -> nn.Module:
        """The model as a module that averages gradients over all processes after each backward pass."""
        if self.size == 1:
            return model
        return DistributedDataParallel(model, device_ids=[device] if device.type == "cuda" else None)


@contextlib.contextmanager
def init_distributed(device_type: str) -> Iterator[World]:
    """Initialise the process group if ``torchrun`` started several processes, and destroy it at the end."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield World()
        return
    if device_type == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("nccl" if device_type == "cuda" else "gloo")
    world = World(distributed.get_rank(), size)
    try:
        yield world
    except RuntimeError as error:  # torch.distributed raises it when a process has died, too
        raise TrainError(f"process {world.rank} of {size}: {str(error).splitlines()[0]}") from error
    finally:
        distributed.destroy_process_group()

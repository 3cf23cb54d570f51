"""What the runs of a search have in common beside their options."""

from dataclasses import dataclass
from pathlib import Path

import torch

from train.data.data_yaml import DataConfig
from train.data.image_cache import Cache


@dataclass(frozen=True, slots=True)
class TrialSettings:
    """What is the same in all runs of a search; none of it shapes a result."""

    data: DataConfig
    out: Path
    """Folder of the search."""
    device: torch.device
    workers: int
    cache: Cache
    save_every_steps: int

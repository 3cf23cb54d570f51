"""TensorBoard's event files in the folder of the run."""

from collections.abc import Mapping
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from train.loop.loggers.base import Outcome, RunLogger


class TensorBoardLogger(RunLogger):
    """Scalars by images seen; those that a resumed run logs again are hidden."""

    def __init__(self, out: Path, images_seen: int) -> None:
        """Begin a record in ``out/tensorboard``, or continue one from this point on."""
        self._writer = SummaryWriter(str(out / "tensorboard"), purge_step=images_seen + 1)

    def scalars(self, group: str, values: Mapping[str, float], images_seen: int) -> None:
        """Log each value under ``group/name``."""
        for name, value in values.items():
            self._writer.add_scalar(f"{group}/{name}", value, images_seen)
        if group == "val":
            self._writer.flush()

    def close(self, outcome: Outcome) -> None:
        """Flush the writer."""
        self._writer.close()

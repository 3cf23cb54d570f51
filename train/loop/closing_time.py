"""How long a run that is limited in time must leave for its last validation and checkpoints."""

import math
import time

import torch
from torchvision.models.detection import FasterRCNN

from train.data.dataset import LabelledImage
from train.evaluation.evaluate import detect

PROBED_IMAGES = 16
"""Images from all over val that tell how long all of them will take."""
WRITING_S = 3.0
WRITTEN_BYTES_PER_S = 300e6
"""A cautious guess of the time for plots and logs, and of how fast checkpoints are written."""
VALUES_WRITTEN = 9
"""For each weight: last.pt twice, with the weight, its average and two values of the optimizer; and best.pt."""


def guess_closing_s(
    model: FasterRCNN, val: list[LabelledImage], size: int, device: torch.device, processes: int
) -> float:
    """Seconds from the last step of a run to its end, guessed from a few images.

    Args:
        model: what is validated.
        val: images to validate on.
        size: side in pixels of the input.
        device: of the model.
        processes: that share the validation.
    """
    probed = val[:: math.ceil(len(val) / PROBED_IMAGES)]
    seconds = 0.0
    for _ in range(2):  # the first time is longer
        started = time.monotonic()
        list(detect(model, probed, size=size, device=device))
        seconds = time.monotonic() - started
    validation_s = seconds / len(probed) * math.ceil(len(val) / processes)
    weights: int = sum(p.numel() * p.element_size() for p in model.parameters())
    return validation_s + WRITING_S + VALUES_WRITTEN * weights / WRITTEN_BYTES_PER_S

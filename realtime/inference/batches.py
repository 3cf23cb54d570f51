"""Any number of images through a network that takes a fixed number in one run."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from realtime.letterbox import LetterboxTransform
from realtime.structures import Detections


class BatchNetwork(Protocol):
    """The two stages of a detector for several images."""

    @property
    def max_batch(self) -> int:
        """The most images of a run; the graph computes as many, whether there are fewer or not."""

    def preprocess_batch(self, images: Sequence[np.ndarray]) -> tuple[np.ndarray, list[LetterboxTransform]]:
        """The network's input for at most ``max_batch`` images uint8 (H,W,3) BGR, and the transforms of their boxes."""

    def infer_batch(self, network_input: np.ndarray, transforms: Sequence[LetterboxTransform]) -> list[Detections]:
        """All detections in each of these images, boxes in its pixels, by falling score."""


def detect_in_batches(network: BatchNetwork, images: Sequence[np.ndarray]) -> list[Detections]:
    """What is in each image uint8 (H,W,3) BGR, in this order: frames of a file or of several cameras, or regions."""
    size = network.max_batch
    batches = (images[start : start + size] for start in range(0, len(images), size))
    return [found for batch in batches for found in network.infer_batch(*network.preprocess_batch(batch))]

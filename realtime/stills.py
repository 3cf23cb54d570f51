"""Detection in a still image."""

import time
from pathlib import Path
from typing import Protocol

import numpy as np

from realtime.inference.detector import OnnxDetector
from realtime.metadata import ModelMetadata
from realtime.regions.detector import CloserDetector
from realtime.regions.tiles import Reach
from realtime.results import Result
from realtime.structures import Detections, Frame


class StillDetector(Protocol):
    """Finds boxes in an image that stands alone: an ``OnnxDetector``, or one that looks closer."""

    @property
    def metadata(self) -> ModelMetadata:
        """Of the model."""

    @property
    def concurrency(self) -> int:
        """How many images may be processed at once, each by a thread of its own."""

    def detect(self, image: np.ndarray) -> Detections:
        """All detections in an image uint8 (H,W,3) BGR, boxes in its pixels, best first."""


def with_reach(network: OnnxDetector, reach: Reach) -> StillDetector:
    """A detector that looks that far."""
    return network if reach.is_near else CloserDetector(network, reach)


def detect_still(detector: StillDetector, image: np.ndarray, threshold: float, path: Path | None = None) -> Result:
    """Detect in an image that stands alone, and group what was found into faces, numbered from 1, the best first.

    Args:
        detector: finds the boxes.
        image: uint8 (H,W,3), BGR.
        threshold: minimum score, 0..1.
        path: the file that the image comes from.
    """
    frame = Frame(image, 0, 0.0, time.monotonic())
    return Result(frame, detector.detect(image), path=path, is_still=True).at(threshold)

"""Timed detection in one frame."""

import time
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from realtime.faces.looks import Looks
from realtime.letterbox import LetterboxTransform
from realtime.metadata import ModelMetadata
from realtime.structures import Detections, Frame


class Detector(Protocol):
    """The two stages of a detector, so that each can be timed."""

    metadata: ModelMetadata
    concurrency: int
    """How many frames are detected at the same time, each by a thread of its own."""
    is_thread_safe: bool
    """Whether several threads may call it at the same time, if that is of no use for whole frames too."""

    def preprocess(self, image: np.ndarray) -> tuple[np.ndarray, LetterboxTransform]:
        """The network's input for an image uint8 (H,W,3) BGR, and the transform of its boxes."""

    def infer(self, network_input: np.ndarray, transform: LetterboxTransform) -> Detections:
        """All detections above the model's ``min_score``, boxes in pixels of the image, by falling score."""


@dataclass(frozen=True, slots=True)
class Detected:
    """A frame and the detections in it."""

    frame: Frame
    found: Detections
    preprocess_ms: float
    """Of all looks."""
    infer_ms: float
    """All the rest."""
    looks: Looks | None = None
    """How closely each place was looked at; None for one look at the whole frame, which is to show all."""


def detect_in(detector: Detector, frame: Frame) -> Detected:
    """Run both stages on a frame."""
    started_s = time.perf_counter()
    network_input, transform = detector.preprocess(frame.image)
    prepared_s = time.perf_counter()
    found = detector.infer(network_input, transform)
    done_s = time.perf_counter()
    return Detected(frame, found, 1000 * (prepared_s - started_s), 1000 * (done_s - prepared_s))

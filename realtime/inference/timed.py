"""Timed detection in one frame."""

import time
from collections.abc import Sequence
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
    max_batch: int
    """The most images that ``infer_batch`` takes."""

    @property
    def tile_wh(self) -> tuple[int, int]:
        """Width and height in pixels of the input that tiles go through: that of ``wide``, else its own."""

    @property
    def wide(self) -> "Detector | None":
        """What looks at tiles, if there is such a network: with a wider input, and for some of the classes at least."""

    @property
    def narrow_wh(self) -> tuple[int, int] | None:
        """Width and height in pixels of the input of ``narrow``."""

    @property
    def narrow(self) -> "Detector | None":
        """The same weights with a smaller input, which follows near faces, if there are such."""

    def preprocess(self, image: np.ndarray) -> tuple[np.ndarray, LetterboxTransform]:
        """The network's input for an image uint8 (H,W,3) BGR, and the transform of its boxes."""

    def infer(self, network_input: np.ndarray, transform: LetterboxTransform) -> Detections:
        """All detections that the graph gives, boxes in pixels of the image, by falling score."""

    def preprocess_batch(self, images: Sequence[np.ndarray]) -> tuple[np.ndarray, list[LetterboxTransform]]:
        """As ``preprocess``, for at most ``max_batch`` images."""

    def infer_batch(self, network_input: np.ndarray, transforms: Sequence[LetterboxTransform]) -> list[Detections]:
        """As ``infer``, for as many images as there are transforms."""


class OneAtATime:
    """What a ``Detector`` has besides, if it takes one image in a run; by default without companions."""

    max_batch = 1
    metadata: ModelMetadata
    wide: Detector | None = None
    narrow: Detector | None = None

    @property
    def tile_wh(self) -> tuple[int, int]:
        """Of the input of ``wide``, else of its own."""
        return (self.wide or self).metadata.input_wh

    @property
    def narrow_wh(self) -> tuple[int, int] | None:
        """Of the input of ``narrow``."""
        return self.narrow.metadata.input_wh if self.narrow else None

    def preprocess_batch(self: Detector, images: Sequence[np.ndarray]) -> tuple[np.ndarray, list[LetterboxTransform]]:
        """As ``preprocess``."""
        (image,) = images
        network_input, transform = self.preprocess(image)
        return network_input, [transform]

    def infer_batch(
        self: Detector, network_input: np.ndarray, transforms: Sequence[LetterboxTransform]
    ) -> list[Detections]:
        """As ``infer``."""
        (transform,) = transforms
        return [self.infer(network_input, transform)]


@dataclass(frozen=True, slots=True)
class Detected:
    """A frame and the detections in it."""

    frame: Frame
    found: Detections
    preprocess_ms: float
    """Of all looks. Of frames that went through the network together, each has the share of its looks."""
    infer_ms: float
    """All the rest, likewise."""
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

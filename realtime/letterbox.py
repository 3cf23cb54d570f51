"""The letterbox: how an image is fitted into the network's fixed input, and how boxes come back.

Part of the contract between training and the app: training, evaluation, ``export verify`` and the app all prepare an
image by ``Letterbox``.
"""

import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

from realtime.errors import ImageError

PADDING_VALUE = 114
"""Grey level of the border."""


@dataclass(frozen=True, slots=True)
class LetterboxTransform:
    """How an image lies in the network's input: scaled by ``scale_xy``, then shifted by whole pixels."""

    frame_wh: tuple[int, int]
    """Width and height in pixels of the image."""
    scale_xy: tuple[float, float]
    offset_xy: tuple[int, int]

    @property
    def matrix(self) -> np.ndarray:
        """The same as a 2x3 float64 affine map from pixels of the image to pixels of the input."""
        (scale_x, scale_y), (left, top) = self.scale_xy, self.offset_xy
        return np.array([[scale_x, 0, left], [0, scale_y, top]], np.float64)

    def to_frame(self, boxes: np.ndarray) -> np.ndarray:
        """Map boxes (N,4) float32 xyxy from pixels of the input to pixels of the image, clipped to it."""
        offset = np.array([*self.offset_xy, *self.offset_xy], np.float32)
        scale = np.array([*self.scale_xy, *self.scale_xy], np.float32)
        limit = np.array([*self.frame_wh, *self.frame_wh], np.float32)
        moved: np.ndarray = np.clip((boxes - offset) / scale, 0, limit)
        return moved


class Letterbox:
    """Scales images to fit the input and centres them on grey, in a buffer that is reused.

    The border is painted only when the size of the images changes. Images of at least twice the wanted size are first
    reduced by 2 as often as possible: averaging 2x2 pixels is fast, and leaves a quarter of the pixels to the slower
    area interpolation. The result differs by how pixels on the border of two areas are shared, 0.8 grey levels on
    average of photos with a sensor's noise.
    """

    def __init__(
        self, input_wh: tuple[int, int], padding_value: int = PADDING_VALUE, buffer: np.ndarray | None = None
    ) -> None:
        """No image is scaled yet.

        Args:
            input_wh: width and height in pixels of the input.
            padding_value: grey level of the border.
            buffer: uint8 (1,h,w,3) to write to; by default one of its own.
        """
        self._input_wh = input_wh
        self._padding_value = padding_value
        self._buffer = np.empty((1, input_wh[1], input_wh[0], 3), np.uint8) if buffer is None else buffer
        self._transform = LetterboxTransform((0, 0), (1.0, 1.0), (0, 0))
        self._view = self._buffer[0]
        self._halves: list[np.ndarray] = []

    def __call__(self, image: np.ndarray) -> tuple[np.ndarray, LetterboxTransform]:
        """Letterbox an image.

        Args:
            image: uint8 (H,W,3); the order of the channels is kept.

        Returns:
            The input uint8 (1,h,w,3), valid until the next call, and how the image lies in it.

        Raises:
            ImageError: ``image`` has another shape or dtype.
        """
        check_image(image)
        height, width = image.shape[:2]
        if (width, height) != self._transform.frame_wh:
            self._fit(width, height)
        view_h, view_w = self._view.shape[:2]
        for half in self._halves:
            image = cv2.resize(image, half.shape[1::-1], dst=half, interpolation=cv2.INTER_AREA)
        interpolation = cv2.INTER_AREA if view_w < width else cv2.INTER_LINEAR
        cv2.resize(image, (view_w, view_h), dst=self._view, interpolation=interpolation)
        return self._buffer, self._transform

    def _fit(self, width: int, height: int) -> None:
        scale = min(self._input_wh[0] / width, self._input_wh[1] / height)
        new_w, new_h = max(1, round(width * scale)), max(1, round(height * scale))
        left, top = (self._input_wh[0] - new_w) // 2, (self._input_wh[1] - new_h) // 2
        self._buffer.fill(self._padding_value)
        self._view = self._buffer[0, top : top + new_h, left : left + new_w]
        self._transform = LetterboxTransform((width, height), (new_w / width, new_h / height), (left, top))
        self._halves = []
        # Halves of odd sides are no averages of 2x2 pixels, and slow.
        while width % 2 == height % 2 == 0 and width >= 2 * new_w and height >= 2 * new_h:
            width, height = width // 2, height // 2
            self._halves.append(np.empty((height, width, 3), np.uint8))


class BatchLetterbox:
    """Letterboxes up to ``batch`` images side by side into one input; the rest of it is grey, or of an earlier call."""

    def __init__(self, input_wh: tuple[int, int], padding_value: int = PADDING_VALUE, batch: int = 1) -> None:
        """``batch``: how many images an input has; the others as ``Letterbox`` takes them."""
        self._buffer = np.full((batch, input_wh[1], input_wh[0], 3), padding_value, np.uint8)
        self._slots = [Letterbox(input_wh, padding_value, self._buffer[i : i + 1]) for i in range(batch)]

    def __call__(self, images: Sequence[np.ndarray]) -> tuple[np.ndarray, list[LetterboxTransform]]:
        """Letterbox images.

        Args:
            images: at most ``batch`` of them, uint8 (H,W,3), each of its own size.

        Returns:
            The input uint8 (batch,h,w,3), valid until the next call, and how each image lies in its part of it.

        Raises:
            ImageError: an image has another shape or dtype.
            ValueError: there are more than ``batch``.
        """
        if len(images) > len(self._slots):
            raise ValueError(f"expected at most {len(self._slots)} images, found {len(images)}")
        if len(images) == 1:
            return self._buffer, [self._slots[0](images[0])[1]]
        # OpenCV releases the interpreter's lock; on a GPU, the network takes a third of the time of 16 letterboxes.
        done = _pool().map(lambda slot, image: slot(image)[1], self._slots, images)
        return self._buffer, list(done)


@cache
def _pool() -> ThreadPoolExecutor:
    """Threads for the images of a batch, for the whole process."""
    return ThreadPoolExecutor(thread_name_prefix="letterbox")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # threads do not survive a fork


class ThreadLocalLetterbox(threading.local):
    """A ``BatchLetterbox`` for each thread that calls it, made of the same arguments."""

    def __init__(self, input_wh: tuple[int, int], padding_value: int = PADDING_VALUE, batch: int = 1) -> None:
        self._letterbox = BatchLetterbox(input_wh, padding_value, batch)

    def __call__(self, image: np.ndarray) -> tuple[np.ndarray, LetterboxTransform]:
        """Letterbox an image, the first of its batch; what is returned is valid until the same thread calls again."""
        network_input, (transform,) = self._letterbox([image])
        return network_input, transform

    def batch(self, images: Sequence[np.ndarray]) -> tuple[np.ndarray, list[LetterboxTransform]]:
        """Letterbox several, as ``BatchLetterbox``; what is returned is valid until the same thread calls again."""
        return self._letterbox(images)


def check_image(image: np.ndarray) -> None:
    """Refuse what is no uint8 image of three channels: OpenCV would silently leave the buffer as it was.

    Raises:
        ImageError: says what was found.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ImageError(
            f"expected an image uint8 (height, width, 3), found {image.dtype} {image.shape}", value=image.shape
        )

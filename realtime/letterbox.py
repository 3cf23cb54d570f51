"""From a camera's picture to the network's input, and boxes back."""

import threading
from dataclasses import dataclass

import cv2
import numpy as np


@dataclass(frozen=True, slots=True)
class LetterboxTransform:
    """How a picture lies in the network's input: scaled by ``scale_xy``, then shifted by whole pixels."""

    frame_wh: tuple[int, int]
    scale_xy: tuple[float, float]
    offset_xy: tuple[int, int]

    def to_frame(self, boxes: np.ndarray) -> np.ndarray:
        """Map boxes (N,4) float32 xyxy from input pixels to pixels of the picture, clipped to it."""
        offset = np.array([*self.offset_xy, *self.offset_xy], np.float32)
        scale = np.array([*self.scale_xy, *self.scale_xy], np.float32)
        limit = np.array([*self.frame_wh, *self.frame_wh], np.float32)
        return np.clip((boxes - offset) / scale, 0, limit)


class Letterbox:
    """Scales pictures to fit the input and centres them on grey, in a buffer that is reused.

    Straight into the buffer; the border is painted only when the pictures' size changes. Pictures that are twice as
    large as wanted, or more, are halved first, as often as that is so: averaging 2x2 pixels is quick, and what is left
    to be averaged over areas is a quarter. The result differs by how pixels on the border of two areas are shared, 0.8
    grey levels on average of photos with a sensor's noise, and detectors find the same in it.
    """

    def __init__(self, input_wh: tuple[int, int], padding_value: int) -> None:
        self._input_wh = input_wh
        self._padding_value = padding_value
        self._buffer = np.empty((1, input_wh[1], input_wh[0], 3), np.uint8)
        self._transform = LetterboxTransform((0, 0), (1.0, 1.0), (0, 0))
        self._view = self._buffer[0]
        self._halves: list[np.ndarray] = []

    def __call__(self, image: np.ndarray) -> tuple[np.ndarray, LetterboxTransform]:
        """Letterbox a picture.

        Args:
            image: uint8 (H,W,3), BGR.

        Returns:
            The input uint8 (1,h,w,3), BGR, valid until the next call, and how the picture lies in it.
        """
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


class ThreadsLetterbox(threading.local):
    """A ``Letterbox`` for each thread that calls it, made of the same arguments."""

    def __init__(self, input_wh: tuple[int, int], padding_value: int) -> None:
        self._letterbox = Letterbox(input_wh, padding_value)

    def __call__(self, image: np.ndarray) -> tuple[np.ndarray, LetterboxTransform]:
        """Letterbox a picture; what is returned is valid until the same thread calls again."""
        return self._letterbox(image)

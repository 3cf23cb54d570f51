"""Cameras, read by OpenCV."""

import time
from fractions import Fraction

import cv2

from realtime.errors import SourceError
from realtime.structures import Frame

LIVE_TIME_BASE = Fraction(1, 90_000)
"""Clock of MPEG video: fine enough for the time that a camera's frame came."""


class CameraSource:
    """A camera by its index; a frame's time is when it was grabbed."""

    is_live = True
    time_base = LIVE_TIME_BASE
    status = ""

    def __init__(self, device: int) -> None:
        """Open a camera.

        Raises:
            SourceError: there is none of this number, or it gives no picture.
        """
        self._capture = cv2.VideoCapture(device)
        self._device = device
        if not self._capture.isOpened():
            self._capture.release()
            raise SourceError(f"cannot open camera {device}: not found or in use")
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.frame_rate = Fraction(rate).limit_denominator(1001) if 1 <= rate <= 1000 else Fraction(30)
        self._opened_at_s = time.monotonic()
        self._next_index = 0
        self._first: Frame | None = None
        try:
            self._first = self._grab()  # drivers promise sizes that they do not give
        except SourceError:
            self._capture.release()
            raise SourceError(f"cannot open camera {device}: it gives no picture; another program may use it") from None
        self.size_wh = self._first.image.shape[1], self._first.image.shape[0]

    def read(self) -> Frame | None:
        """Wait for the next frame.

        Raises:
            SourceError: the camera gives no more pictures; it was unplugged, say.
        """
        if self._first is not None:
            frame, self._first = self._first, None
            return frame
        return self._grab()

    def _grab(self) -> Frame:
        ok, image = self._capture.read()
        captured_at_s = time.monotonic()
        if not ok:
            raise SourceError(f"camera {self._device} gives no more pictures after frame {self._next_index - 1}")
        image.flags.writeable = False
        frame = Frame(image, self._next_index, captured_at_s - self._opened_at_s, captured_at_s)
        self._next_index += 1
        return frame

    def close(self) -> None:
        """Release the camera."""
        self._capture.release()

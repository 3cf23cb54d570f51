"""Cameras, read by OpenCV."""

import time
from fractions import Fraction

import cv2

from realtime.errors import Remedy, SourceError
from realtime.sources.base import LIVE_TIME_BASE, UNKNOWN_FRAME_RATE, FrameSource
from realtime.structures import Frame

MJPG = cv2.VideoWriter.fourcc(*"MJPG")
RAW_BYTES_PER_PIXEL = 2
"""Of YUYV, the raw format of most cameras."""
USB2_BYTES_PER_S = 35e6
"""What USB 2.0 carries in practice; cameras that are asked for more raw video lower their frame rate."""


class CameraSource(FrameSource):
    """A camera, by its index or device file. A frame's time is when it was grabbed."""

    is_live = True
    time_base = LIVE_TIME_BASE

    def __init__(
        self, device: int | str, *, size_wh: tuple[int, int] | None = None, frame_rate: Fraction | None = None
    ) -> None:
        """Open a camera.

        Args:
            device: its index, or the path of its device file (Linux).
            size_wh: width and height in pixels to ask for; by default the driver's choice.
            frame_rate: frames per second to ask for; by default the driver's choice.

        Raises:
            SourceError: there is no such camera, or it delivers no frames.
        """
        self._device = device
        self._next_index = 0
        self._first: Frame | None = self._open(size_wh, frame_rate)
        reported_rate = self._capture.get(cv2.CAP_PROP_FPS)
        rate = Fraction(reported_rate).limit_denominator(1001) if 1 <= reported_rate <= 1000 else None
        self.frame_rate = rate or UNKNOWN_FRAME_RATE
        asked = _mode(size_wh, frame_rate)
        given = _mode(size_wh and self.size_wh, frame_rate and (rate or "an unknown rate"))
        self.difference = (
            None if asked == given else f"camera {device}: asked for {asked}, the driver gives {given}{self._format()}"
        )
        """What was asked for and what the driver gives instead, in one line; None if they agree."""

    def _open(self, size_wh: tuple[int, int] | None, frame_rate: Fraction | None) -> Frame:
        """Open the camera and grab its first frame; without MJPG if that gives none."""
        for with_mjpg in [True, False] if _exceeds_usb2(size_wh, frame_rate) else [False]:
            # OpenCV would open a path as a video file.
            backend = [cv2.CAP_V4L2] if isinstance(self._device, str) else []
            self._capture = cv2.VideoCapture(self._device, *backend)
            try:
                self._request_mode(size_wh, frame_rate, with_mjpg=with_mjpg)
                return self._grab()
            except NoFrameError:
                self._capture.release()
            except BaseException:
                self._capture.release()
                raise
        raise SourceError(
            f"cannot open camera {self._device}: it delivers no frames",
            value=self._device,
            remedy="close other programs that use it",
        )

    def _request_mode(self, size_wh: tuple[int, int] | None, frame_rate: Fraction | None, *, with_mjpg: bool) -> None:
        """Ask the driver; the format comes first, since it decides which sizes and rates there are."""
        if not self._capture.isOpened():
            remedy = Remedy("check which cameras there are", tool="doctor")
            raise SourceError(
                f"cannot open camera {self._device}: not found or in use", value=self._device, remedy=remedy
            )
        if with_mjpg:
            self._capture.set(cv2.CAP_PROP_FOURCC, MJPG)
        if size_wh is not None:
            self._capture.set(cv2.CAP_PROP_FRAME_WIDTH, size_wh[0])
            self._capture.set(cv2.CAP_PROP_FRAME_HEIGHT, size_wh[1])
        if frame_rate is not None:
            self._capture.set(cv2.CAP_PROP_FPS, float(frame_rate))
        self._opened_at_s = time.monotonic()

    def _format(self) -> str:
        code = int(self._capture.get(cv2.CAP_PROP_FOURCC)).to_bytes(8, "little", signed=True)[:4]
        return f" as {code.decode()}" if code.isalnum() else ""

    def read(self) -> Frame | None:
        """Wait for the next frame.

        Raises:
            SourceError: the camera delivers no more frames, for example because it was unplugged.
        """
        if self._first is not None:
            frame, self._first = self._first, None
            return frame
        return self._grab()

    def _grab(self) -> Frame:
        ok, image = self._capture.read()
        captured_at_s = time.monotonic()
        if not ok:
            message = f"camera {self._device} delivers no more frames after frame {self._next_index - 1}"
            raise NoFrameError(message, value=self._device)
        image.flags.writeable = False
        self.size_wh = image.shape[1], image.shape[0]  # not always what the driver reports
        frame = Frame(image, self._next_index, captured_at_s - self._opened_at_s, captured_at_s)
        self._next_index += 1
        return frame

    def close(self) -> None:
        """Release the camera."""
        self._capture.release()


class NoFrameError(SourceError):
    """An open camera that delivers no frame."""


def _exceeds_usb2(size_wh: tuple[int, int] | None, frame_rate: Fraction | None) -> bool:
    """Whether raw video is too much for USB 2.0, so that the mode needs JPEG (MJPG)."""
    width, height = size_wh or (640, 480)
    return width * height * RAW_BYTES_PER_PIXEL * (frame_rate or UNKNOWN_FRAME_RATE) > USB2_BYTES_PER_S


def _mode(size_wh: tuple[int, int] | None, frame_rate: Fraction | str | None) -> str:
    size = f"{size_wh[0]}x{size_wh[1]}" if size_wh else None
    rate = f"{float(frame_rate):.3g} frames/s" if isinstance(frame_rate, Fraction) else frame_rate
    return " at ".join(word for word in (size, rate) if word)

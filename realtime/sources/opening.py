"""Opening a live source by what the user calls it."""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from realtime.errors import SourceError
from realtime.sources.base import FrameSource
from realtime.sources.camera import CameraSource
from realtime.sources.reconnecting import ReconnectingSource
from realtime.sources.stream import StreamOptions, StreamSource


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraMode:
    """What is asked of a camera's driver; None leaves it the choice."""

    size_wh: tuple[int, int] | None = None
    frame_rate: Fraction | None = None


def open_live(
    device: str, *, mode: CameraMode, stream: StreamOptions, reconnect: bool | None, say: Callable[[str], None]
) -> FrameSource:
    """Open a camera or a stream.

    Args:
        device: number or device file of a camera, or the address of a stream.
        mode: for a camera.
        stream: for a stream.
        reconnect: open it again when it breaks, and wait for one that is not there yet. None: a stream that was there
            is opened again, a camera is not.
        say: told, in a line, what the user should know; from any thread.

    Raises:
        SourceError: it cannot be opened, or ``device`` names nothing of the kind.
    """
    if "://" in device:
        if mode != CameraMode():
            raise SourceError("--size and --fps are asked of cameras; a stream comes as its sender makes it")
        return ReconnectingSource(
            lambda: StreamSource(device, stream),
            retry_first=bool(reconnect),
            retry_later=reconnect is not False,
            say=say,
        )
    name = _camera_name(device)

    def open_camera() -> FrameSource:
        camera = CameraSource(name, size_wh=mode.size_wh, frame_rate=mode.frame_rate)
        if camera.difference:
            say(camera.difference)
        return camera

    if reconnect:
        return ReconnectingSource(open_camera, retry_first=True, retry_later=True, say=say)
    return open_camera()


def _camera_name(device: str) -> int | str:
    if device.isascii() and device.isdecimal():
        return int(device)
    if Path(device).is_file():
        raise SourceError(f"--device {device}: it is a file. Use: realtime video {device}")
    if device.startswith("/dev/"):
        return device
    raise SourceError(
        f"--device {device}: neither a camera's number or device file (0, /dev/video2) nor an address (rtsp://…)"
    )

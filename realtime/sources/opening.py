"""Opening a live source by number, device file or address."""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from realtime.errors import Remedy, SourceError
from realtime.sources.base import FrameSource
from realtime.sources.camera import CameraSource
from realtime.sources.reconnecting import ReconnectingSource
from realtime.sources.stream import StreamOptions, StreamSource


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraMode:
    """What a camera's driver is asked for; None leaves the choice to it."""

    size_wh: tuple[int, int] | None = None
    frame_rate: Fraction | None = None


def open_live(
    device: str,
    *,
    mode: CameraMode,
    stream: StreamOptions,
    reconnect: bool | None,
    on_message: Callable[[str], None],
    on_wait: Callable[[], None] | None = None,
) -> FrameSource:
    """Open a camera or a stream.

    Args:
        device: number or device file of a camera, or the address of a stream.
        mode: for a camera.
        stream: for a stream.
        reconnect: open it again when it breaks, and wait for it if it is not there yet. None: a stream is opened again
            once it was connected, a camera is not.
        on_message: called with lines that the user should see, from any thread.
        on_wait: called repeatedly while a stream is waited for; what it raises ends the wait.

    Raises:
        SourceError: it cannot be opened, or ``device`` is neither a camera nor an address.
    """
    open_source = live_opener(device, mode=mode, stream=stream, on_message=on_message)
    if "://" in device or reconnect:
        return ReconnectingSource(
            open_source, retry_first=bool(reconnect), retry_later=reconnect is not False, on_message=on_message
        ).start(on_wait)
    return open_source()


def live_opener(
    device: str, *, mode: CameraMode, stream: StreamOptions, on_message: Callable[[str], None]
) -> Callable[[], FrameSource]:
    """What opens a camera or a stream once; the arguments are those of ``open_live``.

    Raises:
        SourceError: ``device`` is neither a camera nor an address, or ``mode`` is not for it.
    """
    if "://" in device:
        _refuse_mode(mode)
        return lambda: StreamSource(device, stream)
    name = _camera_name(device)

    def open_camera() -> FrameSource:
        camera = CameraSource(name, size_wh=mode.size_wh, frame_rate=mode.frame_rate)
        if camera.difference:
            on_message(camera.difference)
        return camera

    return open_camera


def _refuse_mode(mode: CameraMode) -> None:
    size = f"{mode.size_wh[0]}x{mode.size_wh[1]}" if mode.size_wh else None
    rate = None if mode.frame_rate is None else f"{float(mode.frame_rate):g}"
    for parameter, value in (("size_wh", size), ("frame_rate", rate)):
        if value is not None:
            message = "only cameras can be asked for it; the size and rate of a stream are its sender's"
            raise SourceError(message, parameter=parameter, value=value)


def _camera_name(device: str) -> int | str:
    if device.isascii() and device.isdecimal():
        return int(device)
    if Path(device).is_file():
        as_video = Remedy("open it as a video file", tool="video", target=device)
        raise SourceError("it is a file", parameter="device", value=device, remedy=as_video)
    if device.startswith("/dev/"):
        return device
    message = "neither a camera's number or device file (0, /dev/video2) nor an address (rtsp://…)"
    raise SourceError(message, parameter="device", value=device)

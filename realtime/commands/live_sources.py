"""Live sources of the commands that take several cameras."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import TYPE_CHECKING

import typer

from realtime.commands.console import print_message, printable

if TYPE_CHECKING:
    from realtime.sources.reconnecting import ReconnectingSource


class Transport(StrEnum):
    """How RTSP's packets travel."""

    TCP = "tcp"
    UDP = "udp"


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveSettings:
    """What the user may choose of cameras and streams."""

    size: str | None = None
    fps: float | None = None
    open_timeout_s: float = 10.0
    read_timeout_s: float = 5.0
    rtsp_transport: Transport = Transport.TCP


@dataclass(frozen=True, slots=True)
class NamedSource:
    """A camera that is not opened yet."""

    name: str
    source: "ReconnectingSource"


def live_sources(devices: Sequence[str], settings: LiveSettings, *, reconnect: bool | None = None) -> list[NamedSource]:
    """The cameras of ``--device``, each of which opens in a thread of its own, however long that takes.

    Among several cameras, one that is not there does not end the run: it is waited for unless ``reconnect`` is False.

    Raises:
        SourceError: a device is neither a camera nor an address, or a name is given twice.
        typer.BadParameter: the size is none.
    """
    from realtime.cameras.naming import named_devices
    from realtime.sources.opening import CameraMode, live_opener
    from realtime.sources.reconnecting import ReconnectingSource
    from realtime.sources.stream import StreamOptions

    size_wh = parse_size(settings.size) if settings.size else None
    frame_rate = Fraction(settings.fps) if settings.fps else None
    stream = StreamOptions(
        open_timeout_s=settings.open_timeout_s,
        read_timeout_s=settings.read_timeout_s,
        rtsp_transport=settings.rtsp_transport.value,
    )
    found = []
    for one in named_devices(devices):

        def on_message(line: str, name: str = one.name) -> None:
            print_message(printable(f"{name}: {line}"))

        is_camera = "://" not in one.device
        mode = CameraMode(size_wh=size_wh, frame_rate=frame_rate) if is_camera else CameraMode()
        opener = live_opener(one.device, mode=mode, stream=stream, on_message=on_message)
        retries = reconnect is not False
        source = ReconnectingSource(opener, retry_first=retries, retry_later=retries, on_message=on_message)
        found.append(NamedSource(one.name, source))
    return found


def only_device(given: str) -> str:
    """The device of a run with one camera, without the name that it may have been given.

    Raises:
        SourceError: the same name is given twice.
    """
    from realtime.cameras.naming import named_devices

    return named_devices([given])[0].device


def parse_size(text: str) -> tuple[int, int]:
    """Width and height of ``--size``.

    Raises:
        typer.BadParameter: it is none.
    """
    match = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", text)
    if match is None:
        raise typer.BadParameter(f"expected WIDTHxHEIGHT such as 1280x720, found {text!r}", param_hint="--size")
    return int(match[1]), int(match[2])

"""``realtime cam``."""

import re
from enum import StrEnum
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from realtime.commands.arguments import (
    BlurLabels,
    Captures,
    Crops,
    Csv,
    JsonLines,
    MaxFrames,
    Model,
    ProviderOption,
    Raw,
    Threshold,
)
from realtime.commands.outputs import Outputs, check_blur, check_outputs
from realtime.commands.running import open_both, open_detector, run
from realtime.inference.providers import Provider

if TYPE_CHECKING:
    from realtime.sources.base import FrameSource


class Transport(StrEnum):
    """How RTSP's packets travel."""

    TCP = "tcp"
    UDP = "udp"


def _size_wh(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", text)
    if match is None:
        raise typer.BadParameter(f"expected WIDTHxHEIGHT such as 1280x720, found {text!r}", param_hint="--size")
    return int(match[1]), int(match[2])


def cam(
    device: Annotated[
        str,
        typer.Option(
            metavar="SOURCE",
            help="Number or device file of a camera, or a stream: rtsp://, http://, udp:// …",
        ),
    ] = "0",
    size: Annotated[str | None, typer.Option(metavar="WxH", help="Ask the camera for this size, 1280x720 say.")] = None,
    fps: Annotated[
        float | None, typer.Option(min=1, max=1000, help="Ask the camera for this rate in frames/s.")
    ] = None,
    reconnect: Annotated[
        bool | None,
        typer.Option(
            "--reconnect/--no-reconnect",
            help="Open the source again when it breaks, and wait for it if it is not there yet. "
            "By default streams that were there are opened again.",
        ),
    ] = None,
    open_timeout: Annotated[float, typer.Option(min=0.1, help="Seconds that a stream may take to open.")] = 10.0,
    read_timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds without a picture after which it is lost.")
    ] = 5.0,
    rtsp_transport: Annotated[Transport, typer.Option(help="How RTSP's packets travel.")] = Transport.TCP,
    window: Annotated[bool, typer.Option(help="Show the live picture; the key h lists the keys.")] = True,
    record: Annotated[Path | None, typer.Option(help="Write the drawn video to this file.")] = None,
    jsonl: JsonLines = None,
    captures: Captures = Path(),
    csv: Csv = None,
    crops: Crops = None,
    blur: BlurLabels = None,
    model: Model = "nano",
    provider: ProviderOption = Provider.AUTO,
    threshold: Threshold = None,
    raw: Raw = False,
    max_frames: MaxFrames = None,
    duration: Annotated[float | None, typer.Option(min=0, help="Stop after this many seconds.")] = None,
) -> None:
    """Detect live from a camera or a stream."""
    size_wh = _size_wh(size) if size else None
    check_outputs(record, jsonl, csv, crops)
    check_blur(blur, crops, shown=window or record is not None)
    outputs = Outputs(window=window, video=record, jsonl=jsonl, csv=csv, crops=crops, captures=captures)

    def open_source() -> "FrameSource":
        from realtime.sources.opening import CameraMode, open_live
        from realtime.sources.stream import StreamOptions

        return open_live(
            device,
            mode=CameraMode(size_wh=size_wh, frame_rate=Fraction(fps) if fps else None),
            stream=StreamOptions(
                open_timeout_s=open_timeout, read_timeout_s=read_timeout, rtsp_transport=rtsp_transport.value
            ),
            reconnect=reconnect,
            on_message=lambda line: typer.echo(line, err=True),
        )

    source, detector = open_both(open_source, partial(open_detector, model, provider), provider)
    run(source, detector, outputs, threshold, max_frames, duration, raw=raw, blur=blur)

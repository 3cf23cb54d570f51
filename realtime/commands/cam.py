"""``realtime cam``."""

from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from realtime.commands.console import Notices, print_message
from realtime.commands.live_sources import LiveSettings, Transport, live_sources, only_device, parse_size
from realtime.commands.opening import open_both, open_detector, speed_notices
from realtime.commands.options import (
    OUTPUT,
    SOURCE,
    WINDOW,
    BlurLabels,
    Captures,
    CoverShapeOption,
    Crops,
    Csv,
    Fill,
    FontScale,
    Hide,
    HideClasses,
    JsonLines,
    LabelsOption,
    Line,
    LiveReach,
    Margin,
    MaxFrames,
    Model,
    ProviderOption,
    Raw,
    Sides,
    StyleOption,
    Threshold,
    WindowScale,
    chosen_hiding,
    chosen_reach,
    chosen_style,
)
from realtime.commands.outputs import Outputs, check_hiding, check_outputs
from realtime.commands.running import WINDOW_TITLE, RunOptions, run
from realtime.drawing.styles import Labels, Shape
from realtime.inference.providers import Provider
from realtime.redaction import redacted

if TYPE_CHECKING:
    from realtime.inference.detector import OnnxDetector
    from realtime.sources.base import FrameSource
    from realtime.ui.start_screen import StartScreen

FIRST_CAMERA = ["0"]


def cam(
    device: Annotated[
        list[str],
        typer.Option(
            metavar="[NAME=]SOURCE",
            help="Number or device file of a camera, or a stream: rtsp://, http://, udp:// …; given several times, all "
            "are shown at once.",
            rich_help_panel=SOURCE,
        ),
    ] = FIRST_CAMERA,
    size: Annotated[
        str | None,
        typer.Option(metavar="WxH", help="Ask the camera for this size, such as 1280x720.", rich_help_panel=SOURCE),
    ] = None,
    fps: Annotated[
        float | None,
        typer.Option(min=1, max=1000, help="Ask the camera for this rate in frames/s.", rich_help_panel=SOURCE),
    ] = None,
    reconnect: Annotated[
        bool | None,
        typer.Option(
            "--reconnect/--no-reconnect",
            help="Open the source again when it breaks, and wait for it if it is not there yet. "
            "By default only streams that were there are opened again.",
            rich_help_panel=SOURCE,
        ),
    ] = None,
    open_timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds that a stream may take to open.", rich_help_panel=SOURCE)
    ] = 10.0,
    read_timeout: Annotated[
        float,
        typer.Option(min=0.1, help="Seconds without a frame after which a stream is lost.", rich_help_panel=SOURCE),
    ] = 5.0,
    rtsp_transport: Annotated[
        Transport, typer.Option(help="How RTSP's packets travel.", rich_help_panel=SOURCE)
    ] = Transport.TCP,
    duration: Annotated[
        float | None, typer.Option(min=0, help="Stop after this many seconds.", rich_help_panel=SOURCE)
    ] = None,
    max_frames: MaxFrames = None,
    record: Annotated[
        Path | None, typer.Option(help="Write the drawn video to this file.", rich_help_panel=OUTPUT)
    ] = None,
    jsonl: JsonLines = None,
    csv: Csv = None,
    crops: Crops = None,
    blur: BlurLabels = None,
    hide: Hide = None,
    hide_classes: HideClasses = None,
    shape: CoverShapeOption = None,
    margin: Margin = None,
    style: StyleOption = Shape.CORNERS,
    labels: LabelsOption = Labels.FACE,
    line: Line = None,
    font_scale: FontScale = 1.0,
    fill: Fill = False,
    sides: Sides = False,
    model: Model = "nano",
    provider: ProviderOption = Provider.AUTO,
    threshold: Threshold = None,
    reach: LiveReach = "auto",
    raw: Raw = False,
    window: Annotated[
        bool, typer.Option(help="Show the frames in a window; the key h lists its keys.", rich_help_panel=WINDOW)
    ] = True,
    captures: Captures = Path(),
    window_scale: WindowScale = None,
) -> None:
    """Detect live from cameras and streams."""
    size_wh = parse_size(size) if size else None
    hiding = chosen_hiding(blur, hide, hide_classes, shape, margin)
    how_far = chosen_reach(reach, hides=hiding is not None)
    check_outputs(record, jsonl, csv, crops)
    check_hiding(hiding, crops, shown=window or record is not None)

    outputs = Outputs(window=window, video=record, jsonl=jsonl, csv=csv, crops=crops, captures=captures)
    drawn = chosen_style(style, labels, line=line, font_scale=font_scale, fill=fill, sides=sides)
    options = RunOptions(
        threshold=threshold,
        max_frames=max_frames,
        duration_s=duration,
        raw=raw,
        hiding=hiding,
        reach=how_far,
        style=drawn,
        window_scale=window_scale,
    )
    settings = LiveSettings(
        size=size, fps=fps, open_timeout_s=open_timeout, read_timeout_s=read_timeout, rtsp_transport=rtsp_transport
    )
    if len(device) > 1:
        _run_many(device, settings, outputs, options, _Chosen(model, provider, reconnect))
        return
    address = only_device(device[0])

    def open_source() -> "FrameSource":
        # Imported here, while another thread loads the model.
        from realtime.sinks.base import StopRun
        from realtime.sources.opening import CameraMode, open_live
        from realtime.sources.stream import StreamOptions

        screen = _start_screen(address, window_scale) if window else None
        try:
            return open_live(
                address,
                mode=CameraMode(size_wh=size_wh, frame_rate=Fraction(fps) if fps else None),
                stream=StreamOptions(
                    open_timeout_s=open_timeout, read_timeout_s=read_timeout, rtsp_transport=rtsp_transport.value
                ),
                reconnect=reconnect,
                on_message=print_message,
                on_wait=screen.poll if screen else None,
            )
        except StopRun:
            raise typer.Exit from None

    source, detector = open_both(open_source, partial(open_detector, model, provider), provider)
    run(source, detector, outputs, options, Notices(speed_notices(detector, model, is_live=True)))


@dataclass(frozen=True, slots=True)
class _Chosen:
    model: str
    provider: Provider
    reconnect: bool | None


def _start_screen(address: str, scale: float | None) -> "StartScreen":
    from realtime.ui.scale import window_scale
    from realtime.ui.start_screen import StartScreen

    name = f"camera {address}" if address.isdecimal() else redacted(address)
    return StartScreen(WINDOW_TITLE, f"opening {name}", window_scale(scale))


def _run_many(
    device: list[str], settings: LiveSettings, outputs: Outputs, options: RunOptions, chosen: _Chosen
) -> None:
    from realtime.commands.many import run_many
    from realtime.inference.cores import core_count

    sources = live_sources(device, settings, reconnect=chosen.reconnect)
    load = partial(open_detector, chosen.model, chosen.provider, concurrency=min(core_count(), len(sources)))

    def notices(detector: "OnnxDetector") -> Notices:
        # A GPU computes the frames of several cameras in one run.
        return Notices(speed_notices(detector, chosen.model, is_live=detector.provider is Provider.CPU))

    run_many(sources, load, outputs, options, notices)

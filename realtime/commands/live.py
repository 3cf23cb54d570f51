"""Opening the window of a command, with all that its keys reach."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import typer

from realtime.commands.outputs import Outputs
from realtime.commands.running import WINDOW_TITLE
from realtime.controls import Controls
from realtime.drawing.hiding import Hider
from realtime.drawing.styles import Style
from realtime.errors import SinkError
from realtime.inference.detector import OnnxDetector
from realtime.sinks.base import Sink
from realtime.sinks.recorder import Recorder
from realtime.sinks.video_file import VideoFileSink
from realtime.sources.base import FrameSource
from realtime.ui.overlay import Toast
from realtime.ui.scale import window_scale
from realtime.ui.snapshot import Snapshots
from realtime.ui.view import View
from realtime.ui.window import WindowSink


@dataclass(frozen=True, slots=True)
class Live:
    """What a run with a window has besides its files."""

    recorder: Recorder
    window: WindowSink


def open_window(
    source: FrameSource,
    detector: OnnxDetector,
    outputs: Outputs,
    controls: Controls,
    hider: Hider | None = None,
    style: Style | None = None,
    scale: float | None = None,
) -> Live:
    """Prepare window and recorder; with ``hider``, nothing of the frames themselves is to be seen or kept.

    ``style`` says what is drawn; ``scale`` how large letters and lines are, None for what suits the screen.

    Raises:
        SinkError: no window can be opened here, or there is no such folder for what the keys save.
    """
    if not outputs.captures.is_dir():
        raise SinkError(f"cannot write to {outputs.captures}: folder does not exist", value=outputs.captures)
    names = detector.metadata.class_names
    toast = Toast()

    def on_message(message: str) -> None:
        typer.echo(message, err=True)
        toast.show(message)

    def open_file(path: Path, size_wh: tuple[int, int]) -> Sink:
        return VideoFileSink(
            path, size_wh=size_wh, frame_rate=source.frame_rate, time_base=source.time_base, audio=None,
            pixel_aspect=outputs.original.pixel_aspect if outputs.original else Fraction(1),
        )  # fmt: skip

    view = View(
        controls,
        toast,
        names,
        model=f"{detector.metadata.architecture} on {detector.provider.value.upper()}",
        is_live=source.is_live,
        source_status=lambda: source.status,
        is_recorded=outputs.video is not None,
        canvas_only=hider is not None,
        begin_s=outputs.original.begin_s if outputs.original else 0.0,
        style=style,
        scale=window_scale(scale),
    )
    window = WindowSink(
        WINDOW_TITLE,
        view,
        controls,
        Snapshots(outputs.captures, on_message, canvas_only=hider is not None),
        paced=not source.is_live,
        instead="--no-window --record OUT.mp4" if source.is_live else "--out OUT.mp4",
        anonymize=hider.still if hider else None,
    )
    return Live(Recorder(controls, outputs.captures, open_file, on_message), window)

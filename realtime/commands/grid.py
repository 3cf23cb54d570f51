"""The window of several cameras, with all that its keys reach."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from realtime.commands.live_sources import NamedSource
from realtime.commands.running import WINDOW_TITLE
from realtime.sinks.base import Sink
from realtime.sinks.recorder import Recorder
from realtime.sinks.video_file import VideoFileSink
from realtime.sources.base import LIVE_TIME_BASE, UNKNOWN_FRAME_RATE
from realtime.ui.grid_window import GridWindow, Tile
from realtime.ui.scale import window_scale
from realtime.ui.snapshot import Snapshots
from realtime.ui.view import View

if TYPE_CHECKING:
    from realtime.commands.many import CameraOfRun, ManyRun


def recorder_of(run: "ManyRun", source: NamedSource) -> Recorder:
    """What the key r starts for one camera."""

    def open_file(path: Path, size_wh: tuple[int, int]) -> Sink:
        return VideoFileSink(path, size_wh=size_wh, frame_rate=UNKNOWN_FRAME_RATE, time_base=LIVE_TIME_BASE)

    return Recorder(run.controls, run.outputs.captures, open_file, run.on_message, camera=source.name)


def open_grid(run: "ManyRun", end_process: Callable[[], None]) -> GridWindow:
    """Prepare the window."""
    scale = window_scale(run.options.window_scale)
    tiles = [_tile(run, seen, scale) for seen in run.cameras]
    window = GridWindow(WINDOW_TITLE, tiles, run.controls, run.toast, scale=scale)
    window.on_lost_display(end_process)
    return window


def _tile(run: "ManyRun", seen: "CameraOfRun", scale: float) -> Tile:
    camera, newest = seen.camera, seen.newest
    hides = run.options.hiding is not None
    view = View(
        run.controls,
        run.toast,
        run.detector.metadata.class_names,
        model=f"{run.detector.metadata.architecture} on {run.detector.provider.value.upper()}",
        is_live=True,
        source_status=lambda: camera.status,
        is_recorded=run.outputs.video is not None,
        canvas_only=hides,
        style=run.options.style,
        camera=camera.name,
        scale=scale,
    )
    snapshots = Snapshots(run.outputs.captures, run.on_message, canvas_only=hides, camera=camera.name)
    return Tile(camera.name, view, snapshots, lambda: newest.result if newest else None, lambda: camera.status)

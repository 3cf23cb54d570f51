"""Running several cameras at once, in a grid window or without one."""

import os
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np

from realtime.cameras.camera import Camera, Looking
from realtime.cameras.engine import Engine
from realtime.cameras.naming import with_name
from realtime.cameras.writer import ResultWriter
from realtime.commands.console import Notices, exit_if_stopped, print_error, print_message, wrote
from realtime.commands.live_sources import NamedSource
from realtime.commands.opening import chosen_threshold
from realtime.commands.outputs import Outputs
from realtime.commands.running import WINDOW_TITLE, RunOptions
from realtime.controls import Controls
from realtime.drawing.hiding import Hider
from realtime.drawing.render import drawn
from realtime.errors import RealtimeError, SinkError
from realtime.formatting import counted
from realtime.inference.cores import core_count
from realtime.inference.detector import OnnxDetector
from realtime.results import Result
from realtime.sinks.base import ClosingSink, Ending, Sink
from realtime.stopping import StopRequests
from realtime.ui.overlay import Toast

POLL_S = 0.1
"""How often a run without a window looks whether it is over."""


class NewestResult(ClosingSink):
    """Keeps the newest result for a window."""

    is_slow = False

    def __init__(self, *, needs_canvas: bool) -> None:
        self.needs_canvas = needs_canvas
        self.result: Result | None = None

    def write(self, result: Result) -> None:
        """Replace the result."""
        self.result = result

    def close(self, ending: Ending) -> None:
        """Nothing is held."""


@dataclass(slots=True)
class CameraOfRun:
    """A camera of the run and what its window shows."""

    camera: Camera
    newest: NewestResult | None


@dataclass(slots=True)
class ManyRun:
    """What belongs to one run."""

    detector: OnnxDetector
    controls: Controls
    outputs: Outputs
    options: RunOptions
    cameras: list[CameraOfRun] = field(default_factory=list)
    toast: Toast = field(default_factory=Toast)

    def on_message(self, message: str) -> None:
        """Tell the user of something that a key did."""
        print_message(message)
        self.toast.show(message)


def run_many(
    sources: Sequence[NamedSource],
    load: Callable[[], OnnxDetector],
    outputs: Outputs,
    options: RunOptions,
    notices: Callable[[OnnxDetector], Notices],
) -> None:
    """Detect in several cameras until the user ends it, a limit is reached or all are over, and say what was done.

    Args:
        sources: not opened yet.
        load: opens the detector, for as many frames at a time as there are threads.
        outputs: where the results go; files get the names of the cameras, text files a field.
        options: of the user.
        notices: printed once everything is open.

    Raises:
        RealtimeError: an output cannot be opened, or the first error of the run.
        typer.Exit: a signal stopped it.
    """
    with StopRequests() as requests:
        if outputs.window:
            _check_window(outputs)
            _show_start_screen(options, len(sources))
        engine = Engine(load)
        detector = cast("OnnxDetector", engine.start())
        run = ManyRun(detector, Controls(chosen_threshold(options.threshold, detector)), outputs, options)
        started_s = time.monotonic()
        ending = Ending.FAILED
        try:
            window = _open(run, sources, engine)
            requests.call(partial(_stop, run.controls))
            notices(detector).print()
            if options.max_frames is not None:
                engine.limit(options.max_frames)
            for seen in run.cameras:
                engine.add(seen.camera)
            is_over = partial(_is_over, engine, started_s, options.duration_s)
            if window:
                window(is_over)
            else:
                while not (run.controls.ended or is_over()):
                    engine.wait(POLL_S)
            ending = Ending.STOPPED
        finally:
            engine.close(ending)
    _report(run, time.monotonic() - started_s)
    exit_if_stopped(requests)


def _stop(controls: Controls) -> None:
    controls.ended = True


def _is_over(engine: Engine, started_s: float, duration_s: float | None) -> bool:
    return engine.wait(0) or (duration_s is not None and time.monotonic() - started_s >= duration_s)


def _open(run: ManyRun, sources: Sequence[NamedSource], engine: Engine) -> Callable[[Callable[[], bool]], None] | None:
    """Open the window and the files of all cameras; what shows the window is returned."""
    from realtime.sinks.shared import shared_lines, shared_table

    shared = []
    with ExitStack() as on_error:
        if run.outputs.jsonl:
            shared.append(shared_lines(run.outputs.jsonl))
        if run.outputs.csv:
            shared.append(shared_table(run.outputs.csv))
        for source in sources:
            sinks: list[Sink] = []
            on_error.callback(_close_all, sinks)
            sinks += [sink_of(source.name) for sink_of in shared]
            sinks += _own_files(run.outputs, source.name)
            run.cameras.append(_camera(run, source, sinks, alone=len(sources) == 1))
        window = None
        if run.outputs.window:
            from realtime.commands.grid import open_grid

            window = open_grid(run, partial(_end_without_display, run, engine)).run
        on_error.pop_all()
    return window


def _check_window(outputs: Outputs) -> None:
    from realtime.ui.display import no_window_reason

    if reason := no_window_reason():
        instead = "write to files instead: --no-window --record OUT.mp4"
        raise SinkError(f"cannot open a window: {reason}", value="realtime", remedy=instead)
    if not outputs.captures.is_dir():
        raise SinkError(f"cannot write to {outputs.captures}: folder does not exist", value=outputs.captures)


def _show_start_screen(options: RunOptions, count: int) -> None:
    """Until the model is loaded; then the grid shows each camera's state."""
    from realtime.ui.scale import window_scale
    from realtime.ui.start_screen import StartScreen

    words = f"opening {counted(count, 'camera')}"
    StartScreen(WINDOW_TITLE, words, window_scale(options.window_scale), keeps_ratio=False)


def _close_all(sinks: Sequence[Sink]) -> None:
    for sink in sinks:
        sink.close(Ending.FAILED)


def _own_files(outputs: Outputs, name: str) -> list[Sink]:
    sinks: list[Sink] = []
    if outputs.crops:
        from realtime.sinks.crops import CropsSink

        sinks.append(CropsSink(with_name(outputs.crops, name)))
    if outputs.video:
        from realtime.sinks.late_video import LateVideoSink

        sinks.append(LateVideoSink(with_name(outputs.video, name)))
    return sinks


def _camera(run: ManyRun, source: NamedSource, sinks: list[Sink], *, alone: bool) -> CameraOfRun:
    options, detector = run.options, run.detector
    hider = Hider(detector.metadata.class_names, options.hiding) if options.hiding else None
    newest = NewestResult(needs_canvas=hider is not None) if run.outputs.window else None
    if newest:
        from realtime.commands.grid import recorder_of

        sinks += [recorder_of(run, source), newest]
    writer = ResultWriter(sinks, partial(_rendered, run, hider)) if sinks else None
    looking = Looking(raw=options.raw, reach=options.reach, uses_helper=alone and core_count() > 1)
    camera = Camera(source.name, source.source, detector, run.controls, looking=looking, writer=writer)
    return CameraOfRun(camera, newest)


def _rendered(run: ManyRun, hider: Hider | None, result: Result) -> np.ndarray:
    if hider:
        return hider(result.frame, result.detections)
    controls = run.controls
    return drawn(result.image, result.detections, run.options.style, labels=controls.labels, hidden=controls.hidden)


def _end_without_display(run: ManyRun, engine: Engine) -> None:
    """End the process, with all files closed in order."""
    try:
        engine.close()
        print_error(SinkError(f"lost the display of the window{wrote(*_written(run))}"))
    except RealtimeError as error:
        print_error(error)
    finally:
        os._exit(1)


def _written(run: ManyRun) -> list[Path]:
    outputs = run.outputs
    names = [seen.camera.name for seen in run.cameras if seen.camera.figures.now().frames]
    own = [with_name(path, name) for path in (outputs.video, outputs.crops) if path for name in names]
    return [*own, *(path for path in (outputs.jsonl, outputs.csv) if path and names)]


def _report(run: ManyRun, wall_s: float) -> None:
    """A line for each camera, and one for the files."""
    for seen in run.cameras:
        camera, figures = seen.camera, seen.camera.figures.now()
        rate = figures.frames / wall_s if wall_s > 0 else 0.0
        print_message(
            f"{camera.name}: {counted(figures.frames, 'frame')}, {counted(figures.faces_seen, 'face')}, "
            f"{rate:.1f} frames/s, inference {figures.infer_ms:.1f} ms, {figures.dropped} dropped"
        )
    errors = [seen.camera.error for seen in run.cameras]
    if all(errors) and errors[0] is not None:
        raise errors[0]
    if files := wrote(*_written(run)).removeprefix("; "):
        print_message(files)

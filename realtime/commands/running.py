"""Running the pipeline of a command, and the line that says what was done."""

import os
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from realtime.commands.console import Notices, exit_if_stopped, print_error, print_message, wrote
from realtime.commands.opening import chosen_threshold
from realtime.errors import RealtimeError, SinkError
from realtime.formatting import counted
from realtime.stopping import StopRequests

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from realtime.commands.face_counter import FaceCounter
    from realtime.commands.outputs import Outputs
    from realtime.controls import Controls
    from realtime.drawing.hiding import Hider, Hiding
    from realtime.drawing.styles import Style
    from realtime.inference.detector import OnnxDetector
    from realtime.pipeline import Pipeline, Renderer
    from realtime.regions.tiles import Reach
    from realtime.sinks.base import Sink
    from realtime.sources.base import FrameSource
    from realtime.stats import RunStats
    from realtime.structures import Detections, Frame


WINDOW_TITLE = "realtime"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What the user may choose of every run."""

    threshold: float | None = None
    """Lowest score; None for the model's own."""
    max_frames: int | None = None
    duration_s: float | None = None
    """Wall time after which the run ends."""
    raw: bool = False
    """Boxes as the detector gives them."""
    reach: "Reach | None" = None
    """How far to look for faces; None for one look at the whole of each frame."""
    hiding: "Hiding | None" = None
    """What is hidden, instead of drawing boxes."""
    style: "Style | None" = None
    """What is drawn of the detections."""
    window_scale: float | None = None
    """Of letters and lines in the window; None for what suits the screen."""


@dataclass(frozen=True, slots=True)
class Report:
    """What came of a run."""

    frames: int
    faces: int
    messages: tuple[str, ...]
    """Lines for the user."""
    exit_code: int | None
    """Of the signal that stopped it, if one did."""


def run(
    source: "FrameSource",
    detector: "OnnxDetector",
    outputs: "Outputs",
    options: RunOptions,
    notices: Notices | None = None,
    title: str = "",
) -> None:
    """Run the pipeline, which closes all that is opened here, and say what was done.

    Args:
        source: where the frames come from; closed in any case.
        detector: finds what is in them.
        outputs: where the results go.
        options: of the user.
        notices: printed once everything is open.
        title: begins the closing line where there are several files.

    Raises:
        RealtimeError: an output cannot be opened, or the first error of the run.
        typer.Exit: a signal stopped it.
    """
    with StopRequests() as requests:
        report = run_reported(source, detector, outputs, options, notices=notices, title=title, requests=requests)
    for line in report.messages:
        print_message(line)
    exit_if_stopped(requests)


def run_reported(
    source: "FrameSource",
    detector: "OnnxDetector",
    outputs: "Outputs",
    options: RunOptions,
    *,
    notices: Notices | None = None,
    title: str = "",
    requests: StopRequests | None = None,
    sinks: "Sequence[Sink]" = (),
) -> Report:
    """The same, without a line printed and without an exit.

    Args:
        source: where the frames come from; closed in any case.
        detector: finds what is in them.
        outputs: where the results go.
        options: of the user.
        notices: printed once everything is open.
        title: begins the lines where there are several files.
        requests: of signals that end it with its files kept; None where signals are another process's business.
        sinks: that get the results too.

    Raises:
        RealtimeError: an output cannot be opened, or the first error of the run.
    """
    from realtime.commands.face_counter import FaceCounter
    from realtime.commands.unsure import UnsureFrames
    from realtime.controls import Controls

    faces = FaceCounter()
    with ExitStack() as on_error:
        on_error.callback(source.close)
        hider = _hider(detector, options.hiding, is_file=not (source.is_live or outputs.window))
        on_error.pop_all()
    unsure = UnsureFrames(hider, detector.metadata.levels.candidate) if hider else None
    counters: list[Sink] = [faces, *([unsure] if unsure else []), *sinks]
    controls = Controls(chosen_threshold(options.threshold, detector))
    pipeline = _open_pipeline(source, detector, outputs, options, controls, counters, hider)
    if requests:
        requests.call(pipeline.stop)
    if notices:
        notices.print()
    stats = pipeline.run(max_frames=options.max_frames, duration_s=options.duration_s)
    written = outputs.files if stats.frames else ()  # of a run without a frame nothing is kept
    lines = [f"{title}{_summary(stats, faces, detector, is_live=source.is_live)}{wrote(*written)}"]
    if unsure and unsure.report:
        lines.append(f"{title}{unsure.report}")
    return Report(stats.frames, faces.count, tuple(lines), requests.exit_code if requests else None)


def _open_pipeline(
    source: "FrameSource",
    detector: "OnnxDetector",
    outputs: "Outputs",
    options: RunOptions,
    controls: "Controls",
    counters: "Sequence[Sink]",
    hider: "Hider | None",
) -> "Pipeline":
    """Open the window and the files; ``source`` is closed if one cannot be opened."""
    from realtime.pipeline import Pipeline

    with ExitStack() as on_error:
        on_error.callback(source.close)
        live = None
        if outputs.window:
            # First of all, since there may be no display; but last in the row: its keys count from the next frame.
            from realtime.commands.live import open_window

            live = open_window(source, detector, outputs, controls, hider, options.style, options.window_scale)
        sinks: list[Sink] = [*counters, *outputs.open(source)]
        if live:
            sinks += [live.recorder, live.window]
        on_error.pop_all()
    on_idle = live.window.refresh if live else None
    pipeline = Pipeline(
        source, detector, sinks, controls, on_idle=on_idle, raw=options.raw, reach=options.reach,
        renderer=hider or _drawing(options.style, controls),
    )  # fmt: skip
    if live:
        live.window.on_lost_display(partial(_end_without_display, pipeline, live.window, outputs))
    return pipeline


def _hider(detector: "OnnxDetector", hiding: "Hiding | None", *, is_file: bool) -> "Hider | None":
    """What hides faces, in files before they are found too.

    Raises:
        ModelError: the model has no such class.
    """
    if hiding is None:
        return None
    from realtime.drawing.hiding import Hider
    from realtime.drawing.look_ahead import LookAheadHider

    return (LookAheadHider if is_file else Hider)(detector.metadata.class_names, hiding)


def _drawing(style: "Style | None", controls: "Controls") -> "Renderer":
    """Draws what the user wants to see at the moment."""
    from realtime.drawing.render import drawn

    def render(frame: "Frame", detections: "Detections") -> "np.ndarray":
        return drawn(frame.image, detections, style, labels=controls.labels, hidden=controls.hidden)

    return render


def _end_without_display(pipeline: "Pipeline", window: "Sink", outputs: "Outputs") -> None:
    """End the process, with all files closed in order."""
    try:
        pipeline.close_without(window)
        print_error(SinkError(f"lost the display of the window{wrote(*outputs.files)}"))
    except RealtimeError as error:
        print_error(error)
    finally:
        os._exit(1)


def _summary(stats: "RunStats", faces: "FaceCounter", detector: "OnnxDetector", *, is_live: bool) -> str:
    infer_ms = stats.stages_ms.get("infer", {"p50": 0.0})["p50"]
    together = f" ({detector.concurrency} at a time)" if detector.concurrency > 1 else ""
    dropped = f", {stats.dropped} dropped" if is_live else ""
    return (
        f"{counted(stats.frames, 'frame')}, {counted(faces.count, 'face')}, {stats.frames_per_s:.1f} frames/s, "
        f"inference {infer_ms:.1f} ms{together}{dropped}"
    )

"""What the commands share: opening the outputs, running the pipeline, saying how it ended."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from realtime.errors import SinkError
from realtime.providers import Provider
from realtime.stopping import StopRequests

if TYPE_CHECKING:
    from realtime.detector import OnnxDetector
    from realtime.sinks.base import Sink
    from realtime.sources.base import FrameSource


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """Where the results of a run go."""

    window: bool
    video: Path | None
    jsonl: Path | None
    sound: Path | None = None
    """File whose sound goes into the video."""
    captures: Path = Path()
    """Folder of what the window's keys save."""

    def open(self, source: "FrameSource", class_names: tuple[str, ...]) -> list["Sink"]:
        """Open all files; if one fails, close those before it."""
        from realtime.sinks.base import Ending
        from realtime.sinks.jsonl import JsonLinesSink

        sinks: list[Sink] = []
        with ExitStack() as opened:
            if self.jsonl:
                sinks.append(JsonLinesSink(self.jsonl, class_names))
                opened.callback(sinks[-1].close, Ending.FAILED)
            if self.video:
                from realtime.sinks.video_file import VideoFileSink

                sinks.append(
                    VideoFileSink(
                        self.video,
                        size_wh=source.size_wh,
                        frame_rate=source.frame_rate,
                        time_base=source.time_base,
                        sound=self.sound,
                    )
                )
            opened.pop_all()
        return sinks


def run(
    source: "FrameSource",
    detector: "OnnxDetector",
    outputs: Outputs,
    threshold: float | None,
    max_frames: int | None,
    duration_s: float | None = None,
    *,
    raw: bool = False,
) -> None:
    """Run the pipeline, which closes all that is opened here, and say what was done."""
    from realtime.commands.live import open_window
    from realtime.controls import Controls
    from realtime.pipeline import Pipeline

    controls = Controls(chosen_threshold(threshold, detector))
    with StopRequests() as requests:
        try:
            # First of all, since there may be no display; but last in the row: its keys count from the next frame on.
            live = open_window(source, detector, outputs, controls) if outputs.window else None
            sinks = outputs.open(source, detector.metadata.class_names)
        except BaseException:
            source.close()
            raise
        if live:
            sinks += [live.recorder, live.window]
        on_idle = live.window.refresh if live else None
        pipeline = Pipeline(source, detector, sinks, controls, on_idle=on_idle, raw=raw)
        requests.call(pipeline.stop)
        say_provider(detector)
        stats = pipeline.run(max_frames=max_frames, duration_s=duration_s)
    infer = stats.stages_ms.get("infer", {"p50": 0.0})
    dropped = f", {stats.dropped} dropped" if source.is_live else ""
    typer.echo(
        f"{stats.frames} frames, {stats.frames_per_s:.1f} frames/s, inference {infer['p50']:.1f} ms{dropped}", err=True
    )
    exit_if_stopped(requests)


def print_result(text: str) -> None:
    """Print to standard output.

    Raises:
        SinkError: it goes to a file on a full disk, say; a reader that has gone away (``| head``) is no error.
    """
    try:
        typer.echo(text)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise SinkError(f"cannot write to standard output: {error.strerror}") from error


def exit_if_stopped(requests: StopRequests, message: str | None = None) -> None:
    """End the command with the code of the signal that stopped it, if one did; ``message`` says what was done."""
    if requests.exit_code is not None:
        if message:
            typer.echo(message, err=True)
        raise typer.Exit(requests.exit_code)


def open_detector(model: str, provider: Provider) -> "OnnxDetector":
    """Load the model of that name or path.

    Raises:
        ModelError: there is none, or it cannot be read.
        ProviderError: it does not run on ``provider`` here.
    """
    from realtime.detector import OnnxDetector, find_model

    return OnnxDetector(find_model(model), provider=provider)


def say_provider(detector: "OnnxDetector") -> None:
    """Tell the user once if the detector runs on the CPU for want of something better."""
    if detector.fallback_reason:
        typer.echo(f"running on the CPU: {detector.fallback_reason}", err=True)


def chosen_threshold(given: float | None, detector: "OnnxDetector") -> float:
    """The threshold that the user gave, or the model's own."""
    return detector.metadata.threshold if given is None else given


def check_outputs(*outputs: Path | None, originals: Sequence[Path] = ()) -> None:
    """Refuse one file for two outputs, and an output that is one of the inputs.

    Raises:
        SinkError: a path is in two places.
    """
    paths = [path for path in outputs if path is not None]
    if len({path.resolve() for path in paths}) < len(paths):
        raise SinkError(f"cannot write {paths[0]}: it is given for two outputs")
    for path in paths:
        if path.resolve() in {original.resolve() for original in originals}:
            raise SinkError(f"cannot write {path}: it is the input itself; choose another name")

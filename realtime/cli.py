"""Command line of the app: ``realtime``."""

import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from realtime.errors import RealtimeError, SinkError
from realtime.providers import Provider
from realtime.stopping import Stopped, StopRequests, raise_on_signals

if TYPE_CHECKING:
    from realtime.detector import OnnxDetector
    from realtime.sinks.base import Sink
    from realtime.sources.base import FrameSource

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Find face, eyes, eyebrows, nose and mouth, live.",
)

Model = Annotated[
    str, typer.Option(help="A model that comes with the app (nano), or an ONNX file written by python -m export onnx.")
]
ProviderOption = Annotated[Provider, typer.Option("--provider", help="Where the network runs; auto prefers CUDA.")]
Threshold = Annotated[
    float | None, typer.Option(min=0, max=1, help="Least score of a box; by default the model's own.")
]
JsonLines = Annotated[Path | None, typer.Option("--jsonl", help="Write the detections as JSON lines.")]
MaxFrames = Annotated[int | None, typer.Option(min=1, help="Stop after this many frames.")]


@app.callback()
def main(debug: Annotated[bool, typer.Option(help="Show the traceback of an error.")] = False) -> None:
    """Common options."""


@app.command()
def cam(
    device: Annotated[int, typer.Option(min=0, help="Number of the camera.")] = 0,
    window: Annotated[bool, typer.Option(help="Show the live picture; q or Esc ends.")] = True,
    record: Annotated[Path | None, typer.Option(help="Write the drawn video to this file.")] = None,
    jsonl: JsonLines = None,
    model: Model = "nano",
    provider: ProviderOption = Provider.AUTO,
    threshold: Threshold = None,
    max_frames: MaxFrames = None,
    duration: Annotated[float | None, typer.Option(min=0, help="Stop after this many seconds.")] = None,
) -> None:
    """Detect live from a camera."""
    from realtime.sources.camera import CameraSource

    _check_outputs(record, jsonl)
    detector = _detector(model, provider)
    outputs = _Outputs(window=window, video=record, jsonl=jsonl)
    _run(CameraSource(device), detector, outputs, threshold, max_frames, duration)


@app.command()
def video(
    path: Annotated[Path, typer.Argument(metavar="VIDEO", help="Video file.")],
    out: Annotated[
        Path | None, typer.Option(help="Write the drawn video (H.264, with the original's sound) to this file.")
    ] = None,
    jsonl: JsonLines = None,
    model: Model = "nano",
    provider: ProviderOption = Provider.AUTO,
    threshold: Threshold = None,
    max_frames: MaxFrames = None,
) -> None:
    """Detect in every frame of a video file. Without --out and --jsonl it is shown in a window."""
    from realtime.sources.video_file import VideoFileSource

    _check_outputs(out, jsonl, originals=[path])
    outputs = _Outputs(window=not (out or jsonl), video=out, jsonl=jsonl, sound=path)
    detector = _detector(model, provider)
    _run(VideoFileSource(path), detector, outputs, threshold, max_frames)


@app.command()
def image(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Pictures, or folders of them.")],
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Write the drawn pictures into this folder.")] = None,
    jsonl: JsonLines = None,
    model: Model = "nano",
    provider: ProviderOption = Provider.AUTO,
    threshold: Threshold = None,
) -> None:
    """Detect in still pictures. Without --out and --jsonl the JSON lines are printed."""
    from realtime.images import detect_images, find_images
    from realtime.sinks.base import Ending
    from realtime.sinks.jsonl import JsonLinesFile, json_line

    images = find_images(paths)
    _check_outputs(jsonl, originals=images)
    detector = _detector(model, provider)
    _say_provider(detector)
    names = detector.metadata.class_names
    done = 0
    ending = Ending.FAILED
    with StopRequests() as requests:
        file = JsonLinesFile(jsonl) if jsonl else None
        try:
            for path, detections in detect_images(images, detector, threshold=_threshold(threshold, detector), out=out):
                result: dict[str, object] = {"image": str(path), "detections": detections.as_dicts(names)}
                if file:
                    file.write_line(result)
                elif not out:
                    typer.echo(json_line(result))
                done += 1
                if requests.exit_code:
                    break
            ending = Ending.STOPPED if requests.exit_code else Ending.COMPLETE
        finally:
            if file:
                file.close(ending)
    _exit_if_stopped(requests, f"stopped after {done} of {len(images)} pictures")


@app.command()
def bench(
    path: Annotated[
        Path | None, typer.Argument(metavar="[VIDEO]", help="Video file; by default made 1280x720 pictures.")
    ] = None,
    frames: Annotated[int, typer.Option(min=1, help="How many frames to run.")] = 300,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    model: Model = "nano",
    provider: ProviderOption = Provider.AUTO,
    threshold: Threshold = None,
) -> None:
    """Measure frames/s and the milliseconds of each stage on this machine."""
    import json

    from realtime.bench import run_benchmark, table

    detector = _detector(model, provider)
    _say_provider(detector)
    with StopRequests() as requests:
        stats, report = run_benchmark(
            detector, video=path, max_frames=frames, threshold=_threshold(threshold, detector), requests=requests
        )
    typer.echo(json.dumps(report, indent=2) if as_json else table(stats))
    _exit_if_stopped(requests, f"stopped after {stats.frames} frames")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outputs:
    """Where the results of a run go."""

    window: bool
    video: Path | None
    jsonl: Path | None
    sound: Path | None = None
    """File whose sound goes into the video."""

    def open(self, source: "FrameSource", class_names: tuple[str, ...]) -> list["Sink"]:
        """Open all sinks; if one fails, close those before it."""
        from realtime.sinks.base import Ending
        from realtime.sinks.jsonl import JsonLinesSink
        from realtime.sinks.window import WindowSink

        sinks: list[Sink] = []
        with ExitStack() as opened:
            if self.window:
                instead = "--no-window --record OUT.mp4" if source.is_live else "--out OUT.mp4"
                sinks.append(WindowSink("realtime", paced=not source.is_live, instead=instead))
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


def _run(
    source: "FrameSource",
    detector: "OnnxDetector",
    outputs: _Outputs,
    threshold: float | None,
    max_frames: int | None,
    duration_s: float | None = None,
) -> None:
    """Run the pipeline, which closes all that is opened here, and say what was done."""
    from realtime.pipeline import Pipeline

    with StopRequests() as requests:
        try:
            sinks = outputs.open(source, detector.metadata.class_names)
        except BaseException:
            source.close()
            raise
        pipeline = Pipeline(
            source, detector, sinks, threshold=_threshold(threshold, detector), show_status=source.is_live
        )
        requests.call(pipeline.stop)
        _say_provider(detector)
        stats = pipeline.run(max_frames=max_frames, duration_s=duration_s)
    infer = stats.stages_ms.get("infer", {"p50": 0.0})
    dropped = f", {stats.dropped} dropped" if source.is_live else ""
    typer.echo(
        f"{stats.frames} frames, {stats.frames_per_s:.1f} frames/s, inference {infer['p50']:.1f} ms{dropped}", err=True
    )
    _exit_if_stopped(requests)


def _exit_if_stopped(requests: StopRequests, message: str | None = None) -> None:
    if requests.exit_code is not None:
        if message:
            typer.echo(message, err=True)
        raise typer.Exit(requests.exit_code)


def _detector(model: str, provider: Provider) -> "OnnxDetector":
    from realtime.detector import OnnxDetector, find_model

    return OnnxDetector(find_model(model), provider=provider)


def _say_provider(detector: "OnnxDetector") -> None:
    if detector.fallback_reason:
        typer.echo(f"running on the CPU: {detector.fallback_reason}", err=True)


def _threshold(given: float | None, detector: "OnnxDetector") -> float:
    return detector.metadata.threshold if given is None else given


def _check_outputs(*outputs: Path | None, originals: Sequence[Path] = ()) -> None:
    paths = [path for path in outputs if path is not None]
    if len({path.resolve() for path in paths}) < len(paths):
        raise SinkError(f"cannot write {paths[0]}: it is given for two outputs")
    for path in paths:
        if path.resolve() in {original.resolve() for original in originals}:
            raise SinkError(f"cannot write {path}: it is the input itself; choose another name")


def run_cli() -> None:
    """Entry point: one line on stderr and exit code 1 for what the user can mend; 130 after Ctrl+C, 143 on SIGTERM."""
    raise_on_signals()
    # OpenCV would print lines of its own for a camera or picture that it cannot open; it reads this when imported.
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    try:
        app()
    except RealtimeError as error:
        if "--debug" in sys.argv:
            raise
        typer.echo(f"error: {error}", err=True)
        sys.exit(1)
    except Stopped as stopped:
        if "--debug" in sys.argv:
            raise
        typer.echo("stopped", err=True)
        sys.exit(stopped.exit_code)

"""What the commands share: loading the model, running the pipeline, saying how it ended."""

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import typer

from realtime.errors import RealtimeError, SinkError, one_line
from realtime.inference.providers import Provider
from realtime.redaction import redacted
from realtime.stopping import StopRequests
from realtime.wording import error_line

if TYPE_CHECKING:
    from realtime.commands.outputs import Outputs
    from realtime.inference.detector import OnnxDetector
    from realtime.sources.base import FrameSource

Source = TypeVar("Source", bound="FrameSource")


def run(
    source: "FrameSource",
    detector: "OnnxDetector",
    outputs: "Outputs",
    threshold: float | None,
    max_frames: int | None,
    duration_s: float | None = None,
    *,
    raw: bool = False,
    blur: str | None = None,
    name: str = "",
) -> None:
    """Run the pipeline, which closes all that is opened here, and say what was done.

    ``raw``: boxes as the detector gives them; ``blur``: names of what is hidden, in place of drawing boxes;
    ``name``: of the file, where there are several.
    """
    from realtime.controls import Controls
    from realtime.drawing.hiding import Pixelate
    from realtime.pipeline import Pipeline

    controls = Controls(chosen_threshold(threshold, detector))
    with StopRequests() as requests:
        names = detector.metadata.class_names
        try:
            hider = Pixelate(names, blur) if blur is not None else None
            live = None
            if outputs.window:
                # First of all, since there may be no display; but last in the row: its keys count from the next frame.
                from realtime.commands.live import open_window

                live = open_window(source, detector, outputs, controls, hider)
            sinks = outputs.open(source)
        except BaseException:
            source.close()
            raise
        if live:
            sinks += [live.recorder, live.window]
        on_idle = live.window.refresh if live else None
        pipeline = Pipeline(source, detector, sinks, controls, on_idle=on_idle, raw=raw, renderer=hider)
        requests.call(pipeline.stop)
        stats = pipeline.run(max_frames=max_frames, duration_s=duration_s)
    infer = stats.stages_ms.get("infer", {"p50": 0.0})
    dropped = f", {stats.dropped} dropped" if source.is_live else ""
    title = f"{name}: " if name else ""
    each = f"{infer['p50']:.1f} ms" + (f" ({detector.concurrency} at a time)" if detector.concurrency > 1 else "")
    did = f"{title}{stats.frames} frames, {stats.frames_per_s:.1f} frames/s, inference {each}{dropped}"
    typer.echo(did, err=True)
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


def tell_error(error: RealtimeError) -> None:
    """One line for the user, as the whole command would end with."""
    typer.echo(f"error: {printable(error_line(error))}", err=True)


def printable(text: object) -> str:
    """One line that can be shown: file names and errors may hold anything, addresses given for files passwords."""
    return redacted(one_line(text, limit=2000))


def exit_if_stopped(requests: StopRequests, message: str | None = None) -> None:
    """End the command with the code of the signal that stopped it, if one did; ``message`` says what was done."""
    if requests.exit_code is not None:
        if message:
            typer.echo(message, err=True)
        raise typer.Exit(requests.exit_code)


def open_detector(model: str, provider: Provider, *, concurrency: int = 1) -> "OnnxDetector":
    """Load the model of that name or path; tell the user if it runs on the CPU for want of something better.

    ``concurrency``: frames at a time, as ``OnnxDetector`` takes it.

    Raises:
        ModelError: there is none, or it cannot be read.
        ProviderError: it does not run on ``provider`` here.
    """
    from realtime.inference.detector import OnnxDetector, find_model

    detector = OnnxDetector(find_model(model), provider=provider, concurrency=concurrency)
    if detector.fallback_reason:
        typer.echo(f"running on the CPU: {detector.fallback_reason}", err=True)
    if detector.cuda_graph_error:
        typer.echo(f"running without a CUDA graph, somewhat slower: {detector.cuda_graph_error}", err=True)
    if detector.provider is Provider.CPU and detector.metadata.precision == "float16":
        typer.echo(f"{model} is in half precision, for GPUs: slower on the CPU than the model in float32", err=True)
    return detector


def open_both(
    open_source: Callable[[], Source], load: Callable[[], "OnnxDetector"], provider: Provider
) -> tuple[Source, "OnnxDetector"]:
    """Open the source while another thread loads the model: neither needs the interpreter for long.

    A GPU's model is loaded first, by this thread, which is to run it.

    Raises:
        RealtimeError: of the source, or else of the model; the source is closed then.
    """
    from concurrent.futures import ThreadPoolExecutor

    import realtime.inference.detector  # noqa: F401 - before there are two threads that import
    from realtime.inference.cuda import unavailable_reason

    if provider is not Provider.CPU and unavailable_reason() is None:
        detector = load()
        return open_source(), detector
    with ThreadPoolExecutor(1, thread_name_prefix="load") as loader:
        loading = loader.submit(load)
        source = open_source()
    try:
        return source, loading.result()
    except BaseException:
        source.close()
        raise


def chosen_threshold(given: float | None, detector: "OnnxDetector") -> float:
    """The threshold that the user gave, or the model's own."""
    return detector.metadata.threshold if given is None else given

"""``realtime video``."""

from dataclasses import dataclass
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
    seconds,
)
from realtime.commands.outputs import Outputs, check_blur, check_outputs
from realtime.commands.running import open_both, open_detector, printable, run, tell_error
from realtime.errors import RealtimeError, SinkError, SourceError
from realtime.inference.cores import file_concurrency
from realtime.inference.providers import Provider

if TYPE_CHECKING:
    from realtime.batch.videos import Job
    from realtime.inference.detector import OnnxDetector
    from realtime.sinks.encoding import Encoding
    from realtime.sources.video_file import VideoFileSource


@dataclass(frozen=True, slots=True, kw_only=True)
class _Settings:
    """What is done with each video."""

    encoding: "Encoding"
    start_s: float
    duration_s: float | None
    threshold: float | None
    max_frames: int | None
    blur: str | None
    raw: bool
    captures: Path


def video(
    videos: Annotated[
        list[str], typer.Argument(metavar="VIDEO...", help="Video files, folders of them, or 'a/*.mp4'.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="Write the drawn video, with the original's sound, to this file, or folder for several."),
    ] = None,
    jsonl: JsonLines = None,
    captures: Captures = Path(),
    csv: Csv = None,
    crops: Crops = None,
    blur: BlurLabels = None,
    start: Annotated[str, typer.Option(metavar="TIME", help="Begin here: seconds or hh:mm:ss.")] = "0",
    duration: Annotated[str | None, typer.Option(metavar="TIME", help="End after this time of the video.")] = None,
    codec: Annotated[str | None, typer.Option(help="h264 (default), hevc, av1 or vp9 (default in .webm).")] = None,
    crf: Annotated[int | None, typer.Option(min=0, max=63, help="Quality: lower is better and larger.")] = None,
    model: Model = "nano",
    provider: ProviderOption = Provider.AUTO,
    threshold: Threshold = None,
    raw: Raw = False,
    max_frames: MaxFrames = None,
) -> None:
    """Detect in every frame of video files. With nothing to write, they are shown in a window.

    With several videos, or a folder of them, --out, --jsonl, --csv and --crops name folders.
    """
    from realtime.batch.videos import find_videos, make_folders, plan
    from realtime.sinks.encoding import Encoding, choose

    start_s = seconds(start, "--start")
    duration_s = seconds(duration, "--duration") if duration else None
    found = find_videos(videos)
    many = len(found) > 1 or [str(path) for path in found] != [str(Path(text)) for text in videos]
    encoding = Encoding(codec, crf)
    check_blur(blur, crops, shown=out is not None or not (jsonl or csv))
    if not out and encoding != Encoding():
        raise SinkError("--codec and --crf say how a video is written: add --out")
    jobs = plan(found, many=many, out=out, jsonl=jsonl, csv=csv, crops=crops)
    check_outputs(*(path for job in jobs for path in job.targets), originals=found)
    for job in jobs:
        if job.out:
            choose(job.out, encoding)
    # A window shows frames as they come, and lets the user hold them.
    is_shown = not any(jobs[0].targets)
    load = partial(open_detector, model, provider, concurrency=1 if is_shown else file_concurrency())
    settings = _Settings(
        encoding=encoding,
        start_s=start_s,
        duration_s=duration_s,
        threshold=threshold,
        max_frames=max_frames,
        blur=blur,
        raw=raw,
        captures=captures,
    )
    if many:
        detector = load()
        make_folders((out, jsonl, csv, crops))
        _process_all(jobs, settings, detector)
    else:
        source, detector = open_both(lambda: _open(jobs[0], settings), load, provider)
        _process(jobs[0], settings, source, detector)


def _process_all(jobs: list["Job"], settings: _Settings, detector: "OnnxDetector") -> None:
    """One after another; what is wrong with one does not stop the others."""
    failed: list[str] = []
    for number, job in enumerate(jobs, start=1):
        try:
            name = f"[{number}/{len(jobs)}] {printable(job.video)}"
            _process(job, settings, _open(job, settings), detector, name)
        except RealtimeError as error:
            tell_error(error)
            failed.append(printable(job.video))
        except typer.Exit:
            typer.echo(f"stopped in video {number} of {len(jobs)}", err=True)
            raise
    failures = f", {len(failed)} with errors: {', '.join(failed)}" if failed else ""
    typer.echo(f"{len(jobs)} video{'s' * (len(jobs) > 1)}{failures}", err=True)
    if failed:
        raise typer.Exit(1)


def _open(job: "Job", settings: _Settings) -> "VideoFileSource":
    from realtime.sources.video_file import VideoFileSource

    return VideoFileSource(job.video, start_s=settings.start_s, duration_s=settings.duration_s)


def _process(
    job: "Job", settings: _Settings, source: "VideoFileSource", detector: "OnnxDetector", name: str = ""
) -> None:
    """Run one video through.

    Raises:
        RealtimeError: it, or one of the outputs, is not what it should be; damage is told when all else is done.
    """
    window = not any(job.targets)
    progress = None if window else name or printable(job.video.name)
    outputs = Outputs(
        window=window, video=job.out, jsonl=job.jsonl, csv=job.csv, crops=job.crops, original=source,
        encoding=settings.encoding, progress=progress, captures=settings.captures,
    )  # fmt: skip
    run(
        source, detector, outputs, settings.threshold, settings.max_frames,
        raw=settings.raw, blur=settings.blur, name=name,
    )  # fmt: skip
    errors = source.errors + outputs.audio_errors
    if errors:
        raise SourceError(f"{job.video} is damaged: {errors}. What could be read is kept")
    if errors.audio_tracks:
        typer.echo(f"{printable(job.video)}: {errors}", err=True)

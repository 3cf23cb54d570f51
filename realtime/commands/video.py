"""``realtime video``."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from realtime.commands.batching import (
    BatchOptions,
    CpusPerWorker,
    DryRun,
    FileTimeout,
    GpusPerWorker,
    On,
    Resume,
    Workers,
)
from realtime.commands.console import Notices, print_error, print_message, printable
from realtime.commands.opening import open_both, open_detector, speed_notices
from realtime.commands.options import (
    ENCODING,
    OUTPUT,
    SOURCE,
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
    Margin,
    MaxFrames,
    Model,
    ProviderOption,
    Raw,
    ReachOption,
    Sides,
    StyleOption,
    Threshold,
    WindowScale,
    chosen_hiding,
    chosen_reach,
    chosen_style,
    seconds,
)
from realtime.commands.outputs import Outputs, check_hiding, check_outputs
from realtime.commands.running import RunOptions, run
from realtime.drawing.styles import Labels, Shape
from realtime.errors import RealtimeError, SinkError
from realtime.file_names import DASH, input_path
from realtime.formatting import counted
from realtime.inference.cores import file_concurrency
from realtime.inference.providers import Provider

if TYPE_CHECKING:
    from realtime.batch.inputs import Inputs
    from realtime.batch.videos import Job, Targets
    from realtime.commands.video_worker import Settings
    from realtime.inference.detector import OnnxDetector
    from realtime.sources.video_file import VideoFileSource


def video(
    videos: Annotated[
        list[str],
        typer.Argument(
            metavar="VIDEO", help="Video files, folders of them, or patterns such as 'a/*.mp4'; - is standard input."
        ),
    ],
    start: Annotated[
        str, typer.Option(metavar="TIME", help="Start here: seconds or hh:mm:ss.", rich_help_panel=SOURCE)
    ] = "0",
    duration: Annotated[
        str | None, typer.Option(metavar="TIME", help="Stop after this time of the video.", rich_help_panel=SOURCE)
    ] = None,
    max_frames: MaxFrames = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Write the drawn video, with the original's sound, to this file; for several, to this folder.",
            rich_help_panel=OUTPUT,
        ),
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
    codec: Annotated[
        str | None, typer.Option(help="h264 (default), hevc, av1 or vp9 (default in .webm).", rich_help_panel=ENCODING)
    ] = None,
    crf: Annotated[
        int | None,
        typer.Option(min=0, max=63, help="Quality: a lower number is a better, larger file.", rich_help_panel=ENCODING),
    ] = None,
    model: Model = "nano",
    provider: ProviderOption = Provider.AUTO,
    threshold: Threshold = None,
    reach: ReachOption = None,
    raw: Raw = False,
    captures: Captures = Path(),
    window_scale: WindowScale = None,
    resume: Resume = False,
    dry_run: DryRun = False,
    workers: Workers = None,
    file_timeout: FileTimeout = None,
    on: On = None,
    cpus_per_worker: CpusPerWorker = 1,
    gpus_per_worker: GpusPerWorker = 0,
) -> None:
    """Detect in every frame of video files. With nothing to write, they are shown in a window.

    With several videos, or a folder of them, --out, --jsonl, --csv and --crops name folders.
    """
    from realtime.batch.addresses import url_of
    from realtime.batch.videos import Targets, find_videos
    from realtime.commands.video_batch import do_videos
    from realtime.commands.video_worker import Settings, VideoSpec, open_video_file
    from realtime.sinks.encoding import Encoding

    hiding = chosen_hiding(blur, hide, hide_classes, shape, margin)
    settings = Settings(
        encoding=Encoding(codec, crf),
        start_s=seconds(start, "--start"),
        duration_s=seconds(duration, "--duration") if duration else None,
        captures=captures,
        run=RunOptions(
            threshold=threshold,
            max_frames=max_frames,
            raw=raw,
            hiding=hiding,
            reach=chosen_reach(reach, hides=hiding is not None),
            style=chosen_style(style, labels, line=line, font_scale=font_scale, fill=fill, sides=sides),
            window_scale=window_scale,
        ),
    )
    targets = Targets(out=out, jsonl=jsonl, csv=csv, crops=crops)
    batch = BatchOptions(
        resume=resume,
        dry_run=dry_run,
        workers=workers,
        limit_s=seconds(file_timeout, "--file-timeout") if file_timeout else None,
        on=on,
        cpus_per_worker=cpus_per_worker,
        gpus_per_worker=gpus_per_worker,
    )
    batch.check_written(*(path for path in targets.paths if path != DASH))
    inputs = find_videos(videos, targets.paths)
    many = len(inputs.places) > 1 or list(inputs.places) != [input_path(text) for text in videos]
    jobs = _plan(inputs, targets, settings, many=many)
    if targets.paths and (many or not batch.is_default or any(map(url_of, [*inputs.places, *targets.paths]))):
        do_videos(jobs, targets, VideoSpec(model, provider, settings), batch, inputs.notices, many=many)
        return
    # A window shows frames as they come, and lets the user hold them.
    concurrency = file_concurrency() if targets.paths else 1
    load = partial(open_detector, model, provider, concurrency=concurrency)
    if many:
        detector = load()
        notices = speed_notices(detector, model, is_live=not targets.paths) + inputs.notices
        _show_all(jobs, settings, detector, Notices(notices))
    else:
        source, detector = open_both(lambda: open_video_file(jobs[0].video, settings), load, provider)
        notices = speed_notices(detector, model, is_live=not targets.paths) + inputs.notices
        _process(jobs[0], settings, source, detector, Notices(notices))


def _plan(inputs: "Inputs", targets: "Targets", settings: "Settings", *, many: bool) -> list["Job"]:
    """What goes where, checked as far as it can be before a video is opened."""
    from realtime.batch.videos import plan
    from realtime.sinks.encoding import Encoding, choose

    check_hiding(
        settings.run.hiding, targets.crops, shown=targets.out is not None or not (targets.jsonl or targets.csv)
    )
    if not targets.out and settings.encoding != Encoding():
        raise SinkError("--codec and --crf say how a video is written: add --out")
    jobs = plan(inputs.places, targets, many=many)
    check_outputs(*(path for job in jobs for path in job.targets.paths), originals=inputs.places)
    for job in jobs:
        if job.targets.out:
            choose(job.targets.out, settings.encoding)
    return jobs


def _show_all(jobs: Sequence["Job"], settings: "Settings", detector: "OnnxDetector", notices: Notices) -> None:
    """One after another in a window; what is wrong with one does not stop the others."""
    from realtime.commands.video_worker import open_video_file

    failed: list[str] = []
    for number, job in enumerate(jobs, start=1):
        try:
            title = f"[{number}/{len(jobs)}] {printable(job.video)}"
            _process(job, settings, open_video_file(job.video, settings), detector, notices, title)
        except RealtimeError as error:
            print_error(error)
            failed.append(printable(job.video))
        except typer.Exit:
            print_message(f"stopped in video {number} of {len(jobs)}")
            raise
    failures = f", {len(failed)} with errors: {', '.join(failed)}" if failed else ""
    print_message(f"{counted(len(jobs), 'video')}{failures}")
    if failed:
        raise typer.Exit(1)


def _process(
    job: "Job",
    settings: "Settings",
    source: "VideoFileSource",
    detector: "OnnxDetector",
    notices: Notices,
    title: str = "",
) -> None:
    """Run one video through.

    Raises:
        RealtimeError: it, or one of the outputs, is not what it should be; damage is reported when all else is done.
    """
    from realtime.commands.video_worker import damage

    targets = job.targets
    is_shown = not targets.paths
    outputs = Outputs(
        window=is_shown, video=targets.out, jsonl=targets.jsonl, csv=targets.csv, crops=targets.crops,
        original=source, encoding=settings.encoding, captures=settings.captures,
        progress=None if is_shown else title or printable(job.video.name),
    )  # fmt: skip
    run(source, detector, outputs, settings.run, notices, title=f"{title}: " if title else "")
    errors = source.errors + outputs.audio_errors
    if errors:
        raise damage(job.video, errors)
    if errors.audio_tracks:
        print_message(f"{printable(job.video)}: {errors}")

"""``realtime video``."""

from pathlib import Path
from typing import Annotated

import typer

from realtime.commands.arguments import Captures, JsonLines, MaxFrames, Model, ProviderOption, Raw, Threshold
from realtime.commands.running import Outputs, check_outputs, open_detector, run
from realtime.providers import Provider


def video(
    path: Annotated[Path, typer.Argument(metavar="VIDEO", help="Video file.")],
    out: Annotated[
        Path | None, typer.Option(help="Write the drawn video (H.264, with the original's sound) to this file.")
    ] = None,
    jsonl: JsonLines = None,
    captures: Captures = Path(),
    model: Model = "nano",
    provider: ProviderOption = Provider.AUTO,
    threshold: Threshold = None,
    raw: Raw = False,
    max_frames: MaxFrames = None,
) -> None:
    """Detect in every frame of a video file. Without --out and --jsonl it is shown in a window."""
    from realtime.sources.video_file import VideoFileSource

    check_outputs(out, jsonl, originals=[path])
    outputs = Outputs(window=not (out or jsonl), video=out, jsonl=jsonl, sound=path, captures=captures)
    detector = open_detector(model, provider)
    run(VideoFileSource(path), detector, outputs, threshold, max_frames, raw=raw)

"""``realtime cam``."""

from pathlib import Path
from typing import Annotated

import typer

from realtime.commands.arguments import BlurLabels, Crops, Csv, JsonLines, MaxFrames, Model, ProviderOption, Threshold
from realtime.commands.running import Outputs, check_blur, check_outputs, open_detector, run
from realtime.providers import Provider


def cam(
    device: Annotated[int, typer.Option(min=0, help="Number of the camera.")] = 0,
    window: Annotated[bool, typer.Option(help="Show the live picture; q or Esc ends.")] = True,
    record: Annotated[Path | None, typer.Option(help="Write the drawn video to this file.")] = None,
    jsonl: JsonLines = None,
    csv: Csv = None,
    crops: Crops = None,
    blur: BlurLabels = None,
    model: Model = "nano",
    provider: ProviderOption = Provider.AUTO,
    threshold: Threshold = None,
    max_frames: MaxFrames = None,
    duration: Annotated[float | None, typer.Option(min=0, help="Stop after this many seconds.")] = None,
) -> None:
    """Detect live from a camera."""
    from realtime.sources.camera import CameraSource

    check_outputs(record, jsonl, csv, crops)
    check_blur(blur, crops, shown=window or record is not None)
    detector = open_detector(model, provider)
    outputs = Outputs(window=window, video=record, jsonl=jsonl, csv=csv, crops=crops)
    run(CameraSource(device), detector, outputs, threshold, max_frames, duration, blur=blur)

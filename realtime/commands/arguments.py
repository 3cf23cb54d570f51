"""Options that several commands have."""

import re
from pathlib import Path
from typing import Annotated

import typer

from realtime.inference.providers import Provider

Model = Annotated[
    str,
    typer.Option(help="A model of the app (pico: fastest; mobile: finds most), or a file of python -m export onnx."),
]
ProviderOption = Annotated[Provider, typer.Option("--provider", help="Where the network runs; auto prefers CUDA.")]
Threshold = Annotated[
    float | None, typer.Option(min=0, max=1, help="Least score of a new box; by default the model's own.")
]
JsonLines = Annotated[Path | None, typer.Option("--jsonl", help="Write the detections as JSON lines.")]
Raw = Annotated[
    bool, typer.Option("--raw", help="Leave boxes as they are found, neither smoothed nor held through weak frames.")
]
MaxFrames = Annotated[int | None, typer.Option(min=1, help="Stop after this many frames.")]
Captures = Annotated[
    Path, typer.Option(metavar="DIR", help="Folder for the snapshots and recordings that the window's keys make.")
]
Csv = Annotated[Path | None, typer.Option("--csv", help="Write the detections as a table.")]
Crops = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Write a picture of every feature into this new folder.")
]
BlurLabels = Annotated[
    str | None,
    typer.Option("--blur", metavar="[LABEL,...]", help="Hide faces, or these features, in place of drawing boxes."),
]


def name_blurred(arguments: list[str]) -> list[str]:
    """The command line with "face" put after each ``--blur`` that no label follows; typer has no such options."""
    named = []
    for argument, following in zip(arguments, [*arguments[1:], "--"], strict=True):
        is_bare = argument == "--blur" and not re.fullmatch(r"|[^-./*?\\][^./*?\\]*", following)
        named.append("--blur=face" if is_bare else argument)
    return named


def seconds(text: str, option: str) -> float:
    """Seconds of "90", "1:30" or "0:01:30.5", given for ``option``.

    Raises:
        typer.BadParameter: it is none of these.
    """
    match = re.fullmatch(r"(?:(?:(\d+):)?(\d{1,2}):)?(\d+(?:\.\d*)?|\.\d+)", text)
    if match is None:
        raise typer.BadParameter(f"expected seconds or hh:mm:ss, found {text!r}", param_hint=option)
    hours, minutes, rest = match.groups(default="0")
    return 3600 * int(hours) + 60 * int(minutes) + float(rest)

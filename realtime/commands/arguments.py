"""Options that several commands have."""

from pathlib import Path
from typing import Annotated

import typer

from realtime.providers import Provider

Model = Annotated[
    str, typer.Option(help="A model that comes with the app (nano), or an ONNX file written by python -m export onnx.")
]
ProviderOption = Annotated[Provider, typer.Option("--provider", help="Where the network runs; auto prefers CUDA.")]
Threshold = Annotated[
    float | None, typer.Option(min=0, max=1, help="Least score of a box; by default the model's own.")
]
JsonLines = Annotated[Path | None, typer.Option("--jsonl", help="Write the detections as JSON lines.")]
Raw = Annotated[
    bool, typer.Option("--raw", help="Leave boxes as they are found, neither smoothed nor held through weak frames.")
]
MaxFrames = Annotated[int | None, typer.Option(min=1, help="Stop after this many frames.")]
Captures = Annotated[
    Path, typer.Option(metavar="DIR", help="Folder for the snapshots and recordings that the window's keys make.")
]

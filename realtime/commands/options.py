"""Options that several commands have, and the panels that their help is divided into."""

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from realtime.drawing.cover_shapes import CoverShape
from realtime.drawing.styles import Labels, Shape, Style
from realtime.inference.providers import Provider

if TYPE_CHECKING:
    from realtime.drawing.hiding import Hiding
    from realtime.regions.tiles import Reach

SOURCE, OUTPUT, DRAWING, HIDING = "Source", "Output", "Drawing", "Hiding faces"
WINDOW, DETECTION = "Window", "Detection"
ENCODING = "Video encoding"

Model = Annotated[
    str,
    typer.Option(
        help="A shipped model (pico is the fastest, mobile finds the most), or a file that realtime export onnx wrote.",
        rich_help_panel=DETECTION,
    ),
]
ProviderOption = Annotated[
    Provider,
    typer.Option("--provider", help="Where the network runs; auto prefers CUDA.", rich_help_panel=DETECTION),
]
Threshold = Annotated[
    float | None,
    typer.Option(
        min=0, max=1, help="Lowest score of a new box; by default the model's own.", rich_help_panel=DETECTION
    ),
]
ReachOption = Annotated[
    str | None,
    typer.Option(
        "--reach",
        metavar="auto|near|far|CxR",
        help="How far to look for faces: near looks at the whole image once; auto and far add tiles, such as 3x2, "
        "and close-ups of small faces. By default auto, and far for files in which faces are hidden.",
        rich_help_panel=DETECTION,
    ),
]
LiveReach = Annotated[
    str,
    typer.Option(
        "--reach",
        metavar="auto|near|far|CxR",
        help="How far to look for faces: near looks at each whole frame; auto and far also at a tile or close-ups of "
        "small faces, in turn, as far as time allows, and follow near faces in a part of the frame.",
        rich_help_panel=DETECTION,
    ),
]
Raw = Annotated[
    bool,
    typer.Option(
        "--raw",
        help="Leave boxes as they are found, neither smoothed nor held through weak frames.",
        rich_help_panel=DETECTION,
    ),
]
MaxFrames = Annotated[int | None, typer.Option(min=1, help="Stop after this many frames.", rich_help_panel=SOURCE)]
JsonLines = Annotated[
    Path | None,
    typer.Option("--jsonl", help="Write the detections as JSON lines; - is standard output.", rich_help_panel=OUTPUT),
]
Csv = Annotated[
    Path | None,
    typer.Option("--csv", help="Write the detections as a table; - is standard output.", rich_help_panel=OUTPUT),
]
Crops = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR", help="Write every feature as an image of its own into this new folder.", rich_help_panel=OUTPUT
    ),
]
BlurLabels = Annotated[
    str | None,
    typer.Option(
        "--blur",
        metavar="[LABEL,...]",
        help="Short for --hide pixelate; may name the features to hide.",
        rich_help_panel=HIDING,
    ),
]
Hide = Annotated[
    str | None,
    typer.Option(
        "--hide",
        metavar="pixelate|blur|solid|image:FILE",
        help="Hide faces instead of drawing boxes.",
        rich_help_panel=HIDING,
    ),
]
HideClasses = Annotated[
    str | None,
    typer.Option(
        "--hide-classes", metavar="LABEL,...", help="What --hide hides; by default face.", rich_help_panel=HIDING
    ),
]
CoverShapeOption = Annotated[
    CoverShape | None,
    typer.Option("--shape", help="Outline of what is hidden; by default box.", rich_help_panel=HIDING),
]
Margin = Annotated[
    float | None,
    typer.Option(
        min=0, max=5, help="Hidden around it, as a share of its longer side; by default 0.2.", rich_help_panel=HIDING
    ),
]
StyleOption = Annotated[
    Shape,
    typer.Option(
        "--style",
        help="What is drawn: boxes, the corners of faces and boxes of features, ellipses, dots, or faces alone.",
        rich_help_panel=DRAWING,
    ),
]
LabelsOption = Annotated[
    Labels,
    typer.Option("--labels", help="Write tags at all that is drawn, one a face, or none.", rich_help_panel=DRAWING),
]
Line = Annotated[
    int | None,
    typer.Option(
        "--line", min=2, max=100, help="Width of lines in pixels; by default by the image.", rich_help_panel=DRAWING
    ),
]
FontScale = Annotated[
    float,
    typer.Option(min=0.1, max=10, help="Size of letters, relative to the usual one.", rich_help_panel=DRAWING),
]
Fill = Annotated[
    bool,
    typer.Option("--fill", help="Tint features in place of drawing lines around them.", rich_help_panel=DRAWING),
]
Sides = Annotated[
    bool,
    typer.Option(
        "--sides", help="Write left eye, right eye …, the person's own, with --labels full.", rich_help_panel=DRAWING
    ),
]
Captures = Annotated[
    Path,
    typer.Option(
        metavar="DIR",
        help="Folder for the snapshots and recordings made with the keys s and r.",
        rich_help_panel=WINDOW,
    ),
]
WindowScale = Annotated[
    float | None,
    typer.Option(
        min=0.5,
        max=8,
        help="Size of letters and lines in the window, 1 for 96 dots per inch; by default what suits the screen.",
        rich_help_panel=WINDOW,
    ),
]


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


def chosen_style(
    style: Shape, labels: Labels, *, line: int | None, font_scale: float, fill: bool, sides: bool
) -> Style:
    """What the user wants drawn."""
    return Style(shape=style, labels=labels, line_px=line, font_scale=font_scale, fill=fill, sides=sides)


def chosen_hiding(
    blur: str | None, hide: str | None, classes: str | None, shape: CoverShape | None, margin: float | None
) -> "Hiding | None":
    """What the user wants hidden; None for nothing.

    Raises:
        typer.BadParameter: options that do not go together, or a way to hide that there is not.
        SourceError: the image to hide faces under cannot be read.
    """
    if blur is not None and hide is not None:
        raise typer.BadParameter("--blur is short for --hide pixelate; give one of them", param_hint="--hide")
    if blur is not None and classes is not None:
        raise typer.BadParameter("--blur names what is hidden already", param_hint="--hide-classes")
    if blur is None and hide is None:
        for option, value in (("--hide-classes", classes), ("--shape", shape), ("--margin", margin)):
            if value is not None:
                raise typer.BadParameter("needs --hide or --blur", param_hint=option)
        return None
    from realtime.drawing.covers import MARGIN, Cover
    from realtime.drawing.hiding import Hiding

    try:
        cover = Cover(
            how=hide or "pixelate",
            shape=shape or CoverShape.BOX,
            margin=MARGIN if margin is None else margin,
        )
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--hide") from error
    if blur is not None:
        return Hiding(classes=blur, cover=cover, parameter="blur")
    return Hiding(classes="face" if classes is None else classes, cover=cover)


def chosen_reach(given: str | None, *, hides: bool) -> "Reach":
    """The reach that the user gave, or that of files.

    What is not found stays readable, so files whose faces are hidden are searched as far as can be by default, and live
    frames as a whole.

    Raises:
        RegionError: there is no such reach.
    """
    from realtime.regions.tiles import Reach

    return replace(Reach.parse(given or ("far" if hides else "auto")), follows=not hides)

"""``realtime image``."""

from pathlib import Path
from typing import Annotated

import typer

from realtime.commands.console import Notices, exit_if_stopped, print_error, print_message, wrote
from realtime.commands.opening import chosen_threshold, open_detector, speed_notices
from realtime.commands.options import (
    OUTPUT,
    BlurLabels,
    JsonLines,
    Model,
    ProviderOption,
    ReachOption,
    Threshold,
    chosen_reach,
)
from realtime.commands.outputs import check_blur, check_outputs
from realtime.errors import SourceError
from realtime.formatting import counted
from realtime.inference.cores import file_concurrency
from realtime.inference.providers import Provider
from realtime.stopping import StopRequests


def image(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH", help="Images, or folders of them; - is standard input.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write the drawn images into this folder.", rich_help_panel=OUTPUT),
    ] = None,
    jsonl: JsonLines = None,
    blur: BlurLabels = None,
    model: Model = "nano",
    provider: ProviderOption = Provider.AUTO,
    threshold: Threshold = None,
    reach: ReachOption = None,
) -> None:
    """Detect in still images. Without --out and --jsonl the JSON lines are printed.

    A file that is not an image is reported and left out, one that is cut short only reported; the exit code is then 1.
    """
    from realtime.batch.images import detect_images, find_images
    from realtime.drawing.hiding import Pixelate
    from realtime.sinks.base import Ending
    from realtime.sinks.jsonl import JsonLinesFile
    from realtime.sinks.text_file import STANDARD_OUTPUT
    from realtime.stills import with_reach

    how_far = chosen_reach(reach, hides=blur is not None)
    jsonl = STANDARD_OUTPUT if out is None and jsonl is None else jsonl
    inputs = find_images(paths, [out])
    images = inputs.files
    check_blur(blur, crops=None, shown=out is not None)
    check_outputs(jsonl, originals=images)
    network = open_detector(model, provider, concurrency=min(len(images), file_concurrency()))
    notices = Notices(speed_notices(network, model) + inputs.notices)
    renderer = Pixelate(network.metadata.class_names, blur).still if blur is not None else None
    done = face_count = 0
    unreadable: list[SourceError] = []

    def skip(error: SourceError) -> None:
        print_error(error)
        unreadable.append(error)

    ending = Ending.FAILED
    with StopRequests() as requests:
        file = JsonLinesFile(jsonl) if jsonl else None
        try:
            for result in detect_images(
                images,
                with_reach(network, how_far),
                threshold=chosen_threshold(threshold, network),
                out=out,
                places=inputs.places,
                on_unreadable=skip,
                is_stopped=requests.is_stopped,
                renderer=renderer,
            ):
                notices.print()
                if file:
                    file.write_line(result.to_dict())
                face_count += len(result.faces)
                done += 1
            if done:
                ending = Ending.STOPPED if requests.exit_code else Ending.COMPLETE
        finally:
            if file:
                file.close(ending)
    if done:
        print_message(f"{counted(done, 'image')}, {counted(face_count, 'face')}{wrote(out, jsonl)}")
    exit_if_stopped(requests, f"stopped after {done} of {counted(len(images), 'image')}")
    _exit_if_unreadable(len(unreadable), len(images))


def _exit_if_unreadable(count: int, total: int) -> None:
    if not count:
        return
    if total > 1:
        print_message(f"{count} of {counted(total, 'image')} could not be read in full")
    raise typer.Exit(1)

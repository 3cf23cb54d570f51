"""``realtime image``."""

from pathlib import Path
from typing import Annotated

import typer

from realtime.commands.arguments import BlurLabels, JsonLines, Model, ProviderOption, Threshold
from realtime.commands.outputs import check_blur, check_outputs
from realtime.commands.running import chosen_threshold, exit_if_stopped, open_detector, print_result, tell_error
from realtime.errors import SourceError
from realtime.inference.cores import file_concurrency
from realtime.inference.providers import Provider
from realtime.stopping import StopRequests


def image(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Pictures, or folders of them.")],
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Write the drawn pictures into this folder.")] = None,
    jsonl: JsonLines = None,
    blur: BlurLabels = None,
    model: Model = "nano",
    provider: ProviderOption = Provider.AUTO,
    threshold: Threshold = None,
) -> None:
    """Detect in still pictures. Without --out and --jsonl the JSON lines are printed.

    A file that is no picture is named and left out; the exit code is then 1.
    """
    from realtime.batch.images import detect_images, find_images
    from realtime.drawing.hiding import Pixelate
    from realtime.sinks.base import Ending
    from realtime.sinks.jsonl import JsonLinesFile, json_line

    images = find_images(paths)
    check_blur(blur, crops=None, shown=out is not None)
    check_outputs(jsonl, originals=images)
    detector = open_detector(model, provider, concurrency=min(len(images), file_concurrency()))
    renderer = Pixelate(detector.metadata.class_names, blur).still if blur is not None else None
    min_score = chosen_threshold(threshold, detector)
    done = 0
    unreadable: list[SourceError] = []

    def skip(error: SourceError) -> None:
        tell_error(error)
        unreadable.append(error)

    ending = Ending.FAILED
    with StopRequests() as requests:
        file = JsonLinesFile(jsonl) if jsonl else None
        try:
            for result in detect_images(
                images, detector, threshold=min_score, out=out, on_unreadable=skip, is_stopped=requests.is_stopped,
                renderer=renderer,
            ):  # fmt: skip
                if file:
                    file.write_line(result.to_dict())
                elif not out:
                    print_result(json_line(result.to_dict()))
                done += 1
            if done:
                ending = Ending.STOPPED if requests.exit_code else Ending.COMPLETE
        finally:
            if file:
                file.close(ending)
    exit_if_stopped(requests, f"stopped after {done} of {len(images)} pictures")
    if unreadable:
        if len(images) > 1:
            typer.echo(f"{len(unreadable)} of {len(images)} pictures could not be read", err=True)
        raise typer.Exit(1)

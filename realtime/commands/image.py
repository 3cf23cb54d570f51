"""``realtime image``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from realtime.commands.console import Notices, exit_if_stopped, print_error, print_message, printable, wrote
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

if TYPE_CHECKING:
    from realtime.results import Result


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
    tally = _Tally(blur)
    with StopRequests() as requests:
        file = JsonLinesFile(jsonl) if jsonl else None
        ending = Ending.FAILED
        try:
            for result in detect_images(
                images,
                with_reach(network, how_far),
                threshold=chosen_threshold(threshold, network),
                out=out,
                places=inputs.places,
                on_unreadable=tally.skip,
                is_stopped=requests.is_stopped,
                renderer=renderer,
            ):
                notices.print()
                if file:
                    file.write_line(result.to_dict())
                tally.add(result)
            if tally.images:
                ending = Ending.STOPPED if requests.exit_code else Ending.COMPLETE
        finally:
            if file:
                file.close(ending)
    tally.print(out, jsonl)
    exit_if_stopped(requests, f"stopped after {tally.images} of {counted(len(images), 'image')}")
    _exit_if_unreadable(tally.unreadable, len(images))


class _Tally:
    """What was found, for the lines at the end."""

    def __init__(self, hidden: str | None) -> None:
        self.images = self.unreadable = self._faces = 0
        self._hidden = hidden
        self._unsure: list[str] = []

    def skip(self, error: SourceError) -> None:
        """Report a file that could not be read, or not in full."""
        print_error(error)
        self.unreadable += 1

    def add(self, result: "Result") -> None:
        """Count an image."""
        from realtime.commands.unsure import is_unsure

        self.images += 1
        self._faces += len(result.faces)
        if self._hidden is not None and is_unsure(result, self._hidden):
            self._unsure.append(printable(result.path))

    def print(self, *outputs: Path | None) -> None:
        """Say what was done, if anything was."""
        from realtime.commands.unsure import images_report

        if self.images:
            print_message(f"{counted(self.images, 'image')}, {counted(self._faces, 'face')}{wrote(*outputs)}")
        if self._unsure:
            print_message(images_report(self._unsure))


def _exit_if_unreadable(count: int, total: int) -> None:
    if not count:
        return
    if total > 1:
        print_message(f"{count} of {counted(total, 'image')} could not be read in full")
    raise typer.Exit(1)

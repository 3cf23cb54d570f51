"""``realtime label``."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from realtime.commands.console import Notices, exit_if_stopped, print_error, print_message, wrote
from realtime.commands.opening import chosen_threshold, open_detector, speed_notices
from realtime.commands.options import OUTPUT, SOURCE, Model, ProviderOption, ReachOption, Threshold, chosen_reach
from realtime.formatting import counted
from realtime.inference.cores import file_concurrency
from realtime.inference.providers import Provider
from realtime.stopping import StopRequests

if TYPE_CHECKING:
    from realtime.errors import SourceError
    from realtime.labelling.data_set import DataSet


class Format(StrEnum):
    """How the labels are written."""

    YOLO = "yolo"
    COCO = "coco"
    LABEL_STUDIO = "label-studio"
    CVAT = "cvat"


def label(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH", help="Photos and videos, or folders of them.")],
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder of the data set; a new or empty one.", rich_help_panel=OUTPUT)
    ],
    label_format: Annotated[
        Format,
        typer.Option(
            "--format",
            help="yolo is what realtime train reads; the others are for a labelling tool.",
            rich_help_panel=OUTPUT,
        ),
    ] = Format.YOLO,
    review: Annotated[
        bool, typer.Option("--review", help="Write review.html, a page of the doubtful images.", rich_help_panel=OUTPUT)
    ] = False,
    every: Annotated[
        int, typer.Option(min=1, help="Of a video, take one frame in so many.", rich_help_panel=SOURCE)
    ] = 30,
    keep_duplicates: Annotated[
        bool,
        typer.Option(
            "--keep-duplicates",
            help="Take frames that resemble an earlier one of their video too.",
            rich_help_panel=SOURCE,
        ),
    ] = False,
    model: Model = "nano",
    provider: ProviderOption = Provider.AUTO,
    threshold: Threshold = None,
    reach: ReachOption = None,
) -> None:
    """Make a data set of your own photos and videos, with the detections as its labels.

    Correct them in a labelling tool, the least certain images first: they are in that order in the lists, in the
    files for labelling tools and in images.csv. realtime train prepare reads what such a tool exports.
    """
    from realtime.labelling.data_set import DataSet
    from realtime.labelling.inputs import Candidates, find_inputs
    from realtime.stills import with_reach

    inputs = find_inputs(paths, [out])
    network = open_detector(model, provider, concurrency=min(len(inputs.files), file_concurrency()))
    detector = with_reach(network, chosen_reach(reach, hides=False))
    notices = Notices(speed_notices(network, model) + inputs.notices)
    unreadable: list[SourceError] = []

    def skip(error: "SourceError") -> None:
        print_error(error)
        unreadable.append(error)

    candidates = Candidates(inputs, every, skip, keep_duplicates=keep_duplicates)
    data_set = DataSet(out, network.metadata.class_names)
    try:
        with StopRequests() as requests:
            for _ in data_set.label(
                candidates, detector, chosen_threshold(threshold, network), skip, requests.is_stopped
            ):
                notices.print()
            if data_set.images:
                data_set.finish(label_format.value, review=review)
                _report(data_set, candidates.duplicates, out)
    finally:
        data_set.close()
    exit_if_stopped(requests, f"stopped after {counted(len(data_set.images), 'image')}")
    if unreadable:
        raise typer.Exit(1)


def _report(data_set: "DataSet", duplicates: int, out: Path) -> None:
    labels = sum(len(image.detections) for image in data_set.images)
    doubtful = sum(image.is_doubtful for image in data_set.images)
    left_out = f"; left out {counted(duplicates, 'frame')} like an earlier one" if duplicates else ""
    print_message(
        f"{counted(len(data_set.images), 'image')}, {counted(labels, 'label')}, {counted(doubtful, 'image')} doubtful"
        f"{left_out}{wrote(out)}"
    )

"""Many videos: finding them, and where the results of each go."""

import glob
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from realtime.batch.addresses import url_of
from realtime.batch.inputs import Inputs
from realtime.batch.video_probe import SUFFIXES, is_video
from realtime.errors import SinkError, SourceError, missing_file
from realtime.file_names import input_path
from realtime.sinks.encoding import CONTAINERS
from realtime.sinks.text_file import STANDARD_OUTPUT


def find_videos(given: Sequence[str], outputs: Iterable[Path | None] = ()) -> Inputs:
    """The files as given, the videos in and below the folders, and the files that patterns such as ``a/*.mp4`` match.

    Args:
        given: paths and patterns.
        outputs: what is written, which is no input.

    Raises:
        SourceError: a folder without videos, or a pattern that matches nothing.
    """
    inputs = Inputs("video", is_video, outputs)
    for text in given:
        path = input_path(text)
        if url_of(path):
            if not inputs.add_address(path, lambda found: found.suffix.lower() in SUFFIXES):
                raise SourceError(f"cannot open videos in {url_of(path)}: there are none", value=path)
        elif path.is_dir():
            if not inputs.add_folder(path):
                message = "; ".join([f"cannot open videos in {path}: the folder holds none", *inputs.notices])
                raise SourceError(message, value=path)
        elif not path.exists() and glob.has_magic(text):
            for match in _matches(text):
                inputs.add_file(match)
        else:
            inputs.add_file(path)
    return inputs


def _matches(pattern: str) -> list[Path]:
    names = glob.glob(pattern, recursive=True)  # noqa: PTH207 - a pattern may begin anywhere
    files = sorted(Path(name) for name in names if Path(name).is_file())
    if not files:
        raise missing_file("cannot open videos", pattern, "no file matches")
    return files


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """Where the results of a video go; of several, the folders that have them."""

    out: Path | None = None
    jsonl: Path | None = None
    csv: Path | None = None
    crops: Path | None = None

    @property
    def by_parameter(self) -> dict[str, Path]:
        """Those that were asked for."""
        given = {"out": self.out, "jsonl": self.jsonl, "csv": self.csv, "crops": self.crops}
        return {name: path for name, path in given.items() if path is not None}

    @property
    def paths(self) -> list[Path]:
        """The same without their names."""
        return list(self.by_parameter.values())


@dataclass(frozen=True, slots=True)
class Job:
    """One video and where its results go."""

    video: Path
    targets: Targets
    place: Path | None = None
    """Of several videos, where the results lie below the folders of results, named as the video is."""


def plan(places: Mapping[Path, Path], targets: Targets, *, many: bool) -> list[Job]:
    """Where the results of each video go: the paths as given, or files in them if there are many or they are folders.

    Args:
        places: of each video, where its results go below such a folder.
        targets: as the user gave them.
        many: whether they are folders.

    Raises:
        SinkError: several videos, and a target that is a file or standard output.
    """
    for parameter, path in targets.by_parameter.items() if many else ():
        if path == STANDARD_OUTPUT:
            raise SinkError("several videos need a folder, and this is standard output", parameter=parameter, value="-")
        if path.exists() and not path.is_dir():
            raise SinkError("several videos need a folder, and this is a file", parameter=parameter, value=path)
    return [
        Job(video, _targets_of(video, place, targets, many=many), place if many else None)
        for video, place in places.items()
    ]


def _targets_of(video: Path, place: Path, targets: Targets, *, many: bool) -> Targets:
    def target(path: Path | None, suffix: str) -> Path | None:
        is_folder = path is not None and path != STANDARD_OUTPUT and (many or path.is_dir())
        return path / place.with_name(f"{video.stem}{suffix}") if path is not None and is_folder else path

    return Targets(
        out=target(targets.out, video.suffix if video.suffix.lower() in CONTAINERS else ".mp4"),
        jsonl=target(targets.jsonl, ".jsonl"),
        csv=target(targets.csv, ".csv"),
        crops=target(targets.crops, "") if many else targets.crops,
    )

"""Many videos: finding them, and where the results of each go."""

import glob
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from realtime.errors import SinkError, SourceError
from realtime.sinks.encoding import CONTAINERS

SUFFIXES = frozenset(
    {".3gp", ".asf", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".ogv"}
    | {".ts", ".vob", ".webm", ".wmv"}
)
"""Ends of the names that are taken for videos in a folder."""


def find_videos(given: Sequence[str]) -> list[Path]:
    """The files as given, the videos directly in the folders, and the files that patterns such as ``a/*.mp4`` match.

    Raises:
        SourceError: a folder without videos, or a pattern that matches nothing.
    """
    found: list[Path] = []
    for text in given:
        path = Path(text)
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
            if not inside:
                raise SourceError(f"cannot open videos in {path}: the folder holds none")
            found += inside
        elif not path.exists() and glob.has_magic(text):
            names = glob.glob(text, recursive=True)  # noqa: PTH207 - a pattern may begin anywhere
            matching = sorted(Path(name) for name in names if Path(name).is_file())
            if not matching:
                raise SourceError(f"cannot open videos {text}: no file matches")
            found += matching
        else:
            found.append(path)
    return list(dict.fromkeys(found))


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One video and where its results go."""

    video: Path
    out: Path | None
    jsonl: Path | None
    csv: Path | None
    crops: Path | None

    @property
    def targets(self) -> tuple[Path | None, ...]:
        """All that is written."""
        return self.out, self.jsonl, self.csv, self.crops


def plan(
    videos: Sequence[Path], *, many: bool, out: Path | None, jsonl: Path | None, csv: Path | None, crops: Path | None
) -> list[Job]:
    """Where the results of each video go: the paths as given, or files in them if there are many or they are folders.

    Raises:
        SinkError: several videos, and a path that is a file.
    """
    for parameter, path in {"out": out, "jsonl": jsonl, "csv": csv, "crops": crops}.items():
        if many and path is not None and path.is_file():
            raise SinkError("several videos need a folder, and this is a file", parameter=parameter, value=path)

    def target(video: Path, path: Path | None, end: str) -> Path | None:
        is_folder = path is not None and (many or path.is_dir())
        return path / f"{video.stem}{end}" if path is not None and is_folder else path

    return [
        Job(
            video=video,
            out=target(video, out, video.suffix if video.suffix.lower() in CONTAINERS else ".mp4"),
            jsonl=target(video, jsonl, ".jsonl"),
            csv=target(video, csv, ".csv"),
            crops=crops / video.stem if crops is not None and many else crops,
        )
        for video in videos
    ]


def make_folders(folders: Iterable[Path | None]) -> None:
    """Make the folders that results of many videos go to.

    Raises:
        SinkError: the folder around one does not exist, say.
    """
    for folder in folders:
        try:
            if folder is not None:
                folder.mkdir(exist_ok=True)
        except OSError as error:
            raise SinkError(f"cannot make the folder {folder}: {error.strerror}") from error

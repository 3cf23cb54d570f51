"""Many videos: finding them, and where the results of each go."""

import glob
from collections.abc import Sequence
from pathlib import Path

from realtime.errors import SinkError, SourceError

SUFFIXES = frozenset(
    ".3gp .asf .avi .flv .m2ts .m4v .mkv .mov .mp4 .mpeg .mpg .mts .mxf .ogv .ts .vob .webm .wmv".split()
)
"""Ends of the names that are taken for videos in a folder."""
OUT_SUFFIXES = frozenset({".mp4", ".m4v", ".mov", ".mkv", ".webm"})


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
            matching = sorted(Path(name) for name in glob.glob(text, recursive=True) if Path(name).is_file())
            if not matching:
                raise SourceError(f"cannot open videos {text}: no file matches")
            found += matching
        else:
            found.append(path)
    return list(dict.fromkeys(found))


def target_in(folder: Path, video: Path, end: str | None) -> Path:
    """The file, or for ``end`` "" the folder, in ``folder`` that the results of ``video`` go to.

    ``end`` None keeps the video's own where a video of that kind can be written, else takes .mp4.
    """
    if end is None:
        end = video.suffix if video.suffix.lower() in OUT_SUFFIXES else ".mp4"
    return folder / f"{video.stem}{end}"


def folder_for_many(folder: Path, option: str) -> Path:
    """``folder``, made if it is not there.

    Raises:
        SinkError: it is a file, or the folder around it does not exist.
    """
    if folder.exists() and not folder.is_dir():
        raise SinkError(f"{option} {folder}: several videos need a folder, and this is a file")
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise SinkError(f"{option} {folder}: cannot make this folder: {error.strerror}") from error
    return folder

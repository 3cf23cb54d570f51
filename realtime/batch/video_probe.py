"""Which files of a folder are videos, by their names and by what FFmpeg finds in them."""

from functools import cache
from pathlib import Path

from realtime.ffmpeg import av, open_video

SUFFIXES = frozenset(
    {".3gp", ".asf", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".ogv"}
    | {".ts", ".vob", ".webm", ".wmv"}
)
"""Ends of names that stand for a video whatever the file holds, so that a damaged one in a folder is reported."""
NOT_VIDEO_FORMATS = frozenset({"image2", "image2pipe", "ico", "fits", "avif", "apng", "webp", "jpegxl_anim", "tty"})
"""FFmpeg's formats of still images and of text, which it renders."""
PLAYLISTS = frozenset({"hls", "dash", "concat"})
"""Formats that name other files, which may be anywhere in the network."""
STILL_SUFFIXES = frozenset({".avif", ".heic", ".heif", ".mpo"})
"""Still images in containers of video."""
NOT_MOVING = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails


def is_video(path: Path) -> bool:
    """Whether a file that was found in a folder is a video.

    A file with an ending that FFmpeg has for some format is opened, which takes milliseconds; others are not.
    """
    suffix = path.suffix.lower()
    return suffix in SUFFIXES or (suffix in _media_suffixes() and path.is_file() and _has_video(path))


@cache
def _media_suffixes() -> frozenset[str]:
    """Ends of the names of all files that FFmpeg reads or writes, still images and playlists left aside."""
    found: set[str] = set()
    for name in av.formats_available:
        for mode in ("r", "w"):
            try:
                kind = av.format.ContainerFormat(name, mode)
            except ValueError:  # it is only written, or only read
                continue
            if kind.name not in NOT_VIDEO_FORMATS | PLAYLISTS:
                found.update(f".{ending}" for ending in kind.extensions)
    return frozenset(found) - STILL_SUFFIXES


def _has_video(path: Path) -> bool:
    try:
        with open_video(path) as container:
            name = container.format.name
            if name.endswith("_pipe") or not {name, *name.split(",")}.isdisjoint(NOT_VIDEO_FORMATS | PLAYLISTS):
                return False
            videos = [stream for stream in container.streams.video if not stream.disposition & NOT_MOVING]
            return any(stream.codec_context is not None for stream in videos)
    except (av.FFmpegError, OSError, ValueError):
        return False

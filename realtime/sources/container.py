"""Video files, opened by PyAV (FFmpeg), and which of their streams is the video."""

from fractions import Fraction
from pathlib import Path

from realtime.errors import SourceError, missing_file
from realtime.ffmpeg import av, open_video
from realtime.sources.decode_errors import missing_bytes

NOT_VIDEO = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails
"""Streams of these kinds are covers and previews."""
CONVERT = "convert it to H.264"


def open_container(path: Path) -> av.container.InputContainer:
    """Open a file.

    Raises:
        SourceError: it is missing, is a folder, or is not a file that FFmpeg can read.
    """
    if not path.exists():
        raise missing_file("cannot open video", path)
    if path.is_dir():
        raise SourceError(f"cannot open video {path}: it is a folder", value=path)
    try:
        return open_video(path)
    except (av.FFmpegError, OSError, ValueError) as error:
        missing = missing_bytes(path) if path.is_file() else 0
        reason = f"it ends {missing} bytes early, and its index with it" if missing else _reason(error)
        raise SourceError(f"cannot open video {path}: not a readable video file ({reason})", value=path) from error


def video_stream(container: av.container.InputContainer, path: Path) -> av.VideoStream:
    """The default video stream, or the first one that can be decoded.

    Raises:
        SourceError: there is none.
    """
    if container.format.name == "tty":  # FFmpeg renders text files as video
        raise SourceError(f"cannot open video {path}: not a readable video file (it is text)", value=path)
    streams = [stream for stream in container.streams.video if not stream.disposition & NOT_VIDEO]
    if not streams:
        raise SourceError(f"cannot open video {path}: it has no video stream", value=path)
    streams = [stream for stream in streams if stream.codec_context is not None]
    if not streams:
        raise SourceError(
            f"cannot open video {path}: FFmpeg here cannot decode it: unknown codec", value=path, remedy=CONVERT
        )
    return next((s for s in streams if s.disposition & av.stream.Disposition.default), streams[0])


def has_timestamps(container: av.container.InputContainer) -> bool:
    """False for raw streams, whose frames follow each other at the stated rate."""
    return av.format.Flags.no_timestamps not in av.format.Flags(container.format.flags)


def stated_rate(container: av.container.InputContainer, stream: av.VideoStream) -> Fraction | None:
    """Nominal frames per second; None if the file does not say.

    For a raw stream, FFmpeg's average is a default of its own (25), and what the stream itself states is the guess.
    """
    rates = [stream.average_rate, stream.guessed_rate]
    return next(filter(None, rates if has_timestamps(container) else reversed(rates)), None)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)

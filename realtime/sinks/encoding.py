"""Video encoders and the containers that hold what they make."""

import os
from dataclasses import dataclass
from pathlib import Path

from realtime.errors import SinkError
from realtime.ffmpeg import av

CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}


@dataclass(frozen=True, slots=True)
class Codec:
    """A video coding and how to encode it fast enough to go along with detection."""

    encoder: str
    """FFmpeg's name."""
    containers: frozenset[str]
    """Where players expect it."""
    crf: int
    """Quality by default."""
    max_crf: int
    options: dict[str, str]


CODECS = {
    "h264": Codec("libx264", frozenset({"mp4", "mov", "matroska"}), 20, 51, {"preset": "veryfast"}),
    "hevc": Codec(
        "libx265", frozenset({"mp4", "mov", "matroska"}), 24, 51,
        {"preset": "ultrafast", "x265-params": "log-level=none"},
    ),
    "av1": Codec("libsvtav1", frozenset({"mp4", "matroska", "webm"}), 32, 63, {"preset": "10"}),
    "vp9": Codec(
        "libvpx-vp9", frozenset({"mp4", "matroska", "webm"}), 32, 63,
        {"b": "0", "deadline": "realtime", "cpu-used": "8", "row-mt": "1"},
    ),
}  # fmt: skip
os.environ.setdefault("SVT_LOG", "1")
"""Else the AV1 encoder tells about itself on standard error."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """What the user asks of the encoder."""

    codec: str | None = None
    """A key of ``CODECS``; by default VP9 in WebM and H.264 elsewhere."""
    crf: int | None = None
    """Constant rate factor: lower is better and larger; by default the codec's own."""


def container_of(path: Path) -> str:
    """FFmpeg's name of the container that the end of a name stands for.

    Raises:
        SinkError: an end that stands for none.
    """
    container = CONTAINERS.get(path.suffix.lower())
    if container is None:
        raise SinkError(f"cannot write {path}: use a name that ends in {', '.join(CONTAINERS)}")
    return container


def choose(path: Path, encoding: Encoding) -> tuple[Codec, dict[str, str]]:
    """The codec for a file, and the encoder's options.

    Raises:
        SinkError: the file's kind does not go with the codec, or the codec is unknown, or this FFmpeg lacks it.
    """
    container = container_of(path)
    name = encoding.codec or ("vp9" if container == "webm" else "h264")
    there = [known for known, codec in CODECS.items() if is_available(codec)]
    if name not in there:
        raise SinkError(f"--codec {name}: there is no encoder for it here; choose {', '.join(there)}")
    codec = CODECS[name]
    if container not in codec.containers:
        ends = [end for end, kind in CONTAINERS.items() if kind in codec.containers]
        fitting = [known for known in there if container in CODECS[known].containers]
        raise SinkError(
            f"cannot write {path}: {path.suffix} does not hold {name}. Use a name that ends in {', '.join(ends)}, "
            f"or --codec {' or '.join(fitting)}"
        )
    crf = codec.crf if encoding.crf is None else encoding.crf
    if crf > codec.max_crf:
        raise SinkError(f"--crf {crf}: {name} takes 0 (best) to {codec.max_crf}")
    return codec, codec.options | {"crf": str(crf)}


def is_available(codec: Codec) -> bool:
    """True if the FFmpeg that PyAV brings can encode it."""
    try:
        av.codec.Codec(codec.encoder, "w")
    except (av.codec.codec.UnknownCodecError, ValueError):
        return False
    return True

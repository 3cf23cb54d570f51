"""Video encoders and the containers that hold their streams."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2

from realtime.errors import Remedy, SinkError
from realtime.ffmpeg import av

CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}


@dataclass(frozen=True, slots=True)
class Codec:
    """A video codec, with settings fast enough to keep up with detection."""

    encoder: str
    """FFmpeg's name."""
    containers: frozenset[str]
    """Those in which players expect it."""
    crf: int
    """Default quality."""
    max_crf: int
    options: dict[str, str]


AVX512_SKX = 256
"""The instructions of Skylake-X in OpenCV's numbering of processor features; it has no name in Python."""


def _x264_options() -> dict[str, str]:
    """Settings with which the same frames become the same bytes each time.

    x264's mbtree, written for AVX-512, takes macroblocks eight at a time, and where a row is no multiple of eight it
    also adds what lies behind the row in memory, which differs from run to run (seen in x264 core 165). Processors with
    these instructions have AVX2 as well, for which x264 has everything too, and without the fault.
    """
    return {"x264-params": "asm=AVX2"} if cv2.checkHardwareSupport(AVX512_SKX) else {}


CODECS = {
    "h264": Codec(
        "libx264", frozenset({"mp4", "mov", "matroska"}), 20, 51, {"preset": "veryfast"} | _x264_options(),
    ),
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
"""Otherwise the AV1 encoder prints its settings to standard error."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """Settings of the encoder."""

    codec: str | None = None
    """A key of ``CODECS``; by default VP9 in WebM and H.264 elsewhere."""
    crf: int | None = None
    """Constant rate factor: lower is better and larger; by default the codec's own."""


def container_of(path: Path) -> str:
    """FFmpeg's name of the container that the suffix of a path stands for.

    Raises:
        SinkError: an unknown suffix.
    """
    container = CONTAINERS.get(path.suffix.lower())
    if container is None:
        raise SinkError(f"cannot write {path}: unknown kind of video", value=path, remedy=_use_suffix(CONTAINERS))
    return container


def choose(path: Path, encoding: Encoding) -> tuple[Codec, dict[str, str]]:
    """The codec for a file, and the encoder's options.

    Raises:
        SinkError: the container does not hold the codec, or the codec is unknown, or this FFmpeg lacks it.
    """
    container = container_of(path)
    name = encoding.codec or ("vp9" if container == "webm" else "h264")
    available = [known for known, codec in CODECS.items() if is_available(codec)]
    if name not in available:
        choices = f"choose {', '.join(available)}"
        raise SinkError("there is no encoder for it here", parameter="codec", value=name, remedy=choices)
    codec = CODECS[name]
    if container not in codec.containers:
        suffix = _use_suffix([suffix for suffix, kind in CONTAINERS.items() if kind in codec.containers])
        codecs = tuple(known for known in available if container in CODECS[known].containers)
        raise SinkError(
            f"cannot write {path}: {path.suffix} does not hold {name}",
            value=path,
            remedy=Remedy(suffix, parameter="codec", values=codecs),
        )
    crf = codec.crf if encoding.crf is None else encoding.crf
    if crf > codec.max_crf:
        raise SinkError(f"{name} takes 0 (best) to {codec.max_crf}", parameter="crf", value=crf)
    return codec, codec.options | {"crf": str(crf)}


def _use_suffix(suffixes: Iterable[str]) -> str:
    return f"use a name that ends in {', '.join(suffixes)}"


def is_available(codec: Codec) -> bool:
    """Whether PyAV's FFmpeg can encode it."""
    try:
        av.codec.Codec(codec.encoder, "w")
    except (av.codec.codec.UnknownCodecError, ValueError):
        return False
    return True

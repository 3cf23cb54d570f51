"""Small videos of the kinds that people really have."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

BT601 = (0.299, 0.114)
BT709 = (0.2126, 0.0722)
BT2020 = (0.2627, 0.0593)
"""Weights of red and blue in the luma of each standard."""
TO_BT2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])
"""BT.709's linear primaries in those of BT.2020 (ITU-R BT.2087)."""


@dataclass(kw_only=True)
class Kind:
    """What is special about a video."""

    frames: int = 12
    size_wh: tuple[int, int] = (64, 48)
    codec: str = "libx264"
    pix_fmt: str = "yuv420p"
    pts: Sequence[int] | None = None
    """In milliseconds; 25 frames/s by default."""
    tags: dict[str, int] = field(default_factory=dict)
    """Of the codec context: ``colorspace``, ``color_range``, ``color_trc``, ``color_primaries``."""
    planes: Sequence[tuple[int, int, int]] | None = None
    """Y, U and V of every pixel, by frame in turn; by default frames have the grey level 20 * index."""
    rotation: int | None = None
    hflip: bool = False
    languages: Sequence[str] = ()
    """Of the sound tracks, in each of which a tick begins at every whole second."""
    sound_codec: str = "aac"
    cover: bool = False
    options: dict[str, str] = field(default_factory=dict)
    sample_aspect_ratio: Fraction | None = None


RATE_HZ = 16_000
MILLISECONDS = Fraction(1, 1000)


def make(path: Path, kind: Kind) -> Path:
    """Write a video."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(kind.codec, rate=25, options={"bf": "0", "g": "10"} | kind.options)
        stream.width, stream.height, stream.pix_fmt = *kind.size_wh, kind.pix_fmt
        stream.codec_context.time_base = MILLISECONDS
        for name, value in kind.tags.items():
            setattr(stream.codec_context, name, value)
        if kind.sample_aspect_ratio:
            stream.codec_context.sample_aspect_ratio = kind.sample_aspect_ratio
        if kind.rotation is not None:
            stream.set_display_rotation(kind.rotation, hflip=kind.hflip)
        tracks = [container.add_stream(kind.sound_codec, rate=RATE_HZ, layout="mono") for _ in kind.languages]
        for track, language in zip(tracks, kind.languages, strict=True):
            track.metadata["language"] = language
        cover = container.add_stream("png", rate=1) if kind.cover else None
        if cover is not None:
            cover.width, cover.height, cover.pix_fmt = 200, 200, "rgb24"
            cover.disposition = av.stream.Disposition.attached_pic
        times = kind.pts or [40 * i for i in range(kind.frames)]
        for i, pts in enumerate(times):
            container.mux(stream.encode(_frame(kind, i, pts)))
            if cover is not None and i == 0:
                container.mux(cover.encode(av.VideoFrame.from_ndarray(np.zeros((200, 200, 3), np.uint8), "rgb24")))
        container.mux(stream.encode(None))
        for number, track in enumerate(tracks):
            _add_ticks(container, track, begin_s=times[0] / 1000, until_s=times[-1] / 1000 + 0.04, number=number)
    return path


def _frame(kind: Kind, index: int, pts: int) -> av.VideoFrame:
    frame = av.VideoFrame(*kind.size_wh, kind.pix_fmt)
    levels = kind.planes[index % len(kind.planes)] if kind.planes else (16 + 20 * index % 256 * 219 // 255, 128, 128)
    dtype = np.dtype("<u2" if "10" in kind.pix_fmt else "u1")
    for plane, level in zip(frame.planes, levels, strict=True):
        plane.update(np.full(plane.buffer_size // dtype.itemsize, level, dtype).tobytes())
    frame.pts, frame.time_base = pts, MILLISECONDS
    for name, value in kind.tags.items():
        setattr(frame, name, value)
    return frame


def _add_ticks(container, track, *, begin_s: float, until_s: float, number: int) -> None:
    """Sound that is silent but for 50 ms at the begin of every second; the pitch tells the track."""
    count = round((until_s - begin_s) * RATE_HZ)
    times = begin_s + np.arange(count) / RATE_HZ
    tone = 12_000 * np.sin(2 * np.pi * 1000 * (number + 1) * times) * (times % 1 < 0.05)
    sound = av.AudioFrame.from_ndarray(tone.astype(np.int16)[None], format="s16", layout="mono")
    sound.sample_rate = RATE_HZ
    fifo = av.AudioFifo()
    fifo.write(sound)
    samples = round(begin_s * RATE_HZ)
    while (block := fifo.read(1024, partial=True)) is not None:
        block.pts, block.time_base = samples, Fraction(1, RATE_HZ)
        samples += block.samples
        container.mux(track.encode(block))
    container.mux(track.encode(None))


def planes_of(rgb: Sequence[float], weights: tuple[float, float], *, full: bool = False, bits: int = 8):
    """Y, U and V of a colour with parts 0..1, by the definitions in ITU-R BT.709."""
    red, green, blue = rgb
    k_red, k_blue = weights
    luma = k_red * red + (1 - k_red - k_blue) * green + k_blue * blue
    chroma = (blue - luma) / (2 * (1 - k_blue)), (red - luma) / (2 * (1 - k_red))
    scale = 1 << (bits - 8)
    offset, luma_range, chroma_range = (0, 255, 255) if full else (16, 219, 224)
    return (
        round(scale * (offset + luma_range * luma)),
        *(round(scale * (128 + chroma_range * value)) for value in chroma),
    )


def pq(linear: np.ndarray) -> np.ndarray:
    """Light as a share of 10,000 cd/m2 in the transfer function of SMPTE ST 2084."""
    m1, m2 = 2610 / 16384, 2523 / 4096 * 128
    c1, c2, c3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
    power = linear**m1
    return ((c1 + c2 * power) / (1 + c3 * power)) ** m2


def hlg(linear: np.ndarray) -> np.ndarray:
    """Light of the scene, 0..1, in the transfer function of ARIB STD-B67."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(linear <= 1 / 12, np.sqrt(3 * linear), a * np.log(np.maximum(12 * linear - b, 1e-6)) + c)


def ticks_of(path: Path, track: int = 0) -> list[float]:
    """Seconds at which the ticks of a sound track begin."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[track]
        found, last_s = [], -1.0
        for frame in container.decode(stream):
            loud = np.flatnonzero(np.abs(frame.to_ndarray().astype(np.float64)).max(0) > 0.1 * _full_scale(frame))
            for time_s in float(frame.pts * frame.time_base) + loud / frame.sample_rate:
                if time_s > last_s + 0.3:
                    found.append(time_s)
                last_s = time_s
        return found


def _full_scale(frame: av.AudioFrame) -> float:
    return 1.0 if "flt" in frame.format.name else 32768.0

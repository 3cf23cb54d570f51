"""Images to measure with, made from the sample clip in any size: frames in memory, or a video with sound."""

import time
import wave
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import cycle, islice
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import typer
from steadiness import SAMPLE, read

from realtime.results import Result
from realtime.sinks.audio import Audio
from realtime.sinks.base import Ending
from realtime.sinks.video_file import VideoFileSink
from realtime.sources.base import FrameSource
from realtime.structures import Detections, Frame

T = TypeVar("T")
FRAME_RATE = Fraction(30)
NOISE = 3.0
"""Deviation of a sensor's noise in grey levels: what encoders and decoders have to do depends on it."""
NOISE_SHIFT_PX = 64
RATE_HZ = 48_000


class MemorySource(FrameSource):
    """Gives images that are there already, to and fro, so that reading costs next to nothing."""

    is_live = False
    frame_rate = FRAME_RATE
    time_base = 1 / FRAME_RATE

    def __init__(self, images: Sequence[np.ndarray], count: int) -> None:
        """``images``: uint8 (H,W,3) BGR; ``count``: frames to give."""
        self.size_wh = images[0].shape[1], images[0].shape[0]
        self._frames = enumerate(to_and_fro(images, count))

    def read(self) -> Frame | None:
        """The next frame."""
        for index, image in self._frames:
            return Frame(image, index, float(index * self.time_base), time.monotonic())
        return None

    def close(self) -> None:
        """Nothing is held."""


def to_and_fro(items: Sequence[T], count: int) -> Iterator[T]:
    """``count`` items, from the first to the last, back, and so on: motion goes on without a cut."""
    return islice(cycle([*items, *items[-2:0:-1]]), count)


def images(size_wh: tuple[int, int], count: int) -> list[np.ndarray]:
    """The sample clip's first frames, fewer if it ends, uint8 (H,W,3) BGR, read-only, with the noise of a camera."""
    width, height = size_wh
    rng = np.random.default_rng(0)
    noise = rng.normal(0, NOISE, (height + NOISE_SHIFT_PX, width + NOISE_SHIFT_PX, 3)).round().astype(np.int16)
    made = []
    for frame in read(SAMPLE, count):
        x, y = rng.integers(NOISE_SHIFT_PX, size=2)
        image = cv2.resize(frame.image, size_wh, interpolation=cv2.INTER_CUBIC)
        made.append(cv2.add(image, noise[y : y + height, x : x + width], dtype=cv2.CV_8U))
        made[-1].flags.writeable = False
    return made


def make_clip(path: Path, size_wh: tuple[int, int], frames: int, held: int = 48) -> Path:
    """Write a video with sound as the app writes them; ``held`` images of it are different."""
    sound = _make_sound(path.with_suffix(".wav"), float(frames / FRAME_RATE))
    source = MemorySource(images(size_wh, held), frames)
    sink = VideoFileSink(
        path, size_wh=size_wh, frame_rate=source.frame_rate, time_base=source.time_base, audio=Audio(sound)
    )
    ending = Ending.FAILED
    try:
        while (frame := source.read()) is not None:
            sink.write(Result(frame, Detections.empty(), frame.image))
        ending = Ending.COMPLETE
    finally:
        sink.close(ending)
        sound.unlink()
    return path


def _make_sound(path: Path, seconds: float) -> Path:
    """Two channels of a tone in noise."""
    times_s = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    tone = 6000 * np.sin(2 * np.pi * 440 * times_s)[:, None]
    samples = tone + np.random.default_rng(0).normal(0, 500, (len(times_s), 2))
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes(samples.astype("<i2").tobytes())
    return path


def size_of(text: str) -> tuple[int, int]:
    """Width and height from a text such as 1280x720."""
    width, by, height = text.partition("x")
    if not (by and width.isdigit() and height.isdigit() and int(width) and int(height)):
        raise typer.BadParameter(f"expected WIDTHxHEIGHT such as 1280x720, found {text!r}", param_hint="--size")
    return int(width), int(height)

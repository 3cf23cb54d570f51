"""Videos whose sound is a known noise, in any container and codec; and where that noise is heard in another file."""

import subprocess
import wave
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

RATE_HZ = 48_000
BAND_HZ = (200, 1500)
"""What every codec keeps, and little is lost of between two samples of the search."""
JOIN_S = 0.004
"""Frames that are off by less follow each other; timestamps of most containers are rounded."""
SEARCH_S, WINDOW_S = 0.2, 0.3
SEARCH_RATE_HZ = 8000


def noise(seconds: float, channels: int = 2, rate_hz: int = RATE_HZ) -> np.ndarray:
    """Noise that differs by channel and never repeats: float64 (channels, samples), within -0.5..0.5."""
    count = round(seconds * rate_hz)
    spectrum = np.fft.rfft(np.random.default_rng(7).normal(size=(channels, count)), axis=1)
    hertz = np.fft.rfftfreq(count, 1 / rate_hz)
    spectrum[:, (hertz < BAND_HZ[0]) | (hertz > BAND_HZ[1])] = 0
    samples = np.fft.irfft(spectrum, count, axis=1)
    return 0.5 * samples / np.abs(samples).max()


def make_sounding(
    path: Path, codec: str, sound: np.ndarray, *, rate_hz: int = RATE_HZ, video: str = "libx264", fps: int = 25,
    size: str = "64x48",
) -> Path:  # fmt: skip
    """A video with this sound, a key frame a second, made by the program ffmpeg."""
    source = path.with_suffix(".wav")
    with wave.open(str(source), "wb") as file:
        file.setnchannels(len(sound))
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes((sound.T * 32767).astype("<i2").tobytes())
    picture = f"testsrc=size={size}:rate={fps}:duration={sound.shape[1] / rate_hz}"
    subprocess.run(
        ["ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i", picture, "-i", str(source), "-c:v", video,
         "-pix_fmt", "yuv420p", "-g", str(fps), "-c:a", codec, "-strict", "-2", str(path)],
        check=True,
    )  # fmt: skip
    return path


@dataclass(frozen=True)
class Heard:
    """What a player would show and play of a file."""

    codec: str
    frame_times_s: list[float]
    sound: np.ndarray
    """float64 (channels, samples), from the first frame of the video on; 0 where nothing is played."""
    rate_hz: int

    @property
    def sound_s(self) -> float:
        return self.sound.shape[1] / self.rate_hz

    def lag_s(self, sound: np.ndarray, at_s: float, rate_hz: int = RATE_HZ) -> tuple[float, float]:
        """How much later than in ``sound`` the piece at a time is heard, and how well it correlates (1: equal)."""
        wanted = _resampled(sound, rate_hz, at_s, at_s + WINDOW_S)
        around = _resampled(self.sound, self.rate_hz, at_s - SEARCH_S, at_s + WINDOW_S + SEARCH_S)
        products = sum(np.correlate(a, w, "valid") for a, w in zip(around, wanted, strict=True))
        energies = sum(np.convolve(a**2, np.ones(wanted.shape[1]), "valid") for a in around)
        correlations = products / np.sqrt(energies * (wanted**2).sum() + 1e-12)
        best = int(np.argmax(correlations))
        return best / SEARCH_RATE_HZ - SEARCH_S, float(correlations[best])


def hear(path: Path) -> Heard:
    """Decode a file."""
    with av.open(str(path)) as container:
        times = [float(frame.pts * frame.time_base) for frame in container.decode(video=0)]
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        frames = [(_time_s(f), _planar(f), f.sample_rate) for f in container.decode(stream)]
        codec = stream.codec_context.codec.canonical_name
    rate_hz = frames[0][2]
    sound = np.zeros((len(frames[0][1]), round((max(time_s or 0 for time_s, _, _ in frames) + 3) * rate_hz)))
    end = None
    for time_s, samples, _ in frames:
        begin = end if time_s is None else round((time_s - times[0]) * rate_hz)
        begin = end if end is not None and abs(begin - end) < JOIN_S * rate_hz else begin
        end = begin + samples.shape[1]
        sound[:, max(begin, 0) : end] = samples[:, max(-begin, 0) :]
    return Heard(codec, times, sound[:, :end], rate_hz)


def _time_s(frame: av.AudioFrame) -> float | None:
    return None if frame.pts is None else float(frame.pts * frame.time_base)


def _planar(frame: av.AudioFrame) -> np.ndarray:
    samples, name = frame.to_ndarray().astype(np.float64), frame.format.name
    if not frame.format.is_planar:
        samples = samples.reshape(-1, frame.layout.nb_channels).T
    return (samples - 128) / 128 if name.startswith("u8") else samples / {"s16": 32768, "s32": 2**31}.get(name[:3], 1)


def _resampled(sound: np.ndarray, rate_hz: int, begin_s: float, end_s: float) -> np.ndarray:
    times = begin_s + np.arange(round((end_s - begin_s) * SEARCH_RATE_HZ)) / SEARCH_RATE_HZ
    own = np.arange(sound.shape[1]) / rate_hz
    return np.array([np.interp(times, own, channel, left=0, right=0) for channel in sound])

"""One audio stream on its way from a file into another: copied, or decoded and encoded."""

import io
import itertools
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeAlias, cast

import numpy as np

from realtime.ffmpeg import av
from realtime.sinks.sample_clock import SampleClock
from realtime.sources.timeline import Timeline

AudioPacket: TypeAlias = "av.Packet[av.AudioStream]"
ENCODED_RATE_HZ = 48_000
"""Sample rate of Opus, and the highest that is encoded."""
LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1", 7: "7.1", 8: "7.1"}
"""Layouts of AAC and Opus by number of channels; 6.1 gains a channel."""
KEPT_METADATA = ("language", "title")
STEP_S = 0.02
"""About the time from one packet of audio to the next."""
ROUNDING_S = 0.03
"""A frame that is off by less is encoded right after the one before: the ear notices no such delay, but a gap."""
LONG_PACKET_S = 0.15
"""Longer packets, as of WavPack and TTA, are not copied: a part would begin and end that far off."""
COUNTED_TICK_S = 0.005
"""Where a tick is longer, as in AVI, timestamps count packets."""
WARM_UP_S = 1.0
"""Sound before a part that is decoded, so that codecs whose frames build on earlier ones are ready."""


@dataclass(frozen=True, slots=True)
class Span:
    """The part of a stream that is wanted."""

    origin_s: float
    """Timestamp in the file that becomes 0."""
    from_s: float = -math.inf
    """Timestamp in the file at which the part begins."""
    until_s: float = math.inf
    """Timestamp in the file at which it ends."""


class Track(ABC):
    """One audio stream; makes packets for the target of packets of the source."""

    def __init__(self, source: av.AudioStream, stream: av.AudioStream, span: Span) -> None:
        self._stream = stream
        self._span = span
        self._timeline = Timeline(STEP_S)
        self._tick_s = float(source.time_base or 0)
        stream.metadata.update({key: source.metadata[key] for key in KEPT_METADATA if key in source.metadata})

    @abstractmethod
    def remuxed(self, packet: AudioPacket) -> Iterator[AudioPacket]:
        """The packets for the target of one packet of the source.

        Raises:
            av.FFmpegError, ValueError: it is damaged.
        """

    def rest(self) -> Iterator[AudioPacket]:
        """The packets that an encoder still holds."""
        return iter(())

    def _time_s(self, stamp: int | None, time_base: Fraction | None) -> float | None:
        """A timestamp of the source in seconds of the target; None if it has none."""
        if stamp is None or time_base is None:
            return None
        return self._timeline(float(stamp * time_base)) - self._span.origin_s


class CopiedTrack(Track):
    """Packets unchanged but for their times."""

    def __init__(self, source: av.AudioStream, target: av.container.OutputContainer, span: Span) -> None:
        """Add a stream to ``target``."""
        super().__init__(source, target.add_stream_from_template(source), span)
        self._context = source.codec_context
        self._clock = SampleClock(source.rate, 1.5 * self._tick_s)
        self._last = -math.inf
        self._step = 0
        """From the last packet but one to the last: the length of packets that do not say theirs."""

    def remuxed(self, packet: AudioPacket) -> Iterator[AudioPacket]:
        """The packet, unless it lies outside the span or another begins later than it."""
        if packet.is_corrupt:
            raise ValueError("corrupt packet")
        stamp = packet.pts if packet.dts is None else packet.dts
        if self._last == -math.inf and stamp is not None and float(stamp * packet.time_base) < self._span.from_s:
            return
        samples = _samples(packet, self._context) or self._step
        place = self._clock.place(self._time_s(stamp, packet.time_base), samples)
        if place <= self._last or place / self._clock.rate_hz >= self._span.until_s - self._span.origin_s:
            return
        self._step = self._step if self._last == -math.inf else place - round(self._last)
        self._last = place
        packet.time_base = Fraction(1, self._clock.rate_hz)
        packet.pts = packet.dts = place
        packet.duration = samples
        packet.stream = self._stream
        yield packet


class EncodedTrack(Track):
    """Decoded and encoded anew, cut to the sample."""

    def __init__(self, source: av.AudioStream, target: av.container.OutputContainer, span: Span) -> None:
        """Add a stream to ``target``: Opus in WebM, AAC elsewhere."""
        name = "libopus" if target.format.name == "webm" else "aac"
        rates = av.Codec(name, "w").audio_rates or [ENCODED_RATE_HZ]
        rate = source.rate if source.rate in rates and source.rate <= ENCODED_RATE_HZ else ENCODED_RATE_HZ
        layout = LAYOUTS.get(source.channels, "stereo")
        super().__init__(source, cast("av.AudioStream", target.add_stream(name, rate=rate, layout=layout)), span)
        self._context = source.codec_context
        self._clock: SampleClock | None = None
        self._resampler: av.AudioResampler | None = None
        self._shape: tuple[object, ...] = ()
        self._end = -math.inf
        """Position after the last sample that was encoded."""

    def remuxed(self, packet: AudioPacket) -> Iterator[AudioPacket]:
        """The encoded packets that are ready."""
        stamp = packet.dts if packet.pts is None else packet.pts
        time_s = math.inf if stamp is None else float(stamp * packet.time_base)
        if time_s < self._span.from_s - WARM_UP_S:
            return
        try:
            frames = self._context.decode(packet)
        except av.FFmpegError:
            if time_s < self._span.from_s:  # it builds on what was not decoded
                return
            raise
        for frame in frames:
            yield from self._encoded(frame)

    def rest(self) -> Iterator[AudioPacket]:
        """What decoder, resampler and encoder still hold."""
        for frame in self._context.decode(None):
            yield from self._encoded(frame)
        if self._resampler is not None:
            yield from self._encode_all(self._resampler.resample(None))
            yield from self._stream.encode(None)

    def _encoded(self, frame: av.AudioFrame) -> Iterator[AudioPacket]:
        if self._clock is None or self._clock.rate_hz != frame.sample_rate:
            self._clock = SampleClock(frame.sample_rate, max(1.5 * self._tick_s, ROUNDING_S))
            self._end = -math.inf
        rate = self._clock.rate_hz
        place = self._clock.place(self._time_s(frame.pts, frame.time_base), frame.samples)
        begin = max(place, self._end, (self._span.from_s - self._span.origin_s) * rate)
        end = min(place + frame.samples, (self._span.until_s - self._span.origin_s) * rate)
        if begin >= end:
            return
        begin, self._end = math.ceil(begin), math.ceil(end)
        frame = _cut(frame, begin - place, self._end - place)
        frame.pts, frame.time_base = begin, Fraction(1, rate)
        yield from self._resampled(frame)

    def _resampled(self, frame: av.AudioFrame) -> Iterator[AudioPacket]:
        """Encoded; a frame of another kind than those before, as after a join, gets a resampler of its own."""
        shape = frame.format.name, frame.layout.name, frame.sample_rate
        if shape != self._shape:
            rest = self._resampler.resample(None) if self._resampler else []
            to = self._stream.codec_context
            self._resampler, self._shape = av.AudioResampler(to.format, to.layout, to.sample_rate), shape
            yield from self._encode_all(rest)
        if self._resampler is not None:
            yield from self._encode_all(self._resampler.resample(frame))

    def _encode_all(self, frames: list[av.AudioFrame]) -> Iterator[AudioPacket]:
        for frame in frames:
            yield from self._stream.encode(frame)


def make_track(
    source: av.AudioStream, first: Sequence[AudioPacket], target: av.container.OutputContainer, span: Span
) -> Track:
    """Copy a stream if the target can hold it, else encode it.

    ``first``: its first packets.
    """
    is_copied = bool(first) and _length_s(first) <= LONG_PACKET_S and can_hold(target.format.name, source, first[0])
    return (CopiedTrack if is_copied else EncodedTrack)(source, target, span)


def _length_s(packets: Sequence[AudioPacket]) -> float:
    """About the length of each packet; 0 if nothing says."""
    stamps = [packet.pts for packet in packets if packet.pts is not None]
    steps = [after - before for before, after in itertools.pairwise(stamps)]
    return float(max(*steps, *(packet.duration or 0 for packet in packets)) * packets[0].time_base)


def can_hold(container_format: str, source: av.AudioStream, packet: AudioPacket) -> bool:
    """Whether a container takes a stream as it is: FFmpeg is asked to write one packet of it into memory.

    PCM and Vorbis in MP4, which FFmpeg takes as well, play hardly anywhere.
    """
    if container_format == "mp4" and source.codec_context.codec.canonical_name.startswith(("pcm_", "vorbis")):
        return False
    copy = av.Packet(bytes(packet))
    copy.pts = copy.dts = 0
    copy.time_base, copy.duration, copy.is_keyframe = packet.time_base, packet.duration, True
    try:
        with av.open(io.BytesIO(), "w", format=container_format) as trial:
            copy.stream = trial.add_stream_from_template(source)
            trial.mux(copy)
    except (av.FFmpegError, OSError, ValueError):
        return False
    return True


def _samples(packet: AudioPacket, context: av.AudioCodecContext) -> int:
    """Length of a packet in samples, more exact than its duration where the container rounds that."""
    is_counted = packet.time_base > COUNTED_TICK_S
    duration_s = (packet.duration or is_counted) * packet.time_base
    samples = context.frame_size
    if bits := re.match(r"pcm_[suf](\d+)", context.codec.canonical_name):
        samples = packet.size * 8 // (int(bits[1]) * context.channels)
    if samples and abs(samples / context.sample_rate - duration_s) <= packet.time_base:
        return samples
    return round(duration_s * context.sample_rate)


def _cut(frame: av.AudioFrame, begin: int, end: int) -> av.AudioFrame:
    """The samples of a frame from ``begin`` up to ``end``."""
    if begin == 0 and end == frame.samples:
        return frame
    channels = 1 if frame.format.is_planar else frame.layout.nb_channels
    part = np.ascontiguousarray(frame.to_ndarray()[:, begin * channels : end * channels])
    cut = av.AudioFrame.from_ndarray(cast("Any", part), format=frame.format.name, layout=frame.layout.name)
    cut.sample_rate = frame.sample_rate
    return cut

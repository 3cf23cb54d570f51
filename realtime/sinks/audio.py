"""The audio of a video file, remuxed into another."""

import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TypeAlias, cast

from realtime.ffmpeg import av, open_video
from realtime.sources.decode_errors import DecodeErrors
from realtime.sources.timeline import Timeline

AudioPacket: TypeAlias = "av.Packet[av.AudioStream]"
COPYABLE_CODECS = {
    "mp4": frozenset({"aac", "mp3", "ac3", "eac3", "opus", "flac", "alac"}),
    "mov": frozenset({"aac", "mp3", "ac3", "alac"}),
    "matroska": frozenset({"aac", "mp3", "ac3", "eac3", "opus", "flac", "alac", "vorbis", "pcm_s16le", "pcm_s24le"}),
    "webm": frozenset({"opus", "vorbis"}),
}
"""Codecs that players expect in each container; others, such as PCM in MP4, are encoded."""
ENCODED_RATE_HZ = 48_000
"""Sample rate of Opus, and the highest of AAC."""
KEPT_METADATA = ("language", "title")
SEEK_MARGIN_S = 1.0
STEP_S = 0.02
"""About the time from one packet of audio to the next."""
MAX_FAILURES = 100
"""Reads in a row that may fail before the rest of the audio is given up."""


@dataclass(frozen=True, slots=True)
class Audio:
    """The audio of a file, or of a part of it."""

    path: Path
    from_s: float = -math.inf
    """Timestamp in the file at which the part begins."""
    until_s: float = math.inf
    """Timestamp in the file at which the part ends."""
    errors: DecodeErrors = field(default_factory=DecodeErrors)
    """Counts what could not be remuxed."""


class AudioTracks:
    """All audio streams of a file, each copied unchanged where the new container allows, else encoded.

    The file is opened a second time, so that audio and video need not be read in step.
    """

    def __init__(
        self, audio: Audio, target: av.container.OutputContainer, target_format: str, *, origin_s: float
    ) -> None:
        """Add the streams to ``target``, a container of a kind in ``COPYABLE_CODECS``; none if the file has no audio.

        ``origin_s`` is the timestamp in the file that becomes 0.

        Raises:
            av.FFmpegError: the file cannot be read.
        """
        self._audio = audio
        self._source = open_video(audio.path)
        self._target = target
        self._ahead: AudioPacket | None = None
        self._tracks: dict[int, _Track] = {}
        for stream in self._source.streams.audio:
            if stream.codec_context is None or not stream.rate or not stream.channels:
                audio.errors.audio_tracks += 1
            else:
                self._tracks[stream.index] = _Track(stream, target, target_format, audio, origin_s)
        if self._tracks and audio.from_s > 0:
            with suppress(av.FFmpegError):  # then it is read from the beginning
                self._source.seek(int((audio.from_s - SEEK_MARGIN_S) * av.time_base))
        self._packets = self._all()

    def copy_until(self, time_s: float) -> None:
        """Write all packets that begin up to a time of the target, so that they lie near their frames in the file."""
        while True:
            packet = self._ahead or next(self._packets, None)
            self._ahead = packet
            if packet is None or (packet.pts is not None and packet.pts * packet.time_base > time_s):
                return
            self._ahead = None
            try:
                self._target.mux(packet)
            except (av.InvalidDataError, av.ArgumentError):  # a damaged packet, not a full disk
                self._audio.errors.audio_packets += 1

    def close(self) -> None:
        """Close the file that the audio comes from."""
        self._source.close()

    def _all(self) -> Iterator[AudioPacket]:
        for packet in self._read():
            try:
                yield from self._tracks[packet.stream.index].remuxed(packet)
            except (av.FFmpegError, ValueError):
                self._audio.errors.audio_packets += 1
        for track in self._tracks.values():
            yield from track.rest()

    def _read(self) -> Iterator[AudioPacket]:
        """The packets of all tracks, without the empty ones at the end."""
        streams = [self._source.streams[index] for index in self._tracks]
        failures = 0
        while streams and failures < MAX_FAILURES:
            try:
                for packet in self._source.demux(streams):
                    failures = 0
                    if packet.size:
                        yield cast("AudioPacket", packet)
                break
            except (av.FFmpegError, OSError):
                failures += 1
                self._audio.errors.audio_packets += 1


class _Track:
    """One audio stream on its way into the target."""

    def __init__(
        self,
        source: av.AudioStream,
        target: av.container.OutputContainer,
        target_format: str,
        audio: Audio,
        origin_s: float,
    ) -> None:
        self._source = source
        self._audio = audio
        self._origin_s = origin_s
        self._timeline = Timeline(STEP_S)
        self._last_dts: int | None = None
        self._is_copied = source.codec_context.name in COPYABLE_CODECS[target_format]
        if self._is_copied:
            self._stream = target.add_stream_from_template(source)
        else:
            # PCM often has no named layout, which the encoder requires.
            layout = "mono" if source.channels == 1 else "stereo"
            name = "libopus" if target_format == "webm" else "aac"
            rate = ENCODED_RATE_HZ if name == "libopus" else min(source.rate, ENCODED_RATE_HZ)
            self._stream = cast("av.AudioStream", target.add_stream(name, rate=rate, layout=layout))
        self._stream.metadata.update({key: source.metadata[key] for key in KEPT_METADATA if key in source.metadata})

    def remuxed(self, packet: AudioPacket) -> list[AudioPacket]:
        """The packets for the target of one packet of the source."""
        if packet.is_corrupt:
            self._audio.errors.audio_packets += 1
            return []
        if self._is_copied:
            return [packet] if self._place(packet) else []
        frames = [frame for frame in self._source.codec_context.decode(packet) if self._place_frame(frame)]
        return [encoded for frame in frames for encoded in self._stream.encode(frame)]

    def rest(self) -> list[AudioPacket]:
        """The packets that the encoder still holds."""
        return [] if self._is_copied or self._last_dts is None else list(self._stream.encode(None))

    def _place(self, packet: AudioPacket) -> bool:
        """Set a packet's time in the target; False if it lies outside the part."""
        dts = packet.pts if packet.dts is None else packet.dts
        if dts is None:
            return False
        place = self._position(dts, packet.time_base)
        if place is None:
            return False
        packet.pts = place + (0 if packet.pts is None else packet.pts - dts)
        packet.dts = place
        packet.stream = self._stream
        return True

    def _place_frame(self, frame: av.AudioFrame) -> bool:
        if frame.pts is None or frame.time_base is None:
            return False
        place = self._position(frame.pts, frame.time_base)
        if place is None:
            return False
        frame.pts = place
        return True

    def _position(self, stamp: int, time_base: Fraction) -> int | None:
        """A timestamp of the source as one of the target, later than the one before; None outside the part."""
        time_s = float(stamp * time_base)
        if self._last_dts is None and time_s < self._audio.from_s:
            return None
        time_s = self._timeline(time_s)
        if time_s >= self._audio.until_s:
            return None
        place = round((time_s - self._origin_s) / time_base)
        self._last_dts = place if self._last_dts is None else max(place, self._last_dts + 1)
        return self._last_dts

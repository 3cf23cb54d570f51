"""The audio of a video file, remuxed into another."""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from realtime.ffmpeg import av
from realtime.sinks.audio_tracks import AudioPacket, Span, Track, make_track
from realtime.sources.decode_errors import DecodeErrors
from realtime.sources.demuxer import Demuxer
from realtime.sources.joins import Packet

SEEK_MARGINS_S = (1.0, 5.0, 20.0)
"""How far before a part to look for its first packet, one after another."""
LATE_S = 5.0
"""How far apart packets of one time may lie in a file."""
PEEKED = 1000
"""Packets among which the first of each stream is looked for."""


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

    def __init__(self, audio: Audio, target: av.container.OutputContainer, *, origin_s: float) -> None:
        """Add the streams to ``target``; none if the file has no audio.

        ``origin_s`` is the timestamp in the file that becomes 0.

        Raises:
            SourceError: the file cannot be read.
        """
        self._audio = audio
        self._target = target
        self._demuxer = Demuxer(audio.path, self._count_packet)
        try:
            head, firsts = self._peek()
            self._tracks = self._make_tracks(firsts, Span(origin_s, audio.from_s, audio.until_s))
        except BaseException:
            self._demuxer.close()
            raise
        self._packets = self._all(self._seek() if audio.from_s > -math.inf else head)
        self._ahead: AudioPacket | None = None

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
                self._count_packet()

    def close(self) -> None:
        """Close the file that the audio comes from."""
        self._demuxer.close()

    def _peek(self) -> tuple[Iterator[Packet], dict[int, list[AudioPacket]]]:
        """All packets from the beginning, and the first two of each audio stream."""
        streams = self._demuxer.container.streams.audio
        firsts: dict[int, list[AudioPacket]] = {s.index: [] for s in streams if s.codec_context is not None}
        packets, head = self._demuxer.packets(), list[Packet]()
        while any(len(first) < 2 for first in firsts.values()) and len(head) < PEEKED:
            packet = next(packets, None)
            if packet is None:
                break
            head.append(packet)
            if packet.stream_index in firsts:
                firsts[packet.stream_index].append(cast("AudioPacket", packet))
        return itertools.chain(head, packets), firsts

    def _make_tracks(self, firsts: dict[int, list[AudioPacket]], span: Span) -> dict[int, Track]:
        tracks = {}
        for stream in self._demuxer.container.streams.audio:
            if stream.codec_context is not None and stream.rate and stream.channels:
                tracks[stream.index] = make_track(stream, firsts[stream.index][:2], self._target, span)
            elif firsts.get(stream.index, True):  # one that is announced but empty is no loss
                self._audio.errors.audio_tracks += 1
        return tracks

    def _seek(self) -> Iterator[Packet]:
        """The packets from before the beginning of the part on."""
        if not self._demuxer.can_seek:
            self._demuxer.rewind()
            return self._demuxer.packets()
        for margin_s in SEEK_MARGINS_S:
            try:
                self._demuxer.seek(self._audio.from_s - margin_s)
            except (av.FFmpegError, OverflowError):
                continue
            packets = self._demuxer.packets()
            head = list(itertools.islice(packets, PEEKED))
            times = [_time_s(packet) for packet in head if packet.stream_index in self._tracks]
            if times and times[0] <= self._audio.from_s:
                return itertools.chain(head, packets)
        self._demuxer.rewind()
        return self._demuxer.packets()

    def _all(self, packets: Iterator[Packet]) -> Iterator[AudioPacket]:
        for packet in packets:
            if math.inf > _time_s(packet) > self._audio.until_s + LATE_S:
                break
            if packet.stream_index in self._tracks:
                yield from self._guarded(self._tracks[packet.stream_index].remuxed(cast("AudioPacket", packet)))
        for track in self._tracks.values():
            yield from self._guarded(track.rest())

    def _guarded(self, packets: Iterator[AudioPacket]) -> Iterator[AudioPacket]:
        try:
            yield from packets
        except (av.FFmpegError, ValueError):
            self._count_packet()

    def _count_packet(self) -> None:
        self._audio.errors.audio_packets += 1


def _time_s(packet: Packet) -> float:
    """When a packet is decoded, in seconds; infinite if it does not say."""
    stamp = packet.pts if packet.dts is None else packet.dts
    return math.inf if stamp is None or packet.time_base is None else float(stamp * packet.time_base)

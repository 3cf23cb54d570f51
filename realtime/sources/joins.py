"""One clock for files in which recordings were joined end to end."""

from collections import deque
from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import chain
from typing import TypeAlias

from realtime.ffmpeg import av
from realtime.sources.timeline import MAX_GAP_S

Packet: TypeAlias = "av.Packet[av.stream.Stream]"
PAUSE_S = 1
"""A longer step forward is looked at: it is a pause, a wrong timestamp, or damage."""
LOOK_AHEAD = 2000
"""Packets that may lie between two of one stream."""
MAX_STAMP = 1 << 62


class OneClock:
    """Packets of all streams, with the timestamps of every further recording moved by one shift for all its streams.

    Recordings are joined by appending one file to another, as transport streams allow, or by a camera that restarts
    its clock. The video decides: where its decoding timestamps start again, the new recording begins one frame after
    the last. Two readers of the same packets get the same timestamps, so audio and video stay in sync, which they
    would not if each stream were continued from its own last timestamp: streams of a recording end at different times.
    A single timestamp that is out of line is put back into it.
    """

    def __init__(self, packets: Iterable[Packet], video: av.VideoStream, step_s: Fraction) -> None:
        """Take over ``packets``, those of ``video`` among them, in the order of the file.

        ``step_s``: time from one frame of ``video`` to the next, in seconds, as long as its packets do not show it.
        """
        self._packets = iter(packets)
        self._ahead: deque[Packet] = deque()
        self._video = video.index
        self._step_s = step_s
        self._shift_s = Fraction(0)
        self._last_s: dict[int, Fraction] = {}
        """The latest decoding time of each stream of this recording."""
        self._ended_s: dict[int, Fraction] = {}
        """That of each stream of the recording before, while it may not have ended."""
        self._moved_s = Fraction(0)
        """By how much this recording is shifted more than the one before."""

    def __iter__(self) -> Iterator[Packet]:
        while (packet := self._ahead.popleft() if self._ahead else next(self._packets, None)) is not None:
            time_s = self._time_s(packet)
            if time_s is not None:
                time_s = self._corrected(packet, time_s)
                if packet.stream_index not in self._ended_s:
                    self._note(packet.stream_index, time_s)
                _move(packet, time_s)
            elif self._shift_s and packet.pts is not None and packet.time_base:
                _add(packet, round(self._shift_s / packet.time_base))
            yield packet

    def _note(self, stream: int, time_s: Fraction) -> None:
        last_s = self._last_s.get(stream)
        if stream == self._video and last_s is not None and last_s < time_s < last_s + PAUSE_S:
            self._step_s = time_s - last_s
        self._last_s[stream] = time_s

    def _time_s(self, packet: Packet) -> Fraction | None:
        if packet.dts is None or packet.time_base is None:
            return None
        return packet.dts * packet.time_base + self._shift_s

    def _corrected(self, packet: Packet, time_s: Fraction) -> Fraction:
        """The decoding time of a packet on the one clock."""
        stream, last_s = packet.stream_index, self._last_s.get(packet.stream_index)
        ended_s = self._ended_s.pop(stream, None)
        if ended_s is not None and ended_s < time_s - self._moved_s < ended_s + PAUSE_S:
            self._ended_s[stream] = time_s - self._moved_s  # a parser gives the last packet when it sees the next
            return time_s - self._moved_s
        if last_s is None or last_s < time_s < last_s + PAUSE_S or (time_s == last_s and stream != self._video):
            return time_s
        follower_s = self._next_time_s(stream)
        if follower_s is not None and last_s < follower_s < max(time_s, last_s + PAUSE_S):
            return last_s + (self._step_s if stream == self._video else (packet.duration or 1) * packet.time_base)
        if last_s < time_s < last_s + MAX_GAP_S:
            return time_s
        return self._in_next_recording(packet, time_s, last_s)

    def _in_next_recording(self, packet: Packet, time_s: Fraction, last_s: Fraction) -> Fraction:
        """Move the clock if the video, too, starts again."""
        first_s = time_s
        if packet.stream_index != self._video:
            video_s, next_s = self._last_s.get(self._video), self._next_time_s(self._video)
            if video_s is None or next_s is None or video_s < next_s < video_s + MAX_GAP_S:
                return time_s  # this stream alone is damaged
            last_s, first_s = video_s, next_s
        self._moved_s = last_s + self._step_s - first_s
        self._shift_s += self._moved_s
        self._ended_s = {stream: time_s for stream, time_s in self._last_s.items() if stream != self._video}
        self._ended_s.pop(packet.stream_index, None)
        self._last_s = {self._video: last_s}
        return time_s + self._moved_s

    def _next_time_s(self, stream: int) -> Fraction | None:
        """The time of the next packet of a stream; what is read for it stays ahead."""
        for packet in chain(tuple(self._ahead), self._read_ahead()):
            if packet.stream_index == stream and (time_s := self._time_s(packet)) is not None:
                return time_s
        return None

    def _read_ahead(self) -> Iterator[Packet]:
        while len(self._ahead) < LOOK_AHEAD and (packet := next(self._packets, None)) is not None:
            self._ahead.append(packet)
            yield packet


def _move(packet: Packet, time_s: Fraction) -> None:
    """Give a packet another decoding time; its presentation time keeps its distance."""
    if packet.dts is not None and packet.time_base:
        _add(packet, round(time_s / packet.time_base) - packet.dts)


def _add(packet: Packet, ticks: int) -> None:
    for name in ("pts", "dts"):
        stamp = getattr(packet, name)
        if ticks and stamp is not None and abs(stamp + ticks) < MAX_STAMP:
            setattr(packet, name, stamp + ticks)

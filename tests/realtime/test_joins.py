"""One clock for the packets of joined recordings."""

from dataclasses import dataclass
from fractions import Fraction
from types import SimpleNamespace

import pytest

from realtime.sources.joins import OneClock

VIDEO, AUDIO = 0, 1


@dataclass
class Packet:
    """What the clock looks at."""

    stream_index: int
    dts: int | None
    pts: int | None = None
    duration: int = 40
    time_base: Fraction = Fraction(1, 1000)


def on_one_clock(*packets):
    """Decoding times in ms of packets that are given as (stream, dts)."""
    clock = OneClock([Packet(*packet) for packet in packets], SimpleNamespace(index=VIDEO), Fraction(1, 25))
    return [(packet.stream_index, packet.dts) for packet in clock]


def test_plain_files_are_left_alone():
    packets = [(VIDEO, 0), (AUDIO, -20), (VIDEO, 40), (AUDIO, 0), (AUDIO, 0), (VIDEO, 80), (AUDIO, 3)]
    assert on_one_clock(*packets) == packets


def test_all_streams_of_a_recording_are_moved_alike():
    first = [(VIDEO, 100), (AUDIO, 90), (VIDEO, 140), (AUDIO, 130), (VIDEO, 180), (AUDIO, 170), (AUDIO, 210)]
    moved = [(stream, stamp + 120) for stream, stamp in first]
    assert on_one_clock(*first, *first) == first + moved
    audio_first = [first[1], first[0], *first[2:]]
    assert on_one_clock(*audio_first, *audio_first) == audio_first + [(s, stamp + 120) for s, stamp in audio_first]


def test_the_last_packet_of_a_recording_may_come_after_the_first_of_the_next():
    packets = [(VIDEO, 0), (AUDIO, 0), (VIDEO, 40), (AUDIO, 30), (VIDEO, 0), (AUDIO, 60), (AUDIO, 0), (VIDEO, 40)]
    assert on_one_clock(*packets)[4:] == [(VIDEO, 80), (AUDIO, 60), (AUDIO, 80), (VIDEO, 120)]


@pytest.mark.parametrize("wrong", [5000, 3_600_000, 10**12, -7000])
def test_a_single_wrong_timestamp_moves_no_other(wrong):
    right = [(VIDEO, 40 * i) for i in range(6)]
    assert on_one_clock(*right[:3], (VIDEO, wrong), *right[4:]) == right


def test_a_pause_stays_and_impossible_times_do_not():
    pause = [(VIDEO, 0), (AUDIO, 0), (VIDEO, 40), (VIDEO, 18_000_000), (AUDIO, 18_000_000), (VIDEO, 18_000_040)]
    assert on_one_clock(*pause) == pause
    days = 90_000_000
    assert on_one_clock((VIDEO, 0), (VIDEO, 40), (VIDEO, days), (VIDEO, days + 40)) == [
        (VIDEO, 0), (VIDEO, 40), (VIDEO, 80), (VIDEO, 120)
    ]  # fmt: skip


def test_a_stream_that_alone_starts_again_moves_no_other():
    packets = [(VIDEO, 0), (AUDIO, 5000), (VIDEO, 40), (AUDIO, 0), (VIDEO, 80), (AUDIO, 40), (VIDEO, 120)]
    assert [p for p in on_one_clock(*packets) if p[0] == VIDEO] == [(VIDEO, 40 * i) for i in range(4)]


def test_packets_without_times_are_moved_along():
    clock = OneClock(
        [Packet(VIDEO, 0, 0), Packet(VIDEO, 40, 40), Packet(VIDEO, 0, 0), Packet(VIDEO, None, 40)],
        SimpleNamespace(index=VIDEO), Fraction(1, 25),
    )  # fmt: skip
    assert [(packet.dts, packet.pts) for packet in clock] == [(0, 0), (40, 40), (80, 80), (None, 120)]

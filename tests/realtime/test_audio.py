"""The audio of a drawn video: all tracks, in sync, cut as the video is."""

import av
import numpy as np
import pytest
from made_videos import Kind, make, ticks_of

from realtime.results import Result
from realtime.sinks.audio import Audio
from realtime.sinks.base import Ending
from realtime.sinks.video_file import VideoFileSink
from realtime.sources.video_file import VideoFileSource
from realtime.structures import Detections

PACKET_S = 1024 / 16_000


def copy(path, out, *, start_s=0.0, duration_s=None):
    """Write a video again, or a part of it, undrawn, as the command does."""
    source = VideoFileSource(path, start_s=start_s, duration_s=duration_s)
    audio = Audio(path, source.origin_s if start_s else -np.inf, source.end_s)
    sink = VideoFileSink(
        out, size_wh=source.size_wh, frame_rate=source.frame_rate, time_base=source.time_base, audio=audio,
        origin_s=source.origin_s,
    )  # fmt: skip
    while (frame := source.read()) is not None:
        sink.write(Result(frame, Detections.empty(), frame.image))
    sink.close(Ending.COMPLETE)
    source.close()
    return source.errors + audio.errors


def frame_times(path):
    with av.open(str(path)) as container:
        return [float(f.time) for f in container.decode(video=0)]


def test_all_tracks_go_along_with_their_languages(tmp_path):
    original = make(tmp_path / "v.mkv", Kind(frames=50, languages=["eng", "deu", "fra"]))
    assert not copy(original, tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert [stream.language for stream in container.streams.audio] == ["eng", "deu", "fra"]
        for stream in container.streams.audio:
            container.seek(0)
            pitch = [f.to_ndarray() for f in container.decode(stream)]
            spectrum = np.abs(np.fft.rfft(np.concatenate(pitch, axis=1)[0][: 16_000 + 800]))
            hertz = np.argmax(spectrum) * 16_000 / (16_000 + 800)
            assert abs(hertz - 1000 * (container.streams.audio.index(stream) + 1)) < 20


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm"])
@pytest.mark.parametrize("codec", ["aac", "pcm_s16le"])
def test_a_part_has_its_sound_in_sync(tmp_path, codec, suffix):
    """A tick at each second of the original is one at each second less 2.52 of the part."""
    original = make(tmp_path / "v.mkv", Kind(frames=200, languages=["eng"], sound_codec=codec))
    out = tmp_path / f"out{suffix}"
    assert not copy(original, out, start_s=2.52, duration_s=3.0)
    times = frame_times(out)
    assert len(times) == 75
    assert times[0] == pytest.approx(0, abs=0.03)  # Matroska moves all by the silence that an encoder puts first
    ticks = np.array(ticks_of(out)) - times[0]
    np.testing.assert_allclose(ticks, [0.48, 1.48, 2.48], atol=PACKET_S)
    with av.open(str(out)) as container:
        last_s = max(float(p.pts * p.time_base) for p in container.demux(audio=0) if p.pts is not None)
    assert last_s < 3.0 + 0.1


@pytest.mark.parametrize(("suffix", "begin_ms"), [(".mkv", 5000), (".ts", 7000)])
def test_a_file_that_begins_later_begins_at_zero_in_sync(tmp_path, suffix, begin_ms):
    original = make(tmp_path / f"v{suffix}", Kind(pts=[begin_ms + 40 * i for i in range(60)], languages=["eng"]))
    offset_s = ticks_of(original)[1] - frame_times(original)[0]
    assert not copy(original, tmp_path / "out.mp4")
    times = frame_times(tmp_path / "out.mp4")
    assert times[0] == pytest.approx(0, abs=0.07)
    np.testing.assert_allclose(np.diff(times), 0.04, atol=1e-3)
    assert ticks_of(tmp_path / "out.mp4")[1] - times[0] == pytest.approx(offset_s, abs=0.005)


def test_sound_from_a_broadcast_goes_into_mp4(tmp_path):
    """AAC with a header in each packet, as transport streams have it."""
    original = make(tmp_path / "v.ts", Kind(frames=60, languages=["eng", "deu"]))
    assert not copy(original, tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert len(container.streams.audio) == 2
        assert sum(f.samples for f in container.decode(audio=1)) / 16_000 == pytest.approx(2.4, abs=0.2)


def test_text_and_covers_stay_behind(tmp_path):
    original = make(tmp_path / "v.mp4", Kind(frames=10, languages=["eng"], cover=True))
    assert not copy(original, tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert [stream.type for stream in container.streams] == ["video", "audio"]


def test_damaged_sound_is_counted_and_the_rest_kept(tmp_path):
    original = make(tmp_path / "v.ts", Kind(frames=100, languages=["eng"]))
    with av.open(str(original)) as container:
        places = [p.pos for p in container.demux(audio=0) if p.pos is not None and p.size]
    data = bytearray(original.read_bytes())
    for place in places[10:20]:
        data[place + 24 : place + 40] = b"\xff" * 16
    original.write_bytes(data)
    errors = copy(original, tmp_path / "out.mp4")
    assert len(frame_times(tmp_path / "out.mp4")) == 100
    assert errors.audio_packets
    assert not errors.packets
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert len([p for p in container.demux(audio=0) if p.size]) > 20

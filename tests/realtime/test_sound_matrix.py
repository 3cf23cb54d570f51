"""Sound in the containers and codecs that people have: whole, in parts, and where recordings were joined."""

import numpy as np
import pytest
from made_sound import RATE_HZ, hear, make_sounding, noise
from senders import needs_ffmpeg
from test_audio import copy

from realtime.sources.video_file import VideoFileSource

pytestmark = needs_ffmpeg

SECONDS = 4.0
VIDEO_CODECS = {"mpg": "mpeg2video", "vob": "mpeg2video", "mxf": "mpeg2video", "avi": "mpeg4", "wmv": "wmv2",
        "webm": "libvpx", "ogv": "libtheora"}  # fmt: skip
"""Video codecs where H.264 is not usual."""
COMMON = [("mp4", "aac"), ("mkv", "libopus"), ("avi", "libmp3lame"), ("flv", "libmp3lame"), ("ts", "ac3"),
          ("mpg", "mp2"), ("mov", "pcm_s16le")]  # fmt: skip
OTHERS = [
    *(("mp4", codec) for codec in ("libmp3lame", "ac3", "eac3", "flac", "alac", "libopus", "dca", "truehd", "mp2")),
    *(("mov", codec) for codec in ("aac", "libmp3lame", "alac", "pcm_s24le", "pcm_s16be", "adpcm_ima_qt", "pcm_mulaw")),
    *(("mkv", codec) for codec in ("aac", "libmp3lame", "ac3", "eac3", "flac", "alac", "libvorbis", "dca", "mp2",
                                   "pcm_s16le", "pcm_f32le", "pcm_u8", "tta", "truehd", "wavpack")),
    *(("avi", codec) for codec in ("aac", "ac3", "pcm_s16le", "mp2", "adpcm_ms", "flac", "pcm_u8")),
    *(("flv", codec) for codec in ("aac", "pcm_s16le")),
    *(("ts", codec) for codec in ("aac", "libmp3lame", "eac3", "mp2", "libopus", "dca", "s302m")),
    *(("mpg", codec) for codec in ("ac3", "pcm_dvd", "libmp3lame")),
    ("webm", "libopus"), ("webm", "libvorbis"), ("ogv", "libvorbis"), ("wmv", "wmav2"), ("wmv", "pcm_s16le"),
    ("vob", "ac3"), ("vob", "mp2"), ("mxf", "pcm_s16le"), ("3gp", "aac"), ("m2ts", "ac3"),
]  # fmt: skip
FLV_RATE_HZ = 44_100
KEPT = {"aac", "mp3", "ac3", "eac3", "alac", "opus", "flac", "dts"}
"""Codecs that MP4 holds as they are."""


def check(path, sound, rate_hz, out, *, start_s=0.0, duration_s=None):
    """The same sound at the same frames, for the whole length, and nothing is called damaged."""
    original = hear(path)
    errors = copy(path, out, start_s=start_s, duration_s=duration_s)
    assert not errors, errors
    assert not errors.audio_tracks
    heard = hear(out)
    assert len(heard.sound) == len(original.sound)
    length_s = duration_s or SECONDS - start_s
    assert len(heard.frame_times_s) == pytest.approx(length_s * 25, abs=1.01)
    assert heard.sound_s == pytest.approx(length_s, abs=0.1)
    if start_s == 0:
        assert heard.sound_s == pytest.approx(original.sound_s, abs=0.03)
    # Encoders delay their sound and containers forget by how much; the copy must not differ from the original.
    own_lag_s, own_match = original.lag_s(sound, 1.5, rate_hz)
    begin_s = start_s if start_s == 0 else original.frame_times_s[-len(heard.frame_times_s)] - original.frame_times_s[0]
    begin_s = begin_s if duration_s is None else start_s
    part = sound[:, round(begin_s * rate_hz) :]
    for at_s in np.arange(0.2, length_s - 0.6, 0.7):
        lag_s, match = heard.lag_s(part, at_s, rate_hz)
        assert match > 0.8 * own_match, at_s
        assert lag_s == pytest.approx(own_lag_s, abs=0.045 if begin_s else 0.01), at_s
    return heard


def frame_times(path, **part):
    """From the beginning of the video: sound may begin before it, and parts are counted from there."""
    source = VideoFileSource(path)
    late_s = source.read().pts_s - source.origin_s
    source.close()
    source = VideoFileSource(path, **(part | {"start_s": part["start_s"] + late_s} if part else {}))
    found = [frame.pts_s for frame in iter(source.read, None)]
    source.close()
    return found


@pytest.mark.parametrize(
    ("container", "codec"), [*COMMON, *(pytest.param(*kind, marks=pytest.mark.slow) for kind in OTHERS)]
)
def test_sound_keeps_length_sync_and_channels(tmp_path, container, codec):
    rate_hz = FLV_RATE_HZ if container == "flv" else RATE_HZ
    sound = noise(SECONDS, rate_hz=rate_hz)
    path = make_sounding(
        tmp_path / f"v.{container}", codec, sound, rate_hz=rate_hz, video=VIDEO_CODECS.get(container, "libx264")
    )
    name = hear(path).codec
    times = frame_times(path)
    assert frame_times(path, start_s=1.52, duration_s=0.4) == [t for t in times if 1.519 < t - times[0] < 1.919]
    for suffix in ("mp4", "mkv"):
        out = tmp_path / f"out.{suffix}"
        whole = check(path, sound, rate_hz, out)
        if suffix == "mp4" and name in KEPT:
            assert whole.codec == name
        check(path, sound, rate_hz, out, start_s=0.12)
        check(path, sound, rate_hz, out, start_s=1.52, duration_s=1.6)
        check(path, sound, rate_hz, out, start_s=3.0)


@pytest.mark.parametrize(
    ("container", "codec"),
    [("ts", "ac3"), *(pytest.param(*kind, marks=pytest.mark.slow) for kind in [
        ("ts", "aac"), ("ts", "libmp3lame"), ("ts", "eac3"), ("ts", "mp2"), ("mpg", "mp2"), ("mpg", "ac3")])],
)  # fmt: skip
@pytest.mark.parametrize(("length_s", "count"), [(0.48, 6), (2.0, 2)])
def test_joined_recordings_stay_in_sync(tmp_path, container, codec, length_s, count):
    """The clock of each begins at the same time; audio and video of a recording never end together."""
    sound = noise(length_s * count)
    pieces = np.array_split(sound, count, axis=1)
    joined = tmp_path / f"v.{container}"
    video = VIDEO_CODECS.get(container, "libx264")
    parts = [make_sounding(tmp_path / f"{i}.{container}", codec, piece, video=video) for i, piece in enumerate(pieces)]
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    for start_s in (0.0, 1.5 * length_s):
        assert not copy(joined, tmp_path / "out.mp4", start_s=start_s)
        heard = hear(tmp_path / "out.mp4")
        np.testing.assert_allclose(np.diff(heard.frame_times_s), 0.04, atol=0.001)
        assert len(heard.frame_times_s) == round((length_s * count - start_s) * 25)
        assert heard.sound_s == pytest.approx(length_s * count - start_s, abs=0.05)
        part = sound[:, round(start_s * RATE_HZ) :]
        for at_s in np.arange(0.05 if start_s else 0.1, length_s * count - start_s - 0.4, length_s):
            lag_s, match = heard.lag_s(part, at_s)
            assert lag_s == pytest.approx(0, abs=0.01), at_s
            assert match > 0.8, at_s


@pytest.mark.parametrize(("suffix", "codec"), [("mp4", "aac"), ("webm", "opus"), ("mkv", "pcm_s16le")])
def test_surround_sound_stays_surround(tmp_path, suffix, codec):
    sound = noise(1.5, channels=6)
    path = make_sounding(tmp_path / "v.mkv", "pcm_s16le", sound)
    assert not copy(path, tmp_path / f"out.{suffix}")
    heard = hear(tmp_path / f"out.{suffix}")
    assert (heard.codec, len(heard.sound)) == (codec, 6)
    if codec != "opus":  # which orders its channels otherwise
        lag_s, match = heard.lag_s(sound, 0.6)
        assert lag_s == pytest.approx(0, abs=0.01)
        assert match > 0.8


def test_dts_with_six_channels_is_copied(tmp_path):
    path = make_sounding(tmp_path / "v.mkv", "dca", noise(1.5, channels=6))
    assert not copy(path, tmp_path / "out.mkv")
    heard = hear(tmp_path / "out.mkv")
    assert (heard.codec, len(heard.sound)) == ("dts", 6)


def test_sound_that_changes_its_kind_is_encoded_on(tmp_path):
    """Joined recordings of one and of two channels."""
    parts = [make_sounding(tmp_path / f"{n}.mpg", "mp2", noise(1.2, channels=n), video="mpeg2video") for n in (1, 2)]
    joined = tmp_path / "v.mpg"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    assert not copy(joined, tmp_path / "out.webm")
    assert hear(tmp_path / "out.webm").sound_s == pytest.approx(2.4, abs=0.1)

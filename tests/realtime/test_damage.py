"""Damaged videos: what is readable is processed, what is lost is counted, and nothing crashes or hangs."""

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from fakes import make_video, read_video, stub_model
from made_videos import Kind, make

from realtime.errors import SourceError
from realtime.sources.decode_errors import DecodeErrors, missing_bytes
from realtime.sources.video_file import VideoFileSource

FRAME = Fraction(1, 25)
FUZZ = Path(__file__).parent.parent / "fuzz_videos.py"
RUN = [sys.executable, "-c", "from realtime.cli import run_cli; run_cli()"]


def realtime(*arguments, cwd):
    return subprocess.run(
        [*RUN, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=120, check=False
    )


def read(path):
    source = VideoFileSource(path)
    frames = list(iter(source.read, None))
    source.close()
    return frames, source.errors


def cut(path, share):
    data = path.read_bytes()
    short = path.with_name(f"cut{path.suffix}")
    short.write_bytes(data[: int(share * len(data))])
    return short, len(data) - int(share * len(data))


@pytest.mark.parametrize("suffix", [".mkv", ".webm"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_cut_off_file_is_read_to_where_it_ends(tmp_path, suffix, share):
    codec = "libvpx-vp9" if suffix == ".webm" else "libx264"
    whole = make_video(tmp_path / f"v{suffix}", frames=100, codec=codec)
    short, missing = cut(whole, share)
    frames, errors = read(short)
    assert 100 * share / 3 < len(frames) < 100
    assert errors.missing_bytes >= missing - 200  # an index behind the images is written last
    assert "bytes early" in str(errors)
    assert not read(whole)[1]


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9, 0.999])
def test_a_cut_off_mp4_is_read_to_where_it_ends(clip, tmp_path, share):
    (tmp_path / "v.mp4").write_bytes(clip.read_bytes())
    short, missing = cut(tmp_path / "v.mp4", share)
    frames, errors = read(short)
    assert len(frames) < 144
    assert len(frames) >= 144 * (share - 0.1) - 10
    assert errors.missing_bytes == missing


def test_a_cut_off_mp4_without_its_index_is_reported(tmp_path):
    whole = make_video(tmp_path / "v.mp4", frames=50)
    short, missing = cut(whole, 0.8)
    with pytest.raises(SourceError, match=rf"not a readable video file \(it ends {missing} bytes early"):
        VideoFileSource(short)


def test_a_cut_off_avi_is_reported(tmp_path):
    whole = make_video(tmp_path / "v.avi", frames=100, codec="mpeg4", time_base=FRAME, pts=range(100))
    short, missing = cut(whole, 0.8)
    frames, errors = read(short)
    assert 5 < len(frames) <= 100
    assert errors.missing_bytes == missing
    assert not read(whole)[1]


@pytest.mark.parametrize(
    "content",
    [b"", b"\x1a\x45\xdf\xa3", b"RIFF", b"\x1a\x45\xdf\xa3\x18\x53\x80\x67",
     b"\x1a\x45\xdf\xa3\x18\x53\x80\x67\x01\xff",
     b"\x00\x00\x00\x08ftyp" + b"\x00" * 30, b"\x00\x00\x00\x08ftyp\x00\x00\x00\x01mdat"],
)  # fmt: skip
def test_lengths_are_looked_for_in_anything(tmp_path, content):
    path = tmp_path / "v"
    path.write_bytes(content)
    assert missing_bytes(path) >= 0


def test_lengths_that_were_left_open_miss_nothing(tmp_path):
    path = tmp_path / "v.mkv"
    path.write_bytes(b"\x1a\x45\xdf\xa3" + b"\x18\x53\x80\x67" + b"\x01" + b"\xff" * 7)
    assert missing_bytes(path) == 0


def test_damaged_packets_are_skipped_and_counted(tmp_path):
    path = make(tmp_path / "v.mkv", Kind(frames=60, options={"g": "1"}))
    with av.open(str(path)) as container:
        packets = [bytes(p) for p in container.demux(video=0) if p.size]
    data = bytearray(path.read_bytes())
    for packet in packets[20:23]:
        at = data.index(packet)
        data[at : at + len(packet)] = b"\xff" * len(packet)
    path.write_bytes(data)
    frames, errors = read(path)
    assert errors.packets + errors.frames >= 3
    assert 57 <= len(frames) <= 60
    times = [frame.pts_s for frame in frames]
    assert times == sorted(times)
    assert times[-1] == pytest.approx(59 * 0.04)  # those after the damage are at their own times
    assert round(float(frames[-1].image.mean()) / 20) == round((20 * 59 % 256) / 20)


def test_errors_are_added_and_described():
    assert not DecodeErrors()
    assert str(DecodeErrors(packets=1, frames=2)) == "1 packet is lost, 2 frames have errors"
    errors = DecodeErrors(audio_packets=3) + DecodeErrors(missing_bytes=7)
    assert str(errors) == "3 audio packets are lost, the file ends 7 bytes early"


def test_an_audio_track_with_an_unknown_codec_is_left_out_and_reported(tmp_path):
    path = make(tmp_path / "v.mkv", Kind(frames=10, languages=["eng", "deu"]))
    data = path.read_bytes()
    at = data.rindex(b"A_AAC")
    path.write_bytes(data[:at] + b"A_NEW" + data[at + 5 :])
    stub_model(tmp_path / "m.onnx")
    done = realtime("video", "v.mkv", "--out", "out.mp4", "--model", "m.onnx", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "v.mkv: 1 audio track with an unknown codec is left out"
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert [stream.language for stream in container.streams.audio] == ["eng"]


def test_a_damaged_video_keeps_its_output_and_exits_with_1(clip, tmp_path):
    (tmp_path / "cut.mp4").write_bytes(clip.read_bytes()[:60_000])
    stub_model(tmp_path / "m.onnx")
    done = realtime("video", "cut.mp4", "--out", "out.mp4", "--jsonl", "out.jsonl", "--model", "m.onnx", cwd=tmp_path)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: cut.mp4 is damaged: the file ends 1")
    assert last.endswith("bytes early. What could be read is kept")
    written = len(read_video(tmp_path / "out.mp4"))
    assert written > 20
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == written


@pytest.mark.parametrize("content", [b"", b"shopping list\n" * 50, bytes(np.random.default_rng(0).bytes(5000))])
def test_what_is_no_video_is_refused_in_one_line(tmp_path, content):
    (tmp_path / "v.mp4").write_bytes(content)
    stub_model(tmp_path / "m.onnx")
    done = realtime("video", "v.mp4", "--out", "out.mp4", "--model", "m.onnx", cwd=tmp_path)
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: cannot open video v.mp4: not a readable video file")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.onnx", "v.mp4"]


@pytest.mark.slow
def test_flipped_bits_never_crash_hang_or_surprise(clip, tmp_path):
    _fuzz(clip, tmp_path, seeds=range(12))


@pytest.mark.parametrize("suffix", [".mkv", ".ts", ".avi", ".webm"])
def test_flipped_bits_in_other_containers(tmp_path, suffix):
    codec = {".avi": "mpeg4", ".webm": "libvpx-vp9"}.get(suffix, "libx264")
    sound = {".avi": None, ".webm": "libopus"}.get(suffix, "aac")
    time_base, pts = (FRAME, range(60)) if suffix == ".avi" else (FRAME / 40, None)
    path = make_video(tmp_path / f"v{suffix}", frames=60, codec=codec, sound=sound, time_base=time_base, pts=pts)
    _fuzz(path, tmp_path, seeds=range(20))


def _fuzz(video, folder, *, seeds):
    (folder / "fuzz").mkdir()
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", FUZZ, video, folder / "fuzz", str(seeds[0]), str(seeds[-1])],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"after seed {done.stdout[-300:]}:\n{done.stderr[-3000:]}"
    outcomes = done.stdout.splitlines()
    assert len(outcomes) == len(seeds)
    assert any("frames" in line for line in outcomes)
    assert done.stderr == ""
    assert not list((folder / "fuzz").glob(".*"))

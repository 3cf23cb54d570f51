import gc
from fractions import Fraction

import av
import numpy as np
import pytest
from fakes import ScriptedSource, make_video, read_video

from realtime.errors import SinkError, SourceError
from realtime.results import Result
from realtime.sinks.audio import Audio
from realtime.sinks.base import Ending
from realtime.sinks.video_file import VideoFileSink
from realtime.sources.video_file import VideoFileSource
from realtime.structures import Detections, Frame


def frames_of(path):
    source = VideoFileSource(path)
    try:
        return list(iter(source.read, None))
    finally:
        source.close()


def test_images_are_freed_when_they_are_read(tmp_path):
    """They are megabytes: none may wait for the garbage collector, as those that refer to themselves do."""
    source = VideoFileSource(make_video(tmp_path / "in.mp4", frames=30))
    source.read()
    gc.collect()
    gc.disable()
    try:
        assert len(list(iter(source.read, None))) == 29
        assert gc.collect() == 0
    finally:
        gc.enable()
        source.close()


def copy(path, out, *, sound=True, limit=None):
    """Write a video again, undrawn."""
    source = VideoFileSource(path)
    sink = VideoFileSink(
        out, size_wh=source.size_wh, frame_rate=source.frame_rate, time_base=source.time_base,
        audio=Audio(path) if sound else None, origin_s=source.origin_s,
    )  # fmt: skip
    ending = Ending.STOPPED
    for _ in range(limit or 10**6):
        frame = source.read()
        if frame is None:
            ending = Ending.COMPLETE
            break
        sink.write(Result(frame, Detections.empty(), frame.image))
    sink.close(ending)
    source.close()


def test_every_frame_comes_in_order_and_cannot_be_written_to(tmp_path):
    frames = frames_of(make_video(tmp_path / "v.mp4", frames=12))
    assert [frame.index for frame in frames] == list(range(12))
    for frame in frames:
        assert abs(float(frame.image.mean()) - 20 * frame.index) < 4
        assert not frame.image.flags.writeable


def test_colours_are_blue_green_red(tmp_path):
    with av.open(str(tmp_path / "v.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        red = np.zeros((48, 64, 3), np.uint8)
        red[..., 0] = 255
        container.mux(stream.encode(av.VideoFrame.from_ndarray(red, format="rgb24")))
        container.mux(stream.encode(None))
    blue, green, red = frames_of(tmp_path / "v.mp4")[0].image.mean(axis=(0, 1))
    assert red > 240
    assert blue < 20
    assert green < 20


def test_uneven_timestamps_are_kept(tmp_path):
    pts = [0, 33, 70, 71, 200, 1000, 1001, 1500]
    original = make_video(tmp_path / "v.mkv", frames=8, pts=pts)
    copy(original, tmp_path / "out.mp4")
    assert [round(1000 * t) for t, _ in read_video(tmp_path / "out.mp4")] == pts


def test_the_copy_has_every_frame_in_order(tmp_path):
    copy(make_video(tmp_path / "v.mp4", frames=12), tmp_path / "out.mp4")
    levels = [picture.mean() for _, picture in read_video(tmp_path / "out.mp4")]
    np.testing.assert_allclose(levels, [20 * i for i in range(12)], atol=5)


def test_the_copy_plays_in_a_browser(tmp_path):
    copy(make_video(tmp_path / "v.mp4"), tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        context = container.streams.video[0].codec_context
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")
    content = (tmp_path / "out.mp4").read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")  # 'faststart': playable before it is loaded


def test_odd_sizes_gain_a_pixel(tmp_path):
    source = ScriptedSource(3, size_wh=(63, 47))
    sink = VideoFileSink(
        tmp_path / "out.mp4", size_wh=(63, 47), frame_rate=Fraction(25), time_base=Fraction(1, 25), audio=None
    )
    while (frame := source.read()) is not None:
        sink.write(Result(frame, Detections.empty(), frame.image))
    sink.close(Ending.COMPLETE)
    assert read_video(tmp_path / "out.mp4")[0][1].shape == (48, 64, 3)


def test_colours_are_tagged_and_kept(tmp_path):
    out = tmp_path / "out.mp4"
    sink = VideoFileSink(out, size_wh=(64, 48), frame_rate=Fraction(25), time_base=Fraction(1, 25), audio=None)
    image = np.zeros((48, 64, 3), np.uint8)
    image[..., 2] = 255  # red
    sink.write(Result(Frame(image, 0, 0.0, 0.0), Detections.empty(), image))
    sink.close(Ending.COMPLETE)
    with av.open(str(out)) as container:
        context = container.streams.video[0].codec_context
        assert context.colorspace == context.color_primaries == context.color_trc == 1  # BT.709
        luma = next(container.decode(video=0)).to_ndarray()[:48].mean()  # the first plane of yuv420p
    assert abs(luma - 63) < 3  # 16 + 219 * 0.2126, red in BT.709; it would be 81 in BT.601


def packets_of(path):
    with av.open(str(path)) as container:
        return [(round(float(p.pts * p.time_base), 3), bytes(p)) for p in container.demux(audio=0) if p.dts is not None]


def test_sound_is_copied_untouched(tmp_path):
    original = make_video(tmp_path / "v.mp4", frames=50, sound="aac")
    copy(original, tmp_path / "out.mp4")
    assert packets_of(original)
    assert packets_of(tmp_path / "out.mp4") == packets_of(original)


def test_sound_that_mp4_cannot_hold_is_encoded(tmp_path):
    original = make_video(tmp_path / "v.mkv", frames=50, sound="pcm_s16le")
    copy(original, tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        stream = container.streams.audio[0]
        assert stream.codec_context.name == "aac"
        samples = np.concatenate([f.to_ndarray()[0] for f in container.decode(audio=0)])
    assert abs(len(samples) / 16_000 - 2.0) < 0.15
    assert samples.std() > 0.1  # the tone, not silence


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize("codec", ["aac", "libopus", "libmp3lame", "pcm_s16le"])
def test_every_container_takes_every_sound(tmp_path, codec, suffix):
    out = tmp_path / f"out{suffix}"
    copy(make_video(tmp_path / "v.mkv", frames=25, sound=codec), out)
    with av.open(str(out)) as container:
        samples = sum(frame.samples / frame.sample_rate for frame in container.decode(audio=0))
    assert 0.9 < samples < 1.3


def test_sound_that_outlasts_the_image_is_kept_to_its_end(tmp_path):
    original = make_video(tmp_path / "v.mp4", frames=100, pts=[i // 4 for i in range(0, 400, 4)], sound="aac")
    copy(original, tmp_path / "out.mp4")
    assert packets_of(tmp_path / "out.mp4") == packets_of(original)
    assert packets_of(original)[-1][0] > 3


def test_sound_ends_with_the_image_if_the_run_was_cut_short(tmp_path):
    original = make_video(tmp_path / "v.mp4", frames=100, sound="aac")
    copy(original, tmp_path / "out.mp4", limit=25)
    assert 0.8 < packets_of(tmp_path / "out.mp4")[-1][0] <= 24 * 0.04


def test_no_frame_leaves_no_file(tmp_path):
    sink = VideoFileSink(
        tmp_path / "out.mp4", size_wh=(64, 48), frame_rate=Fraction(25), time_base=Fraction(1, 25), audio=None
    )
    sink.close(Ending.COMPLETE)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_run_leaves_no_file_and_keeps_an_older_one(tmp_path):
    out = tmp_path / "out.mp4"
    out.write_text("older")
    sink = VideoFileSink(out, size_wh=(64, 48), frame_rate=Fraction(25), time_base=Fraction(1, 25), audio=None)
    frame = ScriptedSource(1).read()
    sink.write(Result(frame, Detections.empty(), frame.image))
    sink.close(Ending.FAILED)
    assert out.read_text() == "older"
    assert list(tmp_path.iterdir()) == [out]


def test_timestamps_that_stand_still_or_go_back_are_made_to_rise(tmp_path):
    out = tmp_path / "out.mp4"
    sink = VideoFileSink(out, size_wh=(64, 48), frame_rate=Fraction(25), time_base=Fraction(1, 25), audio=None)
    image = np.zeros((48, 64, 3), np.uint8)
    for pts_s in (0.0, 0.2, 0.2, 0.12, 0.4):
        sink.write(Result(Frame(image, 0, pts_s, 0.0), Detections.empty(), image))
    sink.close(Ending.COMPLETE)
    times = [t for t, _ in read_video(out)]
    assert len(times) == 5
    assert times == sorted(set(times))


@pytest.mark.parametrize("size_wh", [(64, 48), (63, 47)])
def test_frames_that_change_size_are_fitted_into_the_image_of_the_file(tmp_path, size_wh):
    out = tmp_path / "out.mp4"
    sink = VideoFileSink(out, size_wh=size_wh, frame_rate=Fraction(25), time_base=Fraction(1, 25), audio=None)
    for i, (width, height) in enumerate([size_wh, (320, 80), (20, 60), size_wh]):
        image = np.full((height, width, 3), 200, np.uint8)
        sink.write(Result(Frame(image, i, i / 25, 0.0), Detections.empty(), image))
    sink.close(Ending.COMPLETE)
    frames = [image for _, image in read_video(out)]
    assert [image.shape for image in frames] == [(48, 64, 3)] * 4
    bright = [image.mean(axis=2) > 100 for image in frames]
    assert bright[0].all()
    assert bright[3].all()
    assert bright[1].any(axis=0).all()  # 320x80 becomes 64x16 in the middle
    assert np.flatnonzero(bright[1].any(axis=1)).tolist() == list(range(16, 32))
    assert np.flatnonzero(bright[2].any(axis=0)).tolist() == list(range(24, 40))  # 20x60 becomes 16x48


@pytest.mark.parametrize("name", ["out.avi", "out", "out.txt"])
def test_other_kinds_of_file_are_refused(tmp_path, name):
    with pytest.raises(SinkError, match=r"use a name that ends in \.mp4"):
        VideoFileSink(tmp_path / name, size_wh=(64, 48), frame_rate=Fraction(25), time_base=Fraction(1, 25), audio=None)


def test_a_missing_video_is_named(tmp_path):
    with pytest.raises(SourceError, match=r"cannot open video .*nix\.mp4: not found"):
        VideoFileSource(tmp_path / "nix.mp4")


def test_a_folder_is_no_video(tmp_path):
    with pytest.raises(SourceError, match="it is a folder"):
        VideoFileSource(tmp_path)


@pytest.mark.parametrize("content", [b"", b"plain text", bytes(range(256)) * 40])
def test_a_file_that_is_no_video_is_refused(tmp_path, content):
    path = tmp_path / "v.mp4"
    path.write_bytes(content)
    with pytest.raises(SourceError, match="not a readable video file"):
        VideoFileSource(path)


def test_a_text_file_is_no_video(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("shopping list\n" * 50)
    with pytest.raises(SourceError, match="not a readable video file"):
        VideoFileSource(path)


def test_sound_alone_is_no_video(tmp_path):
    path = tmp_path / "v.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16_000, layout="mono")
        block = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.int16), format="s16", layout="mono")
        block.sample_rate = 16_000
        container.mux(stream.encode(block))
        container.mux(stream.encode(None))
    with pytest.raises(SourceError, match="no video stream"):
        VideoFileSource(path)

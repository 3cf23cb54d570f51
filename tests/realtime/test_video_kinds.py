"""Videos as people have them: turned, in odd colours, with covers, from discs and broadcasts."""

from fractions import Fraction

import av
import numpy as np
import pytest
from fakes import make_video
from made_videos import BT601, BT709, BT2020, TO_BT2020, Kind, hlg, make, planes_of, pq

from realtime.errors import SourceError
from realtime.sources.demuxer import Demuxer
from realtime.sources.timeline import Timeline, TimestampChooser
from realtime.sources.video_file import VideoFileSource


def frames_of(path, **part):
    source = VideoFileSource(path, **part)
    try:
        return list(iter(source.read, None))
    finally:
        source.close()


def levels_of(frames):
    return [round(float(frame.image.mean()) / 20) for frame in frames]


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_variable_frame_rate_comes_exactly(tmp_path, suffix):
    pts = [0, 33, 70, 71, 200, 1000, 1001, 2500]
    frames = frames_of(make(tmp_path / f"v{suffix}", Kind(pts=pts)))
    assert [frame.pts_s for frame in frames] == pytest.approx([t / 1000 for t in pts], abs=1e-9)


@pytest.mark.parametrize(
    ("rotation", "hflip"), [(90, False), (180, False), (270, False), (0, True), (90, True), (270, True)]
)
def test_rotation_and_mirroring_are_applied(tmp_path, rotation, hflip):
    """The upper right quarter is white; the display matrix tells where it goes."""
    path = tmp_path / "v.mp4"
    image = np.zeros((48, 64, 3), np.uint8)
    image[:24, 32:] = 255
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.set_display_rotation(rotation, hflip=hflip)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    with av.open(str(path)) as container:
        matrix = np.frombuffer(bytes(next(iter(next(container.decode(video=0)).side_data))), np.int32).reshape(3, 3)
    shown = frames_of(path)[0].image
    size_wh = shown.shape[1], shown.shape[0]
    assert size_wh == ((48, 64) if rotation in (90, 270) else (64, 48))
    # Independently of the code: the middle of the white part, moved by the matrix about the middle of the image.
    middle = np.array([48 - 32, 12 - 24]) @ (matrix[:2, :2] / 65536)
    x, y = (middle + np.array(size_wh) / 2).astype(int)
    assert shown[y, x].min() > 220
    assert abs(float(shown.mean()) - 255 / 4) < 8
    assert shown[size_wh[1] - 1 - y, size_wh[0] - 1 - x].max() < 30


COLOUR = np.array([0.8, 0.3, 0.2])


@pytest.mark.parametrize(
    ("weights", "colorspace", "full", "pix_fmt"),
    [
        (BT601, 5, False, "yuv420p"), (BT601, 6, False, "yuv420p"), (BT601, 6, True, "yuv420p"),
        (BT601, 5, True, "yuvj420p"), (BT709, 1, False, "yuv420p"), (BT709, 1, True, "yuv420p"),
        (BT709, 1, True, "yuvj420p"), (BT2020, 9, False, "yuv420p"), (BT709, 1, False, "yuv420p10le"),
        (BT601, 6, True, "yuv420p10le"), (BT709, 1, False, "yuv444p"), (BT709, 1, False, "yuv422p10le"),
    ],
)  # fmt: skip
def test_colours_are_read_by_their_tags(tmp_path, weights, colorspace, full, pix_fmt):
    bits = 10 if "10" in pix_fmt else 8
    tags = {"colorspace": colorspace, "color_range": 2 if full else 1}
    kind = Kind(frames=2, pix_fmt=pix_fmt, tags=tags, planes=[planes_of(COLOUR, weights, full=full, bits=bits)],
                options={"crf": "1"})  # fmt: skip
    image = frames_of(make(tmp_path / "v.mkv", kind))[0].image
    np.testing.assert_allclose(image.mean((0, 1))[::-1], 255 * COLOUR, atol=3)


@pytest.mark.parametrize(("size_wh", "weights"), [((720, 576), BT601), ((1280, 720), BT709), ((640, 1136), BT709)])
def test_untagged_colours_go_by_the_size(tmp_path, size_wh, weights):
    kind = Kind(frames=1, size_wh=size_wh, planes=[planes_of(COLOUR, weights)], options={"crf": "1"})
    image = frames_of(make(tmp_path / "v.mkv", kind))[0].image
    np.testing.assert_allclose(image.mean((0, 1))[::-1], 255 * COLOUR, atol=3)


@pytest.mark.parametrize(("trc", "encode", "white"), [(16, pq, 203 / 10_000), (18, hlg, 0.2646)])
def test_high_dynamic_range_is_brought_to_that_of_screens(tmp_path, trc, encode, white):
    """White at 203 cd/m2 (ITU-R BT.2408) is bright, hues stay, and brighter stays brighter."""
    colours = {"white": [1, 1, 1], "grey": [0.2, 0.2, 0.2], "red": [0.8, 0.05, 0.05], "black": [0, 0, 0]}
    signals = [encode(np.maximum(TO_BT2020 @ np.array(linear) * white, 0)) for linear in colours.values()]
    kind = Kind(
        frames=4, pix_fmt="yuv420p10le", planes=[planes_of(signal, BT2020, bits=10) for signal in signals],
        options={"crf": "1"}, tags={"colorspace": 9, "color_range": 1, "color_trc": trc, "color_primaries": 9},
    )  # fmt: skip
    frames = frames_of(make(tmp_path / "v.mkv", kind))
    seen = {name: frame.image.mean((0, 1))[::-1] for name, frame in zip(colours, frames, strict=True)}
    assert seen["white"].min() > 200
    assert np.ptp(seen["white"]) < 6
    assert 80 < seen["grey"].mean() < 150
    assert np.ptp(seen["grey"]) < 6
    red, green, blue = seen["red"]
    assert red > 180
    assert max(green, blue) < 100
    assert seen["black"].max() < 10


def test_an_image_that_no_one_can_convert_by_its_tags_is_converted_without(tmp_path):
    kind = Kind(frames=2, planes=[planes_of(COLOUR, BT709)], tags={"colorspace": 14, "color_range": 1})  # ICtCp
    assert len(frames_of(make(tmp_path / "v.mkv", kind))) == 2


def test_a_cover_is_no_video(tmp_path):
    path = make(tmp_path / "v.mp4", Kind(frames=3, cover=True))
    with av.open(str(path)) as container:
        assert len(container.streams.video) == 2
    frames = frames_of(path)
    assert [frame.image.shape for frame in frames] == [(48, 64, 3)] * 3


def test_sound_with_a_cover_has_no_video(tmp_path):
    path = tmp_path / "song.mp4"
    with av.open(str(path), "w") as container:
        cover = container.add_stream("png", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 48, "rgb24"
        cover.disposition = av.stream.Disposition.attached_pic
        container.mux(cover.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), "rgb24")))
    with pytest.raises(SourceError, match="it has no video stream"):
        VideoFileSource(path)


@pytest.mark.parametrize(("suffix", "begin_ms"), [(".mkv", 5000), (".ts", 7000), (".mp4", 3000)])
def test_timestamps_of_a_file_that_begins_later_are_its_own(tmp_path, suffix, begin_ms):
    path = make(tmp_path / f"v{suffix}", Kind(pts=[begin_ms + 40 * i for i in range(12)]))
    source = VideoFileSource(path)
    times = [frame.pts_s for frame in iter(source.read, None)]
    source.close()
    np.testing.assert_allclose(np.diff(times), 0.04, atol=1e-6)
    assert source.origin_s == pytest.approx(times[0], abs=1e-6)


def combed_video(path, size_wh=(128, 96), frames=8):
    """A bar that moves between the fields."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg2video", rate=25, options={"flags": "+ildct+ilme", "b": "8000000"})
        stream.width, stream.height, stream.pix_fmt = *size_wh, "yuv420p"
        for i in range(frames):
            image = np.zeros((*size_wh[::-1], 3), np.uint8)
            image[0::2, 20 + 6 * (i % 8) : 60 + 6 * (i % 8)] = 255
            image[1::2, 23 + 6 * (i % 8) : 63 + 6 * (i % 8)] = 255
            picture = av.VideoFrame.from_ndarray(image, format="rgb24")
            picture.pts = i
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


def test_interlaced_images_are_made_whole(tmp_path):
    """Combed as they are stored, and smooth as they come."""
    path = combed_video(tmp_path / "v.mkv")
    with av.open(str(path)) as container:
        stored = [f.to_ndarray(format="gray").astype(float) for f in container.decode(video=0)]
    frames = frames_of(path)
    assert len(frames) == len(stored) == 8
    assert [round(frame.pts_s * 25) for frame in frames] == list(range(8))

    def combs(image):
        return np.abs(np.diff(image, axis=0)).mean()

    assert combs(stored[4]) > 3
    assert combs(frames[4].image.astype(float).mean(2)) < combs(stored[4]) / 3


def test_interlaced_images_may_change_their_size(tmp_path):
    joined = tmp_path / "v.ts"
    parts = [combed_video(tmp_path / f"{w}.ts", (w, 96), frames=40).read_bytes() for w in (128, 160)]
    joined.write_bytes(b"".join(parts))
    frames = frames_of(joined)
    assert 78 <= len(frames) <= 80
    assert {frame.image.shape for frame in frames} == {(96, 128, 3), (96, 160, 3)}


def test_pixels_that_are_not_square_are_reported(tmp_path):
    kind = Kind(frames=1, sample_aspect_ratio=Fraction(16, 15))
    source = VideoFileSource(make(tmp_path / "v.mkv", kind))
    source.close()
    assert source.pixel_aspect == Fraction(16, 15)
    source = VideoFileSource(
        make(tmp_path / "turned.mp4", Kind(frames=1, sample_aspect_ratio=Fraction(16, 15), rotation=90))
    )
    source.close()
    assert source.pixel_aspect == Fraction(15, 16)


def test_a_video_may_change_its_size(tmp_path):
    """As a stream may: frames come as they are, neither stretched nor cut, so that boxes are in their own pixels."""
    first, second = (make_video(tmp_path / f"{w}.ts", frames=40, size_wh=(w, 48)) for w in (64, 96))
    joined = tmp_path / "v.ts"
    joined.write_bytes(first.read_bytes() + second.read_bytes())
    frames = frames_of(joined)
    assert [frame.image.shape for frame in frames] == [(48, 64, 3)] * 40 + [(48, 96, 3)] * 40
    times = [frame.pts_s for frame in frames]
    np.testing.assert_allclose(np.diff(times), 0.04, atol=1e-6)  # the second starts again at 0


@pytest.mark.parametrize(("codec", "suffix"), [("libx264", ".h264"), ("libx265", ".hevc")])
def test_a_raw_stream_plays_at_the_rate_that_it_states(tmp_path, codec, suffix):
    path = tmp_path / f"v{suffix}"
    with av.open(str(path), "w", format=suffix[1:]) as container:
        stream = container.add_stream(codec, rate=15, options={"x265-params": "log-level=none"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for i in range(30):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((48, 64, 3), 8 * i, np.uint8), "rgb24")))
        container.mux(stream.encode(None))
    source = VideoFileSource(path)
    assert source.frame_rate == 15
    times = [frame.pts_s for frame in iter(source.read, None)]
    source.close()
    np.testing.assert_allclose(times, np.arange(30) / 15, atol=1e-6)
    part = [frame.pts_s for frame in frames_of(path, start_s=1.0, duration_s=0.2)]
    np.testing.assert_allclose(part, [1.0, 16 / 15, 17 / 15], atol=1e-6)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_a_pause_of_hours_is_kept(tmp_path, suffix):
    """A camera that records when something moves."""
    hours = 5 * 3600 * 1000
    path = make(tmp_path / f"v{suffix}", Kind(pts=[0, 40, 80, hours, hours + 40, hours + 80]))
    times = np.array([frame.pts_s for frame in frames_of(path)])
    np.testing.assert_allclose(times - times[0], [0, 0.04, 0.08, 18_000, 18_000.04, 18_000.08], atol=1e-3)


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".ts"])
@pytest.mark.parametrize("frames", [1, 2, 3])
def test_a_clip_of_a_moment_has_all_its_frames(tmp_path, frames, suffix):
    source = VideoFileSource(make(tmp_path / f"v{suffix}", Kind(frames=frames, languages=["eng"])))
    times = [frame.pts_s for frame in iter(source.read, None)]
    source.close()
    assert len(times) == frames
    assert source.origin_s <= times[0]


@pytest.mark.parametrize("frames", [2, 5])
def test_joined_recordings_of_a_moment_stay_their_length(tmp_path, frames):
    clip = make(tmp_path / "clip.ts", Kind(frames=frames)).read_bytes()
    joined = tmp_path / "v.ts"
    joined.write_bytes(clip * 8)
    times = [frame.pts_s for frame in frames_of(joined)]
    assert len(times) == 8 * frames
    np.testing.assert_allclose(np.diff(times), 0.04, atol=1e-6)


@pytest.mark.parametrize(
    ("start_s", "duration_s", "expected"),
    [(0, None, range(50)), (1.0, None, range(25, 50)), (0.98, 0.2, range(25, 30)), (0, 0.12, range(3)),
     (1.04, 0.04, [26])],
)  # fmt: skip
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_a_part_is_cut_exactly_by_timestamps(tmp_path, suffix, start_s, duration_s, expected):
    path = make(tmp_path / f"v{suffix}", Kind(pts=[40 * i for i in range(50)]))
    begin_s = frames_of(path)[0].pts_s
    frames = frames_of(path, start_s=start_s, duration_s=duration_s)
    assert [round((frame.pts_s - begin_s) / 0.04) for frame in frames] == list(expected)
    whole = frames_of(path)
    for frame, index in zip(frames, expected, strict=True):
        np.testing.assert_array_equal(frame.image, whole[index].image)


def test_a_part_is_found_without_reading_all_before_it(tmp_path, monkeypatch):
    path = make(tmp_path / "v.mp4", Kind(pts=[40 * i for i in range(250)]))
    decoded = []
    monkeypatch.setattr(
        "realtime.sources.video_file.deinterlace",
        lambda pictures, _: (decoded.append(picture.pts) or picture for picture in pictures),
    )
    assert len(frames_of(path, start_s=9.0, duration_s=0.4)) == 10
    assert len(decoded) < 40


def test_a_part_of_a_broadcast_is_read_no_further_than_its_end(tmp_path, monkeypatch):
    """Also where no key frame follows its beginning."""
    path = make(tmp_path / "v.ts", Kind(pts=[40 * i for i in range(250)], options={"g": "1000", "sc_threshold": "0"}))
    read, packets = [], Demuxer.packets
    monkeypatch.setattr(Demuxer, "packets", lambda demuxer: (read.append(p) or p for p in packets(demuxer)))
    assert len(frames_of(path, start_s=2.0, duration_s=0.4)) == 10
    assert len(read) < 120


def test_a_part_beyond_the_end_is_refused(tmp_path):
    path = make(tmp_path / "v.mp4", Kind())
    with pytest.raises(SourceError, match=r"no frame from 7 s to its end; it is 0\.480 s long"):
        VideoFileSource(path, start_s=7.0)


def test_timestamps_always_rise_and_go_on_where_they_make_no_sense():
    timeline = Timeline(0.04)
    given = [0.0, 0.04, None, 0.12, 0.12, 0.10, 0.16, 99_999.0, 99_999.04, 0.3, 0.34, 5.0]
    times = [timeline(t) for t in given]
    assert times == sorted(set(times))
    assert times[:4] == pytest.approx([0.0, 0.04, 0.08, 0.12])
    assert times[6:11] == pytest.approx([0.16, 0.20, 0.24, 0.28, 0.32])
    assert times[11] == pytest.approx(5.0 - 0.34 + 0.32)  # a pause is kept


def test_decoding_times_are_taken_where_the_others_jump():
    guess = TimestampChooser()
    stamps = [guess(pts, dts) for pts, dts in [(1, 2), (4, 3), (3, 4), (5, 5), (2, 6), (8, 7), (7, 8), (None, 9)]]
    assert stamps == [1, 4, 4, 5, 6, 7, 8, 9]
    guess = TimestampChooser()
    assert [guess(i, i - 2) for i in range(5)] == list(range(5))

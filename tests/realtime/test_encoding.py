import hashlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from fakes import ScriptedSource, read_video

from realtime.errors import SinkError
from realtime.results import Result
from realtime.sinks import encoding
from realtime.sinks.base import Ending
from realtime.sinks.encoding import CODECS, Encoding, choose
from realtime.sinks.video_file import VideoFileSink
from realtime.structures import Detections, Frame


def write(path, chosen, *, frames=5, size_wh=(64, 48), image=None, **options):
    """Encode frames; ``image`` is in all of them, or an iterator gives one for each."""
    source = ScriptedSource(frames, size_wh=size_wh)
    sink = VideoFileSink(
        path, size_wh=size_wh, frame_rate=Fraction(25), time_base=Fraction(1, 1000), encoding=chosen, **options
    )
    while (frame := source.read()) is not None:
        canvas = next(image) if isinstance(image, Iterator) else image
        sink.write(Result(frame, Detections.empty(), frame.image if canvas is None else canvas))
    sink.close(Ending.COMPLETE)
    return path


@pytest.mark.parametrize(
    ("codec", "suffix", "name"),
    [
        ("h264", ".mp4", "h264"), ("h264", ".mkv", "h264"), ("hevc", ".mp4", "hevc"), ("hevc", ".mov", "hevc"),
        ("av1", ".mp4", "av1"), ("av1", ".webm", "av1"), ("vp9", ".webm", "vp9"), ("vp9", ".mkv", "vp9"),
        (None, ".webm", "vp9"), (None, ".mov", "h264"),
    ],
)  # fmt: skip
def test_codecs_and_containers_that_go_together(tmp_path, codec, suffix, name):
    if codec and not encoding.is_available(CODECS[codec]):
        pytest.skip(f"this FFmpeg has no encoder of {codec}")
    out = write(tmp_path / f"out{suffix}", Encoding(codec))
    with av.open(str(out)) as container:
        context = container.streams.video[0].codec_context
        assert name in context.codec.canonical_name
        if name == "hevc":
            assert context.codec_tag == "hvc1"
    times = [time_s for time_s, _ in read_video(out)]
    assert times == pytest.approx([0.04 * i for i in range(5)], abs=0.002)


@pytest.mark.parametrize(("name", "codec"), [("out.webm", "h264"), ("out.mov", "vp9"), ("out.webm", "hevc")])
def test_a_container_that_does_not_hold_a_codec_is_reported(tmp_path, name, codec):
    with pytest.raises(
        SinkError, match=rf"\.{name[4:]} does not hold {codec}; use a name that ends in .*, or use codec "
    ):
        write(tmp_path / name, Encoding(codec))
    assert list(tmp_path.iterdir()) == []


def test_unknown_and_missing_encoders_are_reported(monkeypatch):
    with pytest.raises(SinkError, match=r"^codec theora: there is no encoder for it here; choose h264"):
        choose(Path("a.mp4"), Encoding("theora"))
    monkeypatch.setattr(encoding, "is_available", lambda codec: codec.encoder != "libx265")
    with pytest.raises(SinkError, match=r"^codec hevc: .*choose h264, av1, vp9"):
        choose(Path("a.mp4"), Encoding("hevc"))


def test_quality_decides_the_size(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (96, 128, 3), np.uint8)
    sizes = [
        write(tmp_path / f"{crf}.mp4", Encoding(crf=crf), size_wh=(128, 96), image=noise).stat().st_size
        for crf in (10, 40)
    ]
    assert sizes[0] > 2 * sizes[1]
    with pytest.raises(SinkError, match=r"^crf 60: h264 takes 0 \(best\) to 51"):
        choose(Path("a.mp4"), Encoding(crf=60))


def moving(count, size_wh):
    """A pattern that moves from frame to frame, so that encoders predict frames from others, with a sensor's noise."""
    rng, (width, height) = np.random.default_rng(0), size_wh
    cells = rng.integers(0, 255, (height // 12 + 8, width // 12 + 8, 3), np.uint8)
    pattern = cv2.resize(cells, (width + 64, height + 64), interpolation=cv2.INTER_CUBIC)
    for i in range(count):
        noise = rng.normal(0, 3, (height, width, 3)).round().astype(np.int16)
        yield cv2.add(pattern[2 * i : 2 * i + height, 3 * i : 3 * i + width], noise, dtype=cv2.CV_8U)


def fill_free_memory(rng):
    """Leave something else in the memory that is allocated next."""
    sizes = [1 << power for power in range(10, 21) for _ in range(4)]
    blocks = [np.frombuffer(rng.bytes(size), np.uint8).copy() for size in sizes]
    blocks.clear()


@pytest.mark.parametrize("codec", ["h264", "hevc", "av1", "vp9"])
def test_the_same_frames_become_the_same_bytes(tmp_path, codec):
    if not encoding.is_available(CODECS[codec]):
        pytest.skip(f"this FFmpeg has no encoder of {codec}")
    size_wh, rng = (160, 90), np.random.default_rng(0)  # ten macroblocks wide: no multiple of eight
    images, contents = list(moving(12, size_wh)), set()
    for _ in range(8 if codec == "h264" else 3):
        fill_free_memory(rng)
        out = write(tmp_path / "out.mp4", Encoding(codec), frames=len(images), size_wh=size_wh, image=iter(images))
        contents.add(hashlib.sha256(out.read_bytes()).hexdigest())
    assert len(contents) == 1


def test_the_shape_of_pixels_is_kept(tmp_path):
    out = write(tmp_path / "out.mp4", Encoding(), pixel_aspect=Fraction(16, 15))
    with av.open(str(out)) as container:
        assert container.streams.video[0].sample_aspect_ratio == Fraction(16, 15)


@pytest.mark.parametrize("colour", [(0.8, 0.3, 0.2), (0.1, 0.5, 0.9), (1, 1, 1), (0, 0, 0)])
def test_colours_come_back(tmp_path, colour):
    from realtime.sources.video_file import VideoFileSource

    image = np.full((48, 64, 3), 255 * np.array(colour[::-1]), np.uint8)
    source = VideoFileSource(write(tmp_path / "out.mp4", Encoding(crf=1), image=image))
    seen = source.read().image
    source.close()
    np.testing.assert_allclose(seen.mean((0, 1)), image[0, 0], atol=3)


def test_a_run_begins_at_its_origin(tmp_path):
    out = tmp_path / "out.mp4"
    sink = VideoFileSink(out, size_wh=(64, 48), frame_rate=Fraction(25), time_base=Fraction(1, 1000), origin_s=-2.5)
    image = np.zeros((48, 64, 3), np.uint8)
    for i in range(3):
        sink.write(Result(Frame(image, i, -2.5 + 0.1 * i, 0.0), Detections.empty(), image))
    sink.close(Ending.COMPLETE)
    assert [round(time_s, 3) for time_s, _ in read_video(out)] == [0, 0.1, 0.2]

"""What is taken from folders, and what FFmpeg and OpenCV cannot decode."""

import json
import subprocess
import sys

import av
import cv2
import numpy as np
import pytest
from fakes import make_video, stub_model

from realtime.batch.videos import find_videos
from realtime.errors import SourceError
from realtime.sources.video_file import VideoFileSource

RUN = [sys.executable, "-c", "from realtime.cli import run_cli; run_cli()"]


def realtime(*arguments, cwd):
    return subprocess.run(
        [*RUN, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=60, check=False
    )


def frames(count=3):
    return [np.full((48, 64, 3), 60 * i, np.uint8) for i in range(count)]


def animation(path, count=3):
    moving = cv2.Animation()
    moving.frames, moving.durations = frames(count), np.full(count, 100, np.int32)
    assert cv2.imwriteanimation(str(path), moving)
    return path


def raw(path, codec, container_format):
    """A stream of one codec without a container that has timestamps."""
    with av.open(str(path), "w", format=container_format) as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height = 64, 48
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for image in frames():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))


def test_ffmpeg_is_asked_what_is_a_video(tmp_path):
    raw(tmp_path / "raw.h264", "libx264", "h264")
    raw(tmp_path / "raw.y4m", "rawvideo", "yuv4mpegpipe")
    raw(tmp_path / "raw.mjpeg", "mjpeg", "mjpeg")
    animation(tmp_path / "moving.gif")
    for name, kind in (("box.f4v", "mov"), ("box.mk3d", "matroska"), ("box.nut", "nut"), ("box.MPG", "matroska")):
        raw(tmp_path / name, "libx264", kind)
    raw(tmp_path / "v.unknown", "libx264", "matroska")
    make_video(tmp_path / "broken.mp4", frames=1).write_bytes(b"")
    with av.open(str(tmp_path / "sound.mka"), "w", format="matroska") as container:
        audio = container.add_stream("aac", rate=16_000, layout="mono")
        block = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.int16), format="s16", layout="mono")
        block.sample_rate = 16_000
        container.mux(audio.encode(block))
        container.mux(audio.encode(None))
    for name in ("a.png", "a.jpg", "a.avif", "a.webp"):
        cv2.imwrite(str(tmp_path / name), frames()[1])
    for name in ("a.txt", "a.srt", "a.xml", "list.m3u8", "a.nfo"):
        (tmp_path / name).write_text("1\n00:00:01,000 --> 00:00:02,000\nHello\n")
    found = find_videos([str(tmp_path)])
    assert {path.name for path in found.files} == {
        "raw.h264", "raw.y4m", "raw.mjpeg", "moving.gif", "box.f4v", "box.mk3d", "box.nut", "box.MPG", "broken.mp4",
    }  # fmt: skip
    assert found.notices[0].startswith("skipped 11 non-video files: ")


def test_images_of_every_kind_in_a_folder_are_drawn(tmp_path):
    stub_model(tmp_path / "m.onnx")
    (tmp_path / "in").mkdir()
    image = frames()[1]
    jpeg = cv2.imencode(".jpg", image)[1].tobytes()
    for name in ("a.jpg", "b.jfif", "c.JPE", "photo"):
        (tmp_path / "in" / name).write_bytes(jpeg)
    for name in ("c.avif", "d.gif", "e.jp2"):
        cv2.imwrite(str(tmp_path / "in" / name), image)
    animation(tmp_path / "in" / "f.webp")
    (tmp_path / "in" / "g.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))
    done = realtime("image", "in", "--out", "out", "--jsonl", "x.jsonl", "--model", "m.onnx", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "skipped 1 non-image file: 1 .heic" in done.stderr.splitlines()
    assert sorted(path.name for path in (tmp_path / "out").glob("[!.]*")) == [
        "a.jpg", "b.jfif.png", "c.JPE", "c.avif", "d.gif", "e.jp2", "f.webp", "photo.png",
    ]  # fmt: skip
    lines = [json.loads(line) for line in (tmp_path / "x.jsonl").read_text().splitlines()]
    assert [line["image"] for line in lines] == [
        f"in/{name}" for name in ("a.jpg", "b.jfif", "c.JPE", "c.avif", "d.gif", "e.jp2", "f.webp", "photo")
    ]
    for path in (tmp_path / "out").glob("[!.]*"):
        assert cv2.imread(str(path)) is not None


def test_damaged_and_huge_images_are_reported_and_the_others_go_on(tmp_path):
    stub_model(tmp_path / "m.onnx")
    whole = cv2.imencode(
        ".jpg", cv2.resize(np.random.default_rng(0).integers(0, 255, (6, 8, 3), np.uint8), (640, 480))
    )[1]
    (tmp_path / "cut.jpg").write_bytes(whole.tobytes()[: len(whole) // 2])
    (tmp_path / "cut.png").write_bytes(cv2.imencode(".png", frames()[1])[1].tobytes()[:-20])
    (tmp_path / "huge.ppm").write_bytes(b"P6\n40000 30000\n255\n" + bytes(100))
    cv2.imwrite(str(tmp_path / "ok.png"), frames()[1])
    names = ["cut.jpg", "cut.png", "huge.ppm", "ok.png"]
    done = realtime(
        "image", *names, "--model", "m.onnx", "--reach", "near", "--out", "out", "--jsonl", "-", cwd=tmp_path
    )
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if not line.startswith("running on the CPU")]
    assert lines == [
        "error: cut.jpg is damaged: it is cut short. What could be read is kept",
        "error: cannot read image cut.png: it is cut short",
        "error: cannot read image huge.ppm: it is too large, the limit is 268435456 pixels; make it smaller, or set "
        "the environment variable OPENCV_IO_MAX_IMAGE_PIXELS",
        "2 images, 2 faces; wrote out",
        "3 of 4 images could not be read in full",
    ]
    assert [json.loads(line)["image"] for line in done.stdout.splitlines()] == ["cut.jpg", "ok.png"]
    assert sorted(path.name for path in (tmp_path / "out").glob("[!.]*")) == ["cut.jpg", "ok.png"]


def test_an_animation_that_ffmpeg_cannot_decode_is_named(tmp_path):
    with pytest.raises(SourceError) as refused:
        VideoFileSource(animation(tmp_path / "a.webp"))
    assert str(refused.value) == (
        f"cannot open video {tmp_path}/a.webp: FFmpeg here cannot decode animated WebP; convert it to H.264"
    )


def test_a_codec_that_ffmpeg_cannot_decode_is_named_as_that(tmp_path):
    path = make_video(tmp_path / "v.mkv", frames=3)
    path.write_bytes(path.read_bytes().replace(b"V_MPEG4/ISO/AVC", b"V_FUTURE/ISO/ZZ"))
    with pytest.raises(SourceError, match=r"FFmpeg here cannot decode it: unknown codec; convert it to H\.264"):
        VideoFileSource(path)


def test_jpeg_frames_with_exif_data_are_turned_upright(tmp_path):
    """FFmpeg passes on EXIF data as a kind of side data that PyAV does not know."""
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    jpeg = cv2.imencode(".jpg", np.vstack([np.zeros((32, 64, 3)), np.full((32, 64, 3), 255)]).astype(np.uint8))[
        1
    ].tobytes()
    frame = jpeg[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + jpeg[2:]
    (tmp_path / "a.mjpeg").write_bytes(frame * 3)
    source = VideoFileSource(tmp_path / "a.mjpeg")
    images = [found.image for found in iter(source.read, None)]
    source.close()
    assert len(images) == 3
    assert not source.errors
    assert images[0][:, :16].mean() > 240  # the lower half is at the left after a quarter turn to the right
    assert images[0][:, -16:].mean() < 15

"""Reading images: the same pixels from every format and name, and a clear reason for each that cannot be read."""

import os
import subprocess
import sys

import cv2
import numpy as np
import pytest

from realtime.errors import SinkError, SourceError
from realtime.image_io import can_write, is_image, read_image, write_image
from realtime.image_limit import MAX_PIXELS, VARIABLE
from realtime.image_structure import is_cut_short

NOT_UTF8 = os.fsdecode(b"caf\xe9")
EXIF_6 = b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00\x00\x00\x00\x00"
"""Orientation 6: the image is stored lying on its side."""


def noise(height=40, width=56, channels=3, dtype=np.uint8):
    coarse = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (height // 8, width // 8, channels), dtype)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)


def encoded(suffix, image=None, *parameters):
    return cv2.imencode(suffix, noise() if image is None else image, parameters)[1].tobytes()


def with_exif(jpeg):
    return jpeg[:2] + b"\xff\xe1" + (len(EXIF_6) + 2).to_bytes(2, "big") + EXIF_6 + jpeg[2:]


WHOLE = {
    "baseline.jpg": encoded(".jpg"),
    "progressive.jpg": encoded(".jpg", None, cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    "restarts.jpg": encoded(".jpg", None, cv2.IMWRITE_JPEG_RST_INTERVAL, 2),
    "grey.jpg": encoded(".jpg", noise(channels=1)),
    "rotated.jpg": with_exif(encoded(".jpg")),
    "trailing.jpg": encoded(".jpg") + b"\0" * 999,
    "two.jpg": encoded(".jpg") + encoded(".jpg", noise(80, 80)),
    "a.png": encoded(".png"),
    "alpha.png": encoded(".png", noise(channels=4)),
    "deep.png": encoded(".png", noise(dtype=np.uint16)),
    "trailing.png": encoded(".png") + b"more",
    "a.webp": encoded(".webp"),
    "a.bmp": encoded(".bmp"),
    "a.tif": encoded(".tif"),
    "deep.tif": encoded(".tif", noise(dtype=np.uint16)),
    "a.gif": encoded(".gif"),
    "a.avif": encoded(".avif"),
    "a.jp2": encoded(".jp2"),
    "a.ppm": encoded(".ppm"),
}


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("flags", [cv2.IMREAD_COLOR, cv2.IMREAD_COLOR_RGB, cv2.IMREAD_GRAYSCALE])
def test_pixels_are_those_of_opencv(tmp_path, name, flags):
    """A healthy file is never called damaged, whatever follows its image."""
    path = tmp_path / name
    path.write_bytes(WHOLE[name])
    assert not is_cut_short(WHOLE[name])
    np.testing.assert_array_equal(read_image(path, flags), cv2.imread(str(path), flags))


def test_a_rotated_tiff_is_turned_upright(tmp_path):
    """OpenCV itself reads such files from memory alone."""
    image_module = pytest.importorskip("PIL.Image")
    exif = image_module.Exif()
    exif[0x0112] = 6
    image_module.fromarray(noise()).save(tmp_path / "a.tif", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif", cv2.IMREAD_COLOR_RGB), np.rot90(noise(), -1))


@pytest.mark.parametrize("name", [name for name in WHOLE if name not in ("trailing.jpg", "two.jpg", "trailing.png")])
@pytest.mark.parametrize("kept", [0.3, 0.6, 0.95])
def test_an_image_that_is_cut_short_is_refused(tmp_path, name, kept):
    path = tmp_path / name
    path.write_bytes(WHOLE[name][: int(kept * len(WHOLE[name]))])
    with pytest.raises(SourceError, match=r"cannot read image .*: it is (damaged, )?cut short"):
        read_image(path)


@pytest.mark.parametrize("name", ["baseline.jpg", "progressive.jpg", "restarts.jpg", "grey.jpg", "rotated.jpg"])
def test_of_a_jpeg_that_is_cut_short_the_part_that_is_there_can_be_used(tmp_path, name, capfd):
    path, whole = tmp_path / name, tmp_path / f"whole-{name}"
    whole.write_bytes(WHOLE[name])
    errors = []
    for missing in (1, 2, len(WHOLE[name]) // 6):
        path.write_bytes(WHOLE[name][:-missing])
        image = read_image(path, on_damage=errors.append)
        assert image.shape == read_image(whole).shape
        assert missing > 2 or (image == read_image(whole)).all()
    damage = f"{path} is damaged: it is cut short. What could be read is kept"
    assert [str(error) for error in errors] == [damage] * 3
    assert capfd.readouterr().err == ""  # libjpeg would print a line that names no file


def test_a_jpeg_whose_end_is_zeros_is_cut_short(tmp_path):
    """What a copy that was broken off leaves on some file systems."""
    half = len(WHOLE["baseline.jpg"]) // 2
    (tmp_path / "a.jpg").write_bytes(WHOLE["baseline.jpg"][:half] + bytes(half))
    with pytest.raises(SourceError, match="it is cut short"):
        read_image(tmp_path / "a.jpg")


def test_a_thumbnail_in_the_header_is_not_the_end():
    thumbnail = b"\xff\xe1" + (len(WHOLE["grey.jpg"]) + 2).to_bytes(2, "big") + WHOLE["grey.jpg"]
    jpeg = WHOLE["baseline.jpg"][:2] + thumbnail + WHOLE["baseline.jpg"][2:]
    assert not is_cut_short(jpeg)
    assert is_cut_short(jpeg[:-200])


@pytest.mark.parametrize("name", ["baseline.jpg", "a.png", "a.tif"])
def test_a_name_that_is_not_utf8_is_read_and_written(tmp_path, name):
    folder = tmp_path / NOT_UTF8
    folder.mkdir()
    path = folder / f"{NOT_UTF8}-{name}"
    path.write_bytes(WHOLE[name])
    assert is_image(path)
    write_image(folder / f"{NOT_UTF8}.png", read_image(path))
    np.testing.assert_array_equal(read_image(folder / f"{NOT_UTF8}.png"), read_image(path))
    path.write_bytes(b"BM no image")
    with pytest.raises(SourceError, match="cannot read image"):
        read_image(path)


def test_an_unknown_ending_of_a_name_is_refused_before_the_file_is_written(tmp_path):
    for suffix in (NOT_UTF8, "", ".doc", ".heic"):
        assert not can_write(suffix)
        with pytest.raises(SinkError, match="its name does not end as an image's"):
            write_image(tmp_path / f"a{suffix}", noise())
    assert list(tmp_path.iterdir()) == []


def ppm(width, height):
    """The beginning of an image of that size."""
    return f"P6\n{width} {height}\n255\n".encode() + bytes(100)


@pytest.mark.parametrize("size_wh", [(40_000, 30_000), (20_000, 20_000), (2_000_000, 1)])
def test_an_image_that_is_too_large_is_one_line(tmp_path, size_wh):
    """In a process of its own, since OpenCV reads the limit when it is loaded."""
    path = tmp_path / "huge.ppm"
    path.write_bytes(ppm(*size_wh))
    code = "import sys, realtime.image_io as io, pathlib; io.read_image(pathlib.Path(sys.argv[1]))"
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr.splitlines()[-1] == (
        f"realtime.errors.SourceError: cannot read image {path}: it is too large, the limit is {MAX_PIXELS} pixels; "
        f"make it smaller, or set the environment variable {VARIABLE}"
    )


def test_the_reason_is_that_of_the_system(tmp_path):
    (tmp_path / "empty.jpg").write_bytes(b"")
    for name, reason in (("no.png", "not found"), ("", "Is a directory"), ("empty.jpg", "not a readable image")):
        with pytest.raises(SourceError, match=f"cannot read image .*: {reason}$"):
            read_image(tmp_path / name)


def test_images_in_a_folder_are_known_by_name_or_by_content(tmp_path):
    jpeg, tiff = WHOLE["baseline.jpg"], WHOLE["a.tif"]
    images = {
        "broken.png": b"no image", "a.jfif": jpeg, "a.jpe": jpeg, "photo": jpeg, "a.gif": WHOLE["a.gif"],
        "a.avif": WHOLE["a.avif"], "a.jp2": WHOLE["a.jp2"], "a.ppm": WHOLE["a.ppm"], "a.dib": WHOLE["a.bmp"],
        "a.TIF": tiff, "cut.avif": WHOLE["a.avif"][:100],
    }  # fmt: skip
    others = {
        "raw.dng": tiff,
        "raw.nef": tiff,
        "list.txt": b"BMW, Audi",
        "note": b"P1 meeting",
        "e.csv": b"",
        "a.gif~": b"x",
    }
    for name, content in (images | others).items():
        (tmp_path / name).write_bytes(content)
    os.mkfifo(tmp_path / "pipe")  # reading it would wait for ever
    assert {path.name for path in tmp_path.iterdir() if is_image(path)} == set(images)

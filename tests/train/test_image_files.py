"""Images of data sets: all are read by the app's function, whatever their names and formats."""

import os

import cv2
import numpy as np
import pytest
from tiny_data import make_data_set, noise_image, write_image

from realtime.image_io import read_image as app_read_image
from train.data.data_yaml import load_data_config
from train.data.dataset import load_split, split_images
from train.data.images import images_of, read_image
from train.errors import TrainError
from train.evaluation.matching import Boxes
from train.evaluation.predict import outcome
from train.evaluation.report import write_report
from train.loop.run_log import data_hash
from train.prepare.celebamask import mask_extent
from train.prepare.photo import images_by_stem, read_negatives

NOT_UTF8 = os.fsdecode(b"caf\xe9")
FIT = ("--arch", "nano", "--weights", "none", "--size", 64, "--epochs", 1, "--batch-size", 2, "--workers", 0)


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


@pytest.fixture
def data(tmp_path):
    """A data set of four images to train on, two to validate, and what macOS and Windows leave behind."""
    data = make_data_set(tmp_path, train=4, val=2)
    for name in ("images/train/._000.png", "images/train/__MACOSX/000.png", "labels/train/._000.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("no image")
    (tmp_path / "images/train/Thumbs.db").write_text("")
    return data


def test_training_and_the_app_read_the_same_pixels(tmp_path):
    for suffix in (".jpg", ".png", ".webp", ".tif", ".avif", ".gif"):
        path = write_image(tmp_path / f"a{suffix}", noise_image(48, 64, 0))
        np.testing.assert_array_equal(read_image(path), app_read_image(path)[..., ::-1])


def test_what_systems_leave_behind_is_no_image(data, tmp_path, train_cli):
    config = load_data_config(data)
    assert [image.path.name for image in split_images(config, "train")] == [f"{i:03}.png" for i in range(4)]
    code, out, err = train_cli("check", data)
    assert (code, err) == (0, "")
    assert "._000" not in out
    assert len(read_negatives(tmp_path / "images" / "train")) == 4
    assert len(images_by_stem(tmp_path / "images" / "train")) == 4


def test_a_data_set_in_a_hidden_folder_is_read(tmp_path):
    assert len(load_split(load_data_config(make_data_set(tmp_path / ".cache")), "train")) == 8


def test_images_of_every_kind_are_found(tmp_path):
    jpeg = write_image(tmp_path / "a.jpg", noise_image(48, 64, 0)).read_bytes()
    (tmp_path / "b.jfif").write_bytes(jpeg)
    for name in ("c.avif", "d.gif", "e.jp2"):
        write_image(tmp_path / name, noise_image(48, 64, 0))
    (tmp_path / "notes.txt").write_text("BM")
    (tmp_path / "raw.cr2").write_bytes(b"II*\0" + bytes(100))
    assert [image.path.name for image in images_of(tmp_path)] == ["a.jpg", "b.jfif", "c.avif", "d.gif", "e.jp2"]
    assert len(read_negatives(tmp_path)) == 5


def test_fit_and_check_name_an_image_that_is_cut_short(data, tmp_path, train_cli):
    for i in range(4):  # whatever the order in which they are read
        path = tmp_path / "images" / "train" / f"{i:03}.png"
        cv2.imwrite(str(path.with_suffix(".jpg")), cv2.imread(str(path)))
        path.unlink()
        cut(path.with_suffix(".jpg"))
    reasons = [f"cannot read image {tmp_path}/images/train/{i:03}.jpg: it is cut short" for i in range(4)]
    code, _, err = train_cli("fit", data, *FIT, "--out", tmp_path / "run")
    assert code == 1
    assert err.splitlines()[-1] in [f"error: {reason}" for reason in reasons]
    code, out, _ = train_cli("check", data)
    assert code == 1
    assert [line.strip() for line in out.splitlines() if "cut short" in line] == reasons


def test_an_image_that_is_too_large_is_one_problem_of_many(data, tmp_path, train_cli):
    (tmp_path / "images/train/huge.png").write_bytes(b"P6\n40000 30000\n255\n" + bytes(100))
    code, out, err = train_cli("check", data)
    assert (code, err) == (1, "")
    assert f"cannot read image {tmp_path}/images/train/huge.png: it is too large" in out


def test_a_name_that_is_not_utf8_is_checked_shown_and_logged(data, tmp_path, train_cli):
    for folder, suffix in (("images", ".png"), ("labels", ".txt")):
        (tmp_path / folder / "train" / f"000{suffix}").rename(tmp_path / folder / "train" / f"{NOT_UTF8}{suffix}")
    (tmp_path / "labels" / "train" / f"no-{NOT_UTF8}.txt").write_text("")
    code, out, err = train_cli("check", data)
    assert (code, err) == (0, "")
    assert r"no-caf\udce9.txt: expected an image" in out
    grid = tmp_path / f"{NOT_UTF8}.png"
    assert train_cli("preview", data, "--arch", "nano", "--count", 4, "--out", grid)[0] == 0
    assert app_read_image(grid).any()
    images = load_split(load_data_config(data), "train")
    assert len(data_hash(images)) == 64
    nothing = Boxes(np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, np.float32))
    outcomes = [outcome(image.path, nothing, nothing) for image in images]
    page = write_report(outcomes, ("a",), tmp_path, title="", size=64, with_labels=False)
    assert r"caf\udce9.png" in page.read_text(encoding="utf-8")


def test_photos_and_masks_are_read_the_same_way(tmp_path):
    mask = write_image(tmp_path / "a.png", np.full((8, 8, 3), 255, np.uint8)).rename(tmp_path / f"{NOT_UTF8}.png")
    assert mask_extent([mask])[1] == (8, 8)
    with pytest.raises(TrainError, match="it is cut short"):
        mask_extent([cut(mask)])


def test_prepare_keeps_the_name_of_a_photo_that_is_not_utf8(tmp_path, train_cli):
    write_image(tmp_path / "photos" / "a.jpg", noise_image(48, 64, 0))
    (tmp_path / "photos" / "a.xml").write_text(
        "<annotation><filename>a.jpg</filename><object><name>face</name><bndbox><xmin>9</xmin><ymin>9</ymin>"
        "<xmax>30</xmax><ymax>30</ymax></bndbox></object></annotation>"
    )
    negatives = tmp_path / "negatives"
    write_image(negatives / "b.jpg", noise_image(48, 64, 1)).rename(negatives / f"{NOT_UTF8}.jpg")
    for prefix in ("one", "two"):  # the second run reads the manifest of the first
        code, _, err = train_cli(
            "prepare",
            "voc",
            tmp_path / "photos",
            "--negatives",
            negatives,
            "--out",
            tmp_path / "set",
            "--prefix",
            prefix,
        )
        assert code == 0, err
    assert NOT_UTF8 in (tmp_path / "set/manifest.csv").read_text(encoding="utf-8", errors="surrogateescape")

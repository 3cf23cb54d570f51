import csv
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from face_shape import draw_face, landmarks_68, landmarks_98, pts_text, wflw_line
from tiny_data import noise_image, write_image

from train.data.data_yaml import load_data_config
from train.data.dataset import boxes_in_pixels, load_split
from train.data.examples import letterboxed_example
from train.data.images import read_image
from train.prepare.boxing import CLASS_NAMES, boxes_of_landmarks
from train.prepare.stored import crop_window, store

WHITE = (255, 255, 255)
WIDTH, HEIGHT = 400, 240
MOUTH = (113.6, 114.104, 161.6, 134.924)
"""x1 y1 x2 y2 of the mouth of ``FACE``, by hand: 117.6 to 157.6, 116.764 to 132.264; pads 4 and 1.86 + 0.8."""
FACE = landmarks_68(scale=100, at=(137.6, 76.264))


def face_photo(points=FACE, seed=0):
    """A grey photo of a face, its mouth's box in white."""
    picture = 100 + noise_image(HEIGHT, WIDTH, seed) // 4
    draw_face(picture, points)
    x1, y1, x2, y2 = np.round(boxes_of_landmarks(points)[0][-1]).astype(int)
    picture[y1:y2, x1:x2] = WHITE
    return picture


def write_pts(folder, name, points=FACE, seed=0, suffix=".png"):
    write_image(folder / f"{name}{suffix}", face_photo(points, seed))
    (folder / f"{name}.pts").write_text(pts_text(points))


def write_many(folder, count, start=0):
    for i in range(start, start + count):
        write_pts(folder, f"photo{i:02}x", seed=i, suffix=".jpg")
    return folder


def write_coco(path, names=("cat", "dog"), photos=4, seed=0):
    """A JSON file of photos with one box each, white in the image: 30,20 to 80,60."""
    images, annotations = [], []
    for i in range(photos):
        picture = 100 + noise_image(120, 160, seed + i) // 4
        picture[20:60, 30:80] = WHITE
        write_image(path.parent / f"{i}.png", picture)
        images.append({"id": i, "file_name": f"{i}.png", "width": 160, "height": 120})
        annotations.append({"id": i, "image_id": i, "category_id": i % len(names), "bbox": [30, 20, 50, 40]})
    categories = [{"id": i, "name": name} for i, name in enumerate(names)]
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return path


def manifest(out):
    with (out / "manifest.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def tree(out):
    return {path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()}


def both_splits(out):
    config = load_data_config(out / "data.yaml")
    return [
        image
        for split in ("train", "val")
        if any((out / "images" / split).iterdir())
        for image in load_split(config, split)
    ]


def white_extent(picture) -> list[int]:
    """Outer edges x1 y1 x2 y2 of the white pixels."""
    ys, xs = np.nonzero(picture.min(axis=2) > 205)
    return [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]


def test_pts_boxes_are_where_they_were_cropped_to(tmp_path, train_cli):
    write_pts(tmp_path / "src", "a")

    code, out, err = train_cli("prepare", "pts", tmp_path / "src", "--out", tmp_path / "out", "--val-share", 0)

    assert (code, err) == (0, "")
    assert out == (
        f"wrote to {tmp_path / 'out'}: train 1 images (1 face, 2 eye, 2 eyebrow, 1 nose, 1 mouth), "
        "val 0 images (no boxes)\n"
    )
    (labelled,) = load_split(load_data_config(tmp_path / "out" / "data.yaml"), "train")
    picture = read_image(labelled.path)
    # The face is 87.6..187.6 wide, its top 0.18 * 98 above the eyebrows (59.264), 41.624..157.264; the margin is 57.82.
    assert picture.shape[:2] == (216, 246 - 29)
    boxes = boxes_in_pixels(labelled, *picture.shape[1::-1])
    assert labelled.classes.tolist() == [0, 2, 2, 3, 1, 1, 4]
    assert boxes[0].tolist() == pytest.approx([87.6 - 29, 41.624, 187.6 - 29, 157.264], abs=0.02)
    assert boxes[6].tolist() == pytest.approx([x - 29 * (i % 2 == 0) for i, x in enumerate(MOUTH)], abs=0.02)
    assert boxes[6].tolist() == pytest.approx(white_extent(picture), abs=1)
    (row,) = manifest(tmp_path / "out")
    assert {key: row[key] for key in ("file", "source", "group", "split", "faces", "unlabelled")} == {
        "file": "images/train/pts_a.jpg",
        "source": str(tmp_path / "src" / "a.png"),
        "group": "pts_a",
        "split": "train",
        "faces": "1",
        "unlabelled": "cropped",
    }


def test_no_crop_keeps_the_photo_and_its_file(tmp_path, train_cli):
    write_pts(tmp_path / "src", "a")

    train_cli("prepare", "pts", tmp_path / "src", "--out", tmp_path / "out", "--split", "val", "--no-crop")

    (labelled,) = load_split(load_data_config(tmp_path / "out" / "data.yaml"), "val")
    assert labelled.path.read_bytes() == (tmp_path / "src" / "a.png").read_bytes()
    assert boxes_in_pixels(labelled, WIDTH, HEIGHT)[6].tolist() == pytest.approx(MOUTH, abs=0.02)
    assert manifest(tmp_path / "out")[0]["unlabelled"] == "whole"


def test_max_side_scales_the_crop_and_its_boxes(tmp_path, train_cli):
    write_pts(tmp_path / "src", "a")

    train_cli("prepare", "pts", tmp_path / "src", "--out", tmp_path / "out", "--split", "train", "--max-side", 109)

    (labelled,) = both_splits(tmp_path / "out")
    picture = read_image(labelled.path)
    assert picture.shape == (108, 109, 3)  # half of 216 x 217
    boxes = boxes_in_pixels(labelled, 109, 108)
    assert boxes[6].tolist() == pytest.approx(white_extent(picture), abs=1)
    assert boxes[6].tolist() == pytest.approx([(x - 29 * (i % 2 == 0)) / 2 for i, x in enumerate(MOUTH)], abs=0.4)


def test_prepared_pts_feed_training(tmp_path, train_cli):
    train_cli("prepare", "pts", write_many(tmp_path / "src", 4), "--out", tmp_path / "out", "--val-share", 0.25)

    config = load_data_config(tmp_path / "out" / "data.yaml")
    assert config.class_names == CLASS_NAMES
    assert [len(load_split(config, split)) for split in ("train", "val")] == [3, 1]
    for labelled in load_split(config, "train"):
        example = letterboxed_example(labelled, 96)
        assert example.image.shape == (96, 96, 3)
        assert example.boxes[-1].tolist() == pytest.approx(white_extent(example.image), abs=1.5)


def test_wflw_and_pts_of_one_photo_agree(tmp_path, train_cli):
    write_pts(tmp_path / "src", "a")
    (tmp_path / "list.txt").write_text(wflw_line(landmarks_98(scale=100, at=(137.6, 76.264)), "a.png"))

    out = tmp_path / "out"
    code, _, _ = train_cli("prepare", "wflw", tmp_path / "list.txt", "--images", tmp_path / "src", "--out", out)
    assert code == 0
    code, text, _ = train_cli("prepare", "pts", tmp_path / "src", "--out", out, "--val-share", 1)
    assert code == 0
    assert "train 1 images" in text  # the same pixels: beside its copy

    pts, wflw = both_splits(out)
    assert (pts.path.name, wflw.path.name) == ("pts_a.jpg", "wflw_a.jpg")
    assert wflw.boxes * 216 == pytest.approx(pts.boxes * 216, abs=1.5)


def test_celebamask_through_the_command_line(tmp_path, train_cli):
    write_image(tmp_path / "CelebA-HQ-img" / "12.jpg", noise_image(128, 128, 0))
    for name, (x1, y1, x2, y2) in {"skin": (10, 2, 50, 60), "l_brow": (12, 20, 22, 25)}.items():
        mask = np.zeros((64, 64, 3), np.uint8)
        mask[y1:y2, x1:x2] = 255
        write_image(tmp_path / "CelebAMask-HQ-mask-anno" / "0" / f"00012_{name}.png", mask)

    train_cli("prepare", "celebamask", tmp_path, "--out", tmp_path / "out")

    (labelled,) = both_splits(tmp_path / "out")
    assert labelled.path.name == "celebamask_12.jpg"
    assert (labelled.boxes * 128).tolist() == [
        pytest.approx([20, 25.6, 100, 120], abs=0.01),
        pytest.approx([22, 37.6, 46, 52.4], abs=0.01),
    ]


def test_coco_and_voc_keep_their_classes(tmp_path, train_cli):
    write_coco(tmp_path / "coco" / "instances.json")
    voc = tmp_path / "voc"
    write_image(voc / "JPEGImages" / "v.png", noise_image(120, 160, 50))
    (voc / "Annotations").mkdir()
    box = "<bndbox><xmin>31</xmin><ymin>21</ymin><xmax>80</xmax><ymax>60</ymax></bndbox>"
    (voc / "Annotations" / "v.xml").write_text(f"<annotation><object><name>dog</name>{box}</object></annotation>")

    train_cli("prepare", "coco", tmp_path / "coco" / "instances.json", "--out", tmp_path / "out", "--val-share", 0.5)
    code, out, _ = train_cli("prepare", "voc", voc / "Annotations", "--out", tmp_path / "out", "--split", "val")

    assert code == 0
    assert "val 1 images (1 dog)" in out
    config = load_data_config(tmp_path / "out" / "data.yaml")
    assert config.class_names == ("cat", "dog")
    assert [len(load_split(config, split)) for split in ("train", "val")] == [2, 3]
    for labelled in both_splits(tmp_path / "out"):
        assert boxes_in_pixels(labelled, 160, 120)[0].tolist() == pytest.approx([30, 20, 80, 60], abs=0.01)
    classes = {labelled.path.stem: labelled.classes.tolist() for labelled in both_splits(tmp_path / "out")}
    assert classes == {"coco_0": [0], "coco_1": [1], "coco_2": [0], "coco_3": [1], "voc_v": [1]}


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_byte_order_marks_are_no_characters(tmp_path, train_cli, encoding):
    """In JSON, CSV, YAML, XML and .pts files."""

    def encode(path):
        path.write_bytes(path.read_text(encoding="utf-8").encode(encoding))

    out = tmp_path / "out"
    encode(write_coco(tmp_path / "coco" / "instances.json", names=("face", "dog")))
    assert train_cli("prepare", "coco", tmp_path / "coco" / "instances.json", "--out", out)[0] == 0
    encode(out / "manifest.csv")
    encode(out / "data.yaml")
    box = "<bndbox><xmin>31</xmin><ymin>21</ymin><xmax>80</xmax><ymax>60</ymax></bndbox>"
    write_image(tmp_path / "voc" / "v.png", noise_image(120, 160, 50))
    xml = tmp_path / "voc" / "v.xml"
    xml.write_text(f"<annotation><object><name>dog</name>{box}</object></annotation>")
    encode(xml)
    assert train_cli("prepare", "voc", tmp_path / "voc", "--out", out)[0] == 0
    assert [row["file"] for row in manifest(out)][-1] == "images/train/voc_v.png"

    write_pts(tmp_path / "pts", "a")
    encode(tmp_path / "pts" / "a.pts")
    assert train_cli("prepare", "pts", tmp_path / "pts", "--out", tmp_path / "faces")[0] == 0


def test_linked_folders_are_followed_once(tmp_path, train_cli):
    write_pts(tmp_path / "disk" / "helen", "a")
    write_pts(tmp_path / "disk" / "helen" / "trainset", "b", seed=1)
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "helen").symlink_to(tmp_path / "disk" / "helen")
    (tmp_path / "source" / "again").symlink_to(tmp_path / "disk" / "helen" / "trainset")
    (tmp_path / "disk" / "helen" / "loop").symlink_to("..")

    code, _, err = train_cli("prepare", "pts", tmp_path / "source", "--out", tmp_path / "out", "--no-crop")

    assert (code, err) == (0, "")
    assert sorted(Path(row["source"]).name for row in manifest(tmp_path / "out")) == ["a.png", "b.png"]


def test_other_classes_are_refused(tmp_path, train_cli):
    write_coco(tmp_path / "a" / "a.json")
    write_coco(tmp_path / "b" / "b.json", names=("cat", "cow"), seed=10)
    train_cli("prepare", "coco", tmp_path / "a" / "a.json", "--out", tmp_path / "out")
    before = tree(tmp_path / "out")

    code, _, err = train_cli("prepare", "coco", tmp_path / "b" / "b.json", "--out", tmp_path / "out", "--prefix", "b")

    assert code == 1
    wanted = "is a data set of cat, dog, but the source has also cow. Choose another --out"
    assert err == f"error: --out {tmp_path / 'out'} {wanted}\n"
    assert tree(tmp_path / "out") == before


def test_a_second_run_overwrites_nothing(tmp_path, train_cli):
    source = write_many(tmp_path / "src", 3)
    train_cli("prepare", "pts", source, "--out", tmp_path / "out")
    before = tree(tmp_path / "out")

    code, _, err = train_cli("prepare", "pts", source, "--out", tmp_path / "out")
    assert code == 1
    assert "nothing written, 3 problems" in err
    assert f"photo00x.jpg: pts_photo00x exists, made from {source / 'photo00x.jpg'}. Choose another" in err
    assert tree(tmp_path / "out") == before

    write_many(tmp_path / "src", 2, start=3)
    code, out, err = train_cli("prepare", "pts", source, "--out", tmp_path / "out", "--skip-bad", "--val-share", 0)
    assert code == 0
    assert "warning: 3 problems, left out:" in err
    assert "train 2 images" in out
    assert "3 problems left out" in out
    after = tree(tmp_path / "out")
    assert {path: after[path] for path in before if path.suffix in {".jpg", ".txt"}} == {
        path: content for path, content in before.items() if path.suffix in {".jpg", ".txt"}
    }
    assert len(manifest(tmp_path / "out")) == 5


def test_copies_stay_in_the_split_of_the_photo_they_copy(tmp_path, train_cli):
    source = write_many(tmp_path / "src", 6)
    write_pts(source, "photo00x_mirror", seed=70)  # by its name
    write_pts(source, "other", seed=71)
    shutil.copy(source / "photo01x.jpg", source / "twin.jpg")  # by its pixels
    shutil.copy(source / "photo01x.pts", source / "twin.pts")

    for seed in range(6):
        out = tmp_path / f"out{seed}"
        train_cli("prepare", "pts", source, "--out", out, "--seed", seed, "--val-share", 0.5)
        splits = {row["source"].rsplit("/", 1)[1].split(".")[0]: row["split"] for row in manifest(out)}
        assert splits["photo00x"] == splits["photo00x_mirror"]
        assert splits["photo01x"] == splits["twin"]
        assert list(splits.values()).count("val") == 4  # of 9


def test_a_copy_of_a_training_photo_never_reaches_val(tmp_path, train_cli):
    source = write_many(tmp_path / "src", 2)
    train_cli("prepare", "pts", source, "--out", tmp_path / "out", "--split", "train")
    write_many(source, 1, start=2)

    code, out, _ = train_cli(
        "prepare", "pts", source, "--out", tmp_path / "out", "--split", "val", "--prefix", "again"
    )  # fmt: skip

    assert code == 0
    assert "val 1 images" in out
    assert "2 photos left out, copies of which are in another split" in out
    assert [path.name for path in (tmp_path / "out" / "images" / "val").iterdir()] == ["again_photo02x.jpg"]
    _, out, _ = train_cli("prepare", "pts", source, "--out", tmp_path / "out", "--split", "train", "--prefix", "third")
    assert "train 2 images" in out
    assert "1 photos left out, copies of which are in another split" in out


def test_negatives_have_empty_labels(tmp_path, train_cli):
    write_pts(tmp_path / "src", "a")
    write_image(tmp_path / "neg" / "deep" / "street.png", noise_image(64, 64, 5))

    train_cli(
        "prepare", "pts", tmp_path / "src", "--out", tmp_path / "out", "--negatives", tmp_path / "neg", "--val-share", 0
    )

    rows = {row["file"]: (row["faces"], row["unlabelled"]) for row in manifest(tmp_path / "out")}
    assert rows["images/train/pts_negative_deep_street.png"] == ("0", "negative")
    assert (tmp_path / "out" / "labels" / "train" / "pts_negative_deep_street.txt").read_text() == ""
    assert sorted(len(image.classes) for image in both_splits(tmp_path / "out")) == [0, 7]


def test_all_problems_are_listed_up_to_a_number_and_nothing_is_written(tmp_path, train_cli):
    source = write_many(tmp_path / "src", 1)
    for i in range(25):
        (source / f"bad{i:02}.pts").write_text("")
        (source / f"bad{i:02}.jpg").write_bytes(b"no image")
    (source / "photo00x.jpg").write_bytes(b"no image")

    code, out, err = train_cli("prepare", "pts", source, "--out", tmp_path / "deep" / "out")

    assert (code, out) == (1, "")
    lines = err.splitlines()
    assert lines[0].startswith("error: nothing written, 26 problems. Fix them, or leave these out with --skip-bad:")
    assert len(lines) == 22
    assert lines[1].startswith(f"  {source / 'bad00.pts'}: expected the points between")
    assert lines[-1] == "  … and 6 more"
    assert not (tmp_path / "deep" / "out").exists()


def test_skip_bad_with_nothing_good_writes_nothing(tmp_path, train_cli):
    write_pts(tmp_path / "src", "a")
    (tmp_path / "src" / "a.png").write_bytes(b"no image")

    code, _, err = train_cli("prepare", "pts", tmp_path / "src", "--out", tmp_path / "out", "--skip-bad")

    assert code == 1
    assert f"cannot read image {tmp_path / 'src' / 'a.png'}: not a readable image" in err
    assert f"error: nothing written to {tmp_path / 'out'}: there are no photos to write" in err
    assert not (tmp_path / "out").exists()


def test_labels_of_another_size_or_place_are_problems(tmp_path, train_cli):
    path = write_coco(tmp_path / "a.json", photos=2)
    content = json.loads(path.read_text())
    content["images"][0] |= {"width": 120, "height": 160}
    content["annotations"][1]["bbox"] = [500, 20, 50, 40]
    path.write_text(json.dumps(content))

    _, _, err = train_cli("prepare", "coco", path, "--out", tmp_path / "out")

    assert "0.png: the photo is 160x120 (EXIF rotation applied), its labels are for 120x160" in err
    assert "1.png: none of its 1 boxes is visible in the photo of 160x120" in err


@pytest.mark.parametrize("content", ["foreign", "no manifest", "bad manifest"])
def test_a_folder_that_prepare_did_not_make_is_left_alone(tmp_path, train_cli, content):
    write_pts(tmp_path / "src", "a")
    out = tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    if content != "foreign":
        (out / "data.yaml").write_text("names: [face]\ntrain: .\nval: .\n")
    if content == "bad manifest":
        (out / "manifest.csv").write_text("file,split\na,train\n")
    before = tree(out)

    code, _, err = train_cli("prepare", "pts", tmp_path / "src", "--out", out)

    assert code == 1
    wanted = (
        "manifest.csv: malformed. Expected rows of file,source"
        if content == "bad manifest"
        else "not a data set made by"
    )
    assert wanted in err
    assert tree(out) == before


@pytest.mark.parametrize("prefix", ["", "a/b", "/a"])
def test_a_prefix_is_part_of_a_file_name(tmp_path, train_cli, prefix):
    write_pts(tmp_path / "src", "a")

    code, _, err = train_cli("prepare", "pts", tmp_path / "src", "--out", tmp_path / "out", "--prefix", prefix)

    assert (code, "expected the beginning of a file name" in err) == (1, True)


def test_data_yaml_has_the_class_names_as_they_are(tmp_path, train_cli):
    write_coco(tmp_path / "a.json", names=("yes", "été: 1", "12"))

    train_cli("prepare", "coco", tmp_path / "a.json", "--out", tmp_path / "out")

    assert load_data_config(tmp_path / "out" / "data.yaml").class_names == ("yes", "été: 1", "12")
    assert yaml.safe_load((tmp_path / "out" / "data.yaml").read_text())["train"] == "images/train"


def test_an_exif_rotation_is_followed(tmp_path, train_cli):
    picture = np.full((60, 100, 3), 120, np.uint8)
    picture[10:20, 30:70] = WHITE
    data = cv2.imencode(".jpg", np.rot90(picture, 1)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 98])[1].tobytes()
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"  # orientation 6: turn clockwise
    (tmp_path / "a.jpg").write_bytes(data[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + data[2:])
    assert read_image(tmp_path / "a.jpg").shape == (60, 100, 3)
    entry = {"id": 1, "file_name": "a.jpg", "width": 100, "height": 60}
    label = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [30, 10, 40, 10]}
    content = {"images": [entry], "annotations": [label], "categories": [{"id": 1, "name": "box"}]}
    (tmp_path / "a.json").write_text(json.dumps(content))

    for name, options in (("whole", ()), ("scaled", ("--max-side", 50))):
        train_cli("prepare", "coco", tmp_path / "a.json", "--out", tmp_path / name, *options)
        (labelled,) = both_splits(tmp_path / name)
        stored = read_image(labelled.path)
        boxes = boxes_in_pixels(labelled, *stored.shape[1::-1])
        assert boxes[0].tolist() == pytest.approx(white_extent(stored), abs=1)


def test_boxes_beyond_the_photo_are_clipped_or_left_out():
    boxes = np.array([[-10, 10, 30, 30], [-30, 10, 10, 30], [50, 50, 50.5, 90], [90, 90, 110, 110.0]])

    stored = store(np.zeros((100, 100, 3), np.uint8), boxes, None, None)

    # 75 %, 25 %, half a pixel wide, 25 %
    assert stored.kept.tolist() == [True, False, False, False]
    assert stored.boxes.tolist() == [pytest.approx([0, 0.1, 0.3, 0.3])]
    assert not stored.changed


def test_the_crop_holds_every_box_and_its_margin():
    boxes = np.array([[40.2, 50, 60.2, 60], [70, 10, 72, 50.5]])

    # margins 0.5 * 20 and 0.5 * 40.5
    assert crop_window(boxes, 0.5, (200, 100)) == (30, 0, 93, 71)
    stored = store(np.zeros((100, 200, 3), np.uint8), boxes, 0.5, None)
    assert stored.image.shape == (71, 63, 3)
    assert stored.boxes[0].tolist() == pytest.approx([10.2 / 63, 50 / 71, 30.2 / 63, 60 / 71])
    assert (stored.cropped, stored.changed) == (True, True)


def test_scaling_down_averages_all_pixels():
    board = np.indices((60, 80)).sum(axis=0) % 2 * 255
    picture = np.repeat(board[..., None], 3, axis=2).astype(np.uint8)

    stored = store(picture, np.empty((0, 4)), 0.5, 40)

    assert stored.image.shape == (30, 40, 3)
    assert np.unique(stored.image).tolist() in ([127], [128])
    assert store(picture, np.empty((0, 4)), 0.5, 80).image.shape == (60, 80, 3)  # never up


def test_an_interrupted_run_leaves_the_data_set_as_it_was(tmp_path, train_cli, monkeypatch):
    source = write_many(tmp_path / "src", 2)
    train_cli("prepare", "pts", source, "--out", tmp_path / "out")
    before = tree(tmp_path / "out")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("train.prepare.write.write_manifest", full)
    code, _, err = train_cli("prepare", "pts", source, "--out", tmp_path / "out", "--prefix", "again")

    assert (code, "No space left on device" in err) == (1, True)
    assert tree(tmp_path / "out") == before
    assert not list((tmp_path / "out").glob(".prepare-*"))

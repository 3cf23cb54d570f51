import re
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny_data import make_data_set, write_image

from train.data.data_yaml import load_data_config
from train.data.dataset import LabelledImage, boxes_in_pixels, load_split
from train.data.images import read_image
from train.data.label_places import label_path
from train.data.labels import parse_label, read_labels
from train.errors import TrainError

GREY = np.full((8, 8, 3), 128, np.uint8)


@pytest.fixture
def write_yaml(tmp_path):
    """Write data.yaml beside a folder ``images`` of one image."""
    write_image(tmp_path / "pictures" / "a.png", GREY)

    def write(text: str) -> Path:
        path = tmp_path / "data.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def load_splits(path: Path) -> list[list[LabelledImage]]:
    config = load_data_config(path)
    return [load_split(config, split) for split in ("train", "val")]


@pytest.mark.parametrize("names", ["[face, eye]", "{0: face, 1: eye}", "{1: eye, 0: face}", "\n  - face\n  - ' eye '"])
def test_names_are_a_list_or_a_mapping(write_yaml, names):
    config = load_data_config(write_yaml(f"names: {names}\nnc: 2\ntrain: pictures\nval: pictures\n"))

    assert config.class_names == ("face", "eye")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train: pictures\nval: pictures", "key 'names' is missing. A data set needs 'names', 'train' and 'val'"),
        ("names: [a]\nval: pictures", "key 'train' is missing"),
        ("names: [a]\ntrain: pictures", "key 'val' is missing"),
        ("names: [a]\nnc: 3\ntrain: pictures\nval: pictures", "'nc' is 3, but 'names' has 1 entries"),
        (
            "names: a\ntrain: pictures\nval: pictures",
            "'names' must be a list or a mapping of class names, found str 'a'",
        ),
        ("names: {1: a, 2: b}\ntrain: pictures\nval: pictures", "'names' must map the ids 0 to 1, found [1, 2]"),
        ("names: {0: a, b: 1}\ntrain: pictures\nval: pictures", "'names' must map the ids 0 to 1, found [0, 'b']"),
        ("names: [a, b, a]\ntrain: pictures\nval: pictures", "'names' holds a class name twice: a, b, a"),
        ("names: [a, ' ']\ntrain: pictures\nval: pictures", "'names' must hold non-empty class names"),
        ("names: [a]\ntrain: nowhere\nval: pictures", "neither a folder of images nor a .txt list"),
        ("names: [a]\ntrain: {a: b}\nval: pictures", "'train' must be a folder, a .txt list, or a list of these"),
        ("- a\n- b", "expected a mapping with 'names', 'train' and 'val', found list"),
        ("", "found nothing"),
        ("names: [a\ntrain: b", "not valid YAML"),
    ],
)
def test_bad_data_yaml_is_named_in_one_line(write_yaml, text, message):
    path = write_yaml(text)

    with pytest.raises(TrainError) as error:
        load_splits(path)

    assert str(error.value).startswith(f"{path}: ")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *((name, "a boolean") for name in ("yes", "No", "on", "OFF", "true")),
        *((name, "nothing") for name in ("null", "~")),
        *((name, "a number") for name in ("1.5", "1.0e+3", "007", "0x1F", "1_000", "1:30", "-1", ".inf")),
        ("2024-01-31", "a date"),
    ],
)
@pytest.mark.parametrize("names", ["[face, {}]", "{{0: face, 1: {}}}", "\n- face\n- {}"])
def test_names_that_yaml_reads_as_another_kind_are_refused(write_yaml, name, kind, names):
    path = write_yaml(f"train: pictures\nval: pictures\nnames: {names.format(name)}\n")
    line = 5 if "\n" in names else 3

    with pytest.raises(TrainError) as error:
        load_data_config(path)
    assert str(error.value) == (
        f"{path}:{line}: YAML reads the class name {name} as {kind}. Put it in quotes: '{name}'"
    )

    write_yaml(f"train: pictures\nval: pictures\nnames: {names.format(repr(name))}\n")
    assert load_data_config(path).class_names == ("face", name)


@pytest.mark.parametrize("date", ["2024-13-45", "2024-02-30"])
def test_what_only_looks_like_a_date_is_no_traceback(write_yaml, date):
    with pytest.raises(TrainError, match="not valid YAML"):
        load_data_config(write_yaml(f"names: [{date}]\ntrain: pictures\nval: pictures\n"))


@pytest.mark.parametrize(
    "text", ["nc: '2'\nnames: [face, eye]", "nc: 2.0\nnames: {'0': face, '1': eye}", "names: {1: eye, '0': face}"]
)
def test_numbers_in_quotes_are_numbers(write_yaml, text):
    config = load_data_config(write_yaml(f"{text}\ntrain: pictures\nval: pictures\n"))

    assert config.class_names == ("face", "eye")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nc: yes\nnames: [face]", "'nc' is True, but 'names' has 1 entries"),
        ("nc: '3'\nnames: [face]", "'nc' is '3', but 'names' has 1 entries"),
        ("names: {no: face, yes: eye}", "'names' must map the ids 0 to 1, found [False, True]"),
        ("names: {0: face, 0: eye}", "'names' must map the ids 0 to 1, found [0]"),
        ("names: {0: face, '0': eye}", "'names' must map the ids 0 to 1, found [0, '0']"),
        ("names: [[face], eye]", "'names' must hold non-empty class names"),
        *((f"names: [face]\nkpt_shape: {shape}", "'kpt_shape' must be [points, 2] (x y) or [points, 3]")
          for shape in ("5", "[5]", "[5, 4]", "[yes, 2]", "[-1, 2]", "[5, 2, 1]", "{5: 2}", "[1.5, 2]")),
    ],
)  # fmt: skip
def test_ids_and_counts_that_are_none(write_yaml, text, message):
    with pytest.raises(TrainError, match=re.escape(message)):
        load_data_config(write_yaml(f"{text}\ntrain: pictures\nval: pictures\n"))


def test_folders_named_like_numbers_and_dates(tmp_path, write_yaml):
    for name in ("2024", "2024-01-31", "no"):
        write_image(tmp_path / name / "b.png", GREY)

    train, val = load_splits(write_yaml("names: [a]\ntrain: 2024\nval: [2024-01-31, no]\n"))

    assert (len(train), len(val)) == (1, 2)


@pytest.mark.parametrize("content", [None, b"names: \xff\xfe"])
def test_unreadable_data_yaml(tmp_path, content):
    path = tmp_path / "data.yaml"
    if content:
        path.write_bytes(content)

    with pytest.raises(TrainError, match=r"cannot read .*data\.yaml: "):
        load_data_config(path)


def test_path_is_the_root_of_the_splits(tmp_path, write_yaml):
    write_image(tmp_path / "far" / "away" / "b.png", GREY)

    config = load_data_config(write_yaml("path: far\nnames: [a]\ntrain: away\nval: [away, ../pictures]\n"))

    assert [image.path.name for image in load_split(config, "train")] == ["b.png"]
    assert [image.path.name for image in load_split(config, "val")] == ["b.png", "a.png"]


@pytest.mark.parametrize(
    "text",
    [
        "train: ../pictures\nval: ../pictures",
        "train: [../pictures]\nval: ..\\pictures",
        "path: .\ntrain: ../pictures\nval: pictures\\",
        "path: ../sub\ntrain: ../pictures\nval: pictures",
        "train: ../lists/a.txt\nval: [../lists/a.txt]",
    ],
)
def test_paths_of_a_roboflow_export_are_found(tmp_path, write_yaml, text):
    """They begin with ``../``, as if data.yaml lay in a folder below; so do the lines of a list here."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "pictures").symlink_to("../pictures")
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "pictures").symlink_to("../pictures")
    (tmp_path / "lists" / "a.txt").write_text(
        "../pictures/../../pictures/a.png\n" if "sub" in text else "pictures\\a.png\n"
    )
    root = write_yaml(f"names: [a]\n{text}\n")

    assert [len(images) for images in load_splits(root)] == [1, 1]


def test_a_path_as_written_comes_first(tmp_path, write_yaml):
    write_image(tmp_path / "sub" / "pictures" / "b.png", GREY)
    path = write_yaml("").rename(tmp_path / "sub" / "data.yaml")
    path.write_text("names: [a]\ntrain: ../pictures\nval: pictures\n")

    assert [images[0].path.name for images in load_splits(path)] == ["a.png", "b.png"]


@pytest.mark.parametrize(("named", "used"), [("test", "train"), ("val", "train"), ("train", "val")])
def test_a_split_that_is_not_there_is_an_error_only_where_it_is_used(write_yaml, named, used):
    splits = {"train": "pictures", "val": "pictures"} | {named: "[pictures, nowhere]"}
    config = load_data_config(write_yaml("names: [a]\n" + "".join(f"{key}: {v}\n" for key, v in splits.items())))

    assert len(load_split(config, used)) == 1
    with pytest.raises(TrainError, match=f"'{named}' names .*nowhere, which is neither"):
        load_split(config, named)


def test_a_root_that_is_not_there_is_named(write_yaml):
    config = load_data_config(write_yaml("path: /content/set\nnames: [a]\ntrain: pictures\nval: pictures\n"))

    with pytest.raises(
        TrainError, match=r"'path' names /content/set, which is not a folder: correct it, or leave it out"
    ):
        load_split(config, "train")


def test_linked_folders_are_followed_once(tmp_path, write_yaml):
    write_image(tmp_path / "disk" / "one" / "b.png", GREY)
    write_image(tmp_path / "disk" / "two" / "c.png", GREY)
    pictures = tmp_path / "pictures"
    write_image(pictures / "real" / "d.png", GREY)
    (pictures / "again").symlink_to("real")  # sorted before it, but the folder's own name has the labels
    (pictures / "loop").symlink_to("..")
    (pictures / "self").symlink_to("self")
    (pictures / "real" / "up").symlink_to(pictures)
    (pictures / "disk").symlink_to(tmp_path / "disk")
    (pictures / "disk-one").symlink_to(tmp_path / "disk" / "one")
    config = load_data_config(write_yaml("names: [a]\ntrain: pictures\nval: pictures\n"))

    found = [str(image.path.relative_to(pictures)) for image in load_split(config, "train")]

    assert found == ["a.png", "disk/one/b.png", "disk/two/c.png", "real/d.png"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_byte_order_marks_are_no_characters(tmp_path, encoding):
    write_image(tmp_path / "images" / "a.png", GREY)
    write_image(tmp_path / "images" / "b.png", GREY)
    files = {
        "data.yaml": "names: [é]\ntrain: train.txt\nval: train.txt\n",
        "train.txt": "images/a.png\r\nimages/b.png\r\n",
        "labels/a.txt": "0 0.5 0.5 0.2 0.2\r\n",
    }
    (tmp_path / "labels").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_bytes(text.encode(encoding))

    config = load_data_config(tmp_path / "data.yaml")

    assert config.class_names == ("é",)
    assert [image.classes.tolist() for image in load_split(config, "train")] == [[0], []]


def test_byte_order_marks_in_joined_files_are_no_characters(tmp_path):
    """``cat`` of files that each begin with one."""
    (tmp_path / "a.txt").write_bytes("\ufeff0 0.5 0.5 0.2 0.2\n\ufeff\ufeff0 0.2 0.2 0.2 0.2\n\ufeff".encode())

    assert len(read_labels(tmp_path / "a.txt", 1)[1]) == 2


def test_list_lines_are_relative_to_the_list(tmp_path, write_yaml):
    lists = tmp_path / "lists"
    lists.mkdir()
    (lists / "train.txt").write_text("../pictures/a.png\n\n./../pictures/a.png\n")

    config = load_data_config(write_yaml("names: [a]\ntrain: lists/train.txt\nval: pictures\n"))

    assert [image.path.resolve() for image in load_split(config, "train")] == 2 * [tmp_path / "pictures" / "a.png"]


@pytest.mark.parametrize(
    ("content", "where"),
    [
        (b"pictures/a.png\nmissing.png\n", r"train\.txt:2: image .*missing\.png not found"),
        (b"pictures/\xff.png\n", r"train\.txt: not a UTF-8 text file"),
    ],
)
def test_bad_list_is_named(tmp_path, write_yaml, content, where):
    (tmp_path / "train.txt").write_bytes(content)
    config = load_data_config(write_yaml("names: [a]\ntrain: train.txt\nval: pictures\n"))

    with pytest.raises(TrainError, match=where):
        load_split(config, "train")


def test_unknown_split_names_those_there_are(write_yaml):
    config = load_data_config(write_yaml("names: [a]\ntrain: pictures\nval: pictures\n"))

    with pytest.raises(TrainError, match="there is no split 'test', only train, val"):
        load_split(config, "test")


def test_split_without_images_says_where_it_looked(tmp_path, write_yaml):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.md").touch()
    config = load_data_config(write_yaml("names: [a]\ntrain: empty\nval: pictures\n"))

    with pytest.raises(TrainError, match=r"split 'train' has no images\. Looked in: .*empty"):
        load_split(config, "train")


def test_labels_stand_beside_the_images_and_may_be_empty_or_missing(tmp_path):
    config = load_data_config(make_data_set(tmp_path, train=4))
    (tmp_path / "labels" / "train" / "000.txt").unlink()

    images = load_split(config, "train")

    assert [image.path.name for image in images] == ["000.png", "001.png", "002.png", "003.png"]
    assert [image.classes.tolist() for image in images] == [[], [0, 1], [0, 1], []]
    assert all(image.boxes.shape == (len(image.classes), 4) for image in images)
    assert all((image.boxes.dtype, image.classes.dtype) == (np.float32, np.int64) for image in images)


@pytest.mark.parametrize(
    ("image", "labels"),
    [
        ("data/images/train/a.jpg", "data/labels/train/a.txt"),
        ("images/set/images/a.b.png", "images/set/labels/a.b.txt"),
        ("images/images.jpg", "labels/images.txt"),
        ("my_images/a.jpg", "my_images/a.txt"),
    ],
)
def test_label_path_replaces_the_last_folder_images_alone(image, labels):
    assert label_path(Path(image)) == Path(labels)


@pytest.mark.parametrize(
    ("line", "class_id", "box"),
    [
        ("1 0.5 0.4 0.2 0.6", 1, (0.4, 0.1, 0.6, 0.7)),
        ("0 0.1 0.2 0.5 0.3 0.3 0.9", 0, (0.1, 0.2, 0.5, 0.9)),
        ("2.0 0.1 0.2 0.5 0.3 0.3 0.9 0.05 0.6", 2, (0.05, 0.2, 0.5, 0.9)),
        ("0 0.5 0.5 1.01 1", 0, (-0.005, 0, 1.005, 1)),  # rounding of the labelling tool: not refused
    ],
)
def test_boxes_and_polygons_become_corners(line, class_id, box):
    found_class, found_box = parse_label(line, 3)

    assert found_class == class_id
    assert found_box == pytest.approx(box)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "0 0.5 0.5 0.1",
            "expected 'class cx cy w h' (5 numbers) or a polygon (class + 3 or more points), found 4 numbers",
        ),
        ("0 0.5 0.5 0.1 0.1 0.9", "found 6 numbers"),
        ("0 0.5 0.5 0.1 0.1 0.9 0.8 0.7", "found 8 numbers"),
        ("0 0.5 half 0.1 0.1", "expected numbers, found '0 0.5 half 0.1 0.1'"),
        ("0 0.5 nan 0.1 0.1", "expected finite numbers"),
        ("0 0.5 0.5 inf 0.1", "expected finite numbers"),
        ("2 0.5 0.5 0.1 0.1", "class id 2 is not in 'names' (0 to 1)"),
        ("-1 0.5 0.5 0.1 0.1", "class id -1 is not in 'names' (0 to 1)"),
        ("0.5 0.5 0.5 0.1 0.1", "class id 0.5 is not in 'names' (0 to 1)"),
        ("0 0.5 0.95 0.1 0.2", "box reaches outside the image: x1 y1 x2 y2 = 0.4500 0.8500 0.5500 1.0500"),
        ("0 -0.1 0.5 0.3 0.5 0.3 0.6", "box reaches outside the image"),
        ("0 320 240 50 50", "box reaches outside the image"),  # pixels instead of fractions
        ("0 0.5 0.5 0 0.1", "box has no area: width and height must be above 0"),
        ("0 0.5 0.5 0.1 -0.1", "box has no area"),
        ("0 0.2 0.2 0.4 0.2 0.6 0.2", "box has no area"),
    ],
)
def test_malformed_line_is_named_by_file_and_line(tmp_path, line, message):
    path = tmp_path / "img_07.txt"
    path.write_text(f"0 0.5 0.5 0.1 0.1\n\n{line}\n")

    with pytest.raises(TrainError) as error:
        read_labels(path, num_classes=2)

    assert str(error.value).startswith(f"{path}:3: ")
    assert message in str(error.value)


def test_boxes_are_clipped_to_the_image(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("0 0.5 0.5 1.01 1\n")

    assert read_labels(path, num_classes=1)[0].tolist() == [[0, 0, 1, 1]]


def test_binary_label_file_is_named(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xff\x00\x01")

    with pytest.raises(TrainError, match=r"cannot read .*a\.txt: not a UTF-8 text file"):
        read_labels(path, num_classes=1)


def test_boxes_in_pixels_scale_x_by_width_and_y_by_height(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("0 0.5 0.25 0.2 0.1\n")
    image = LabelledImage(tmp_path / "a.png", *read_labels(path, num_classes=1))

    np.testing.assert_allclose(boxes_in_pixels(image, 200, 100), [[80, 20, 120, 30]], rtol=1e-6)


def test_images_are_read_as_rgb(tmp_path):
    red = np.zeros((4, 6, 3), np.uint8)
    red[..., 0] = 255

    np.testing.assert_array_equal(read_image(write_image(tmp_path / "red.png", red)), red)


def test_exif_orientation_is_applied(tmp_path):
    _, jpeg = cv2.imencode(".jpg", np.zeros((4, 8, 3), np.uint8))
    tiff = struct.pack("<2sHIHHHIHHI", b"II", 42, 8, 1, 0x0112, 3, 1, 6, 0, 0)  # orientation 6: turn by 90 degrees
    exif = b"\xff\xe1" + struct.pack(">H", 8 + len(tiff)) + b"Exif\0\0" + tiff
    path = tmp_path / "turned.jpg"
    path.write_bytes(jpeg[:2].tobytes() + exif + jpeg[2:].tobytes())

    assert read_image(path).shape == (8, 4, 3)


def test_grey_images_get_three_channels(tmp_path):
    assert cv2.imwrite(str(tmp_path / "grey.png"), np.full((4, 6), 7, np.uint8))

    np.testing.assert_array_equal(read_image(tmp_path / "grey.png"), np.full((4, 6, 3), 7))


@pytest.mark.parametrize(("content", "reason"), [(None, "not found"), (b"no picture", "not a readable image")])
def test_unreadable_image_says_why(tmp_path, content, reason):
    path = tmp_path / "a.jpg"
    if content:
        path.write_bytes(content)

    with pytest.raises(TrainError, match=f"cannot read image .*: {reason}"):
        read_image(path)

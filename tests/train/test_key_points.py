"""Label lines of YOLO pose and yolov5-face, and polygons of the same length."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
from tiny_data import noise_image, write_image

from train.data.check import check_data
from train.data.check_report import Kind
from train.data.data_yaml import load_data_config
from train.data.dataset import load_split
from train.data.labels import parse_label
from train.errors import TrainError
from train.evaluation.predict import find_images

FACE = "0 0.44 0.22 0.2 0.26 0.40 0.2 0.48 0.2 0.44 0.24 0.41 0.28 0.47 0.28"
HIDDEN = "0 0.44 0.22 0.2 0.26 0.40 0.2 0 0.48 0.2 0 0.44 0.24 0 0.41 0.28 0"
BOX = [0.34, 0.09, 0.54, 0.35]


def make(root: Path, *lines: str, yaml: str = "") -> Path:
    """A data set of one image for each line, the same for both splits."""
    for i, line in enumerate(lines):
        write_image(root / "images" / f"{i}.png", noise_image(32, 32, i))
        (root / "labels").mkdir(exist_ok=True)
        (root / "labels" / f"{i}.txt").write_text(line + "\n")
    path = root / "data.yaml"
    path.write_text(f"names: [face]\ntrain: images\nval: images\n{yaml}\n")
    return path


def polygon(cx: float, cy: float, radius: float, corners: int, start: float = 0.0) -> str:
    angles = [start + 2 * math.pi * i / corners for i in range(corners)]
    return "0 " + " ".join(f"{cx + radius * math.cos(a):.4f} {cy + radius * math.sin(a):.4f}" for a in angles)


def face(cx: float, cy: float, side: float, rng: np.random.Generator, dims: int = 2) -> str:
    """A box with five key points: eyes, nose, corners of the mouth."""
    points = np.array([(-0.2, -0.15), (0.2, -0.15), (0, 0.05), (-0.15, 0.25), (0.15, 0.25)])
    points = (points + rng.normal(0, 0.03, points.shape)) * side + (cx, cy)
    rest = " ".join(f"{x:.4f} {y:.4f}" + (" 2" if dims == 3 else "") for x, y in points)
    return f"0 {cx:.4f} {cy:.4f} {side} {side} {rest}"


@pytest.mark.parametrize(
    ("line", "shape"), [(FACE, "[5, 2]"), (FACE, "['5', '2']"), (HIDDEN, "[4, 3]"), ("0 0.44 0.22 0.2 0.26", "[5, 2]")]
)
def test_kpt_shape_makes_them_boxes(tmp_path, line, shape):
    config = load_data_config(make(tmp_path, line, yaml=f"kpt_shape: {shape}"))

    assert load_split(config, "train")[0].boxes.tolist() == [pytest.approx(BOX)]


def test_absent_points_may_lie_anywhere(tmp_path):
    line = "0 0.44 0.22 0.2 0.26 -1 -1 -1 -1 0 0 -1 -1 -1 -1"

    config = load_data_config(make(tmp_path, line, yaml="kpt_shape: [5, 2]"))

    assert load_split(config, "train")[0].boxes.tolist() == [pytest.approx(BOX)]


def test_another_number_of_points_than_kpt_shape_is_refused(tmp_path):
    config = load_data_config(make(tmp_path, FACE, yaml="kpt_shape: [4, 3]"))

    with pytest.raises(TrainError) as error:
        load_split(config, "train")
    assert str(error.value) == (
        f"{tmp_path}/labels/0.txt:1: expected 'class cx cy w h' (5 numbers), or 17 with the key points of "
        "'kpt_shape: [4, 3]', found 15 numbers"
    )


@pytest.mark.parametrize(("line", "shape"), [(FACE, "[5, 2]"), (HIDDEN, "[4, 3]")])
def test_without_kpt_shape_they_are_refused_by_file_and_line(tmp_path, line, shape):
    data = make(tmp_path, line, line)
    found = f"{len(line.split())} numbers may be a box with {shape[1]} key points, or a polygon"
    message = (
        f"{tmp_path}/labels/0.txt:1: {found}; "
        f"say which in data.yaml: 'kpt_shape: {shape}' for key points, 'kpt_shape: null' for polygons"
    )

    for read in (
        lambda: load_split(load_data_config(data), "train"),
        lambda: find_images([tmp_path / "images"], data, ("face",)),
        lambda: find_images([tmp_path / "images"], tmp_path / "labels", ("face",)),
    ):
        with pytest.raises(TrainError) as error:
            read()
        assert str(error.value) == message
    problems = [p.message for p in check_data(data).problems if p.kind is Kind.LABEL]
    assert problems == [message, message.replace("0.txt", "1.txt")]


@pytest.mark.parametrize("shape", ["null", "[0, 3]"])
def test_null_makes_them_polygons(tmp_path, shape):
    config = load_data_config(make(tmp_path, FACE, yaml=f"kpt_shape: {shape}"))

    assert load_split(config, "train")[0].boxes.tolist() == [pytest.approx([0.2, 0.2, 0.48, 0.28])]


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("side", [0.05, 0.2, 0.5, 0.8])
def test_faces_of_any_size_are_refused(tmp_path, side, dims):
    rng = np.random.default_rng(0)
    places = rng.uniform(side / 2, 1 - side / 2, (20, 2))

    config = load_data_config(make(tmp_path, *(face(x, y, side, rng, dims) for x, y in places)))

    with pytest.raises(TrainError, match="key points"):
        load_split(config, "train")


@pytest.mark.parametrize("corners", [None, 4, 5, 8, 30, 101])
@pytest.mark.parametrize("radius", [0.02, 0.1, 0.25])
def test_polygons_of_any_size_are_read(tmp_path, radius, corners):
    """Of different lengths, as people draw them, and of one length, as programs do."""
    rng = np.random.default_rng(0)
    places = rng.uniform(radius, 1 - radius, (20, 2))
    lines = [polygon(x, y, radius, corners or int(rng.integers(4, 60)), rng.uniform(0, 6)) for x, y in places]

    images = load_split(load_data_config(make(tmp_path, *lines)), "train")

    assert [len(image.classes) for image in images] == 20 * [1]


@pytest.mark.parametrize(
    "line", [polygon(0.3, 0.3, 0.05, 12), polygon(0.4, 0.3, 0.1, 4, 1), "0 0.2 0.2 0.3 0.2 0.3 0.3 0.2 0.3"]
)
def test_a_single_polygon_is_read(tmp_path, line):
    assert len(load_split(load_data_config(make(tmp_path, line)), "train")[0].classes) == 1


def test_a_few_lines_like_key_points_among_polygons_are_polygons(tmp_path):
    lines = [polygon(0.5, 0.5, 0.2, corners) for corners in range(5, 30)]

    assert len(load_split(load_data_config(make(tmp_path, FACE, *lines)), "train")) == 26


@pytest.mark.parametrize(
    ("line", "shape"),
    [
        ("0 0.5 0.5 0.2 0.2 0.5 0.5 2", "[1, 3]"),
        ("0 0.44 0.22 0.2 0.26 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1", "[5, 2]"),
        ("0 0.44 0.22 0.2 0.26 0.44 0.22 2 0 0 0", "[2, 3]"),
    ],
)
def test_a_line_that_can_be_no_polygon_names_the_way_out(line, shape):
    with pytest.raises(ValueError, match=re.escape(f"If it is a box with key points, add 'kpt_shape: {shape}'")):
        parse_label(line, 1)

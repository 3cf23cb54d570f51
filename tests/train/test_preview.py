import cv2
import numpy as np
import pytest
from tiny_data import make_data_set, write_image

from train.data.data_yaml import load_data_config
from train.data.dataset import load_split
from train.data.examples import Example, letterboxed_example
from train.evaluation.drawing import CLASS_COLOURS, OUTLINE, Mark, class_colour, draw_boxes, draw_legend
from train.loop.examples import EpochExamples
from train.loop.options import FitOptions
from train.loop.preview import GAP_PX, draw_grid, first_examples

SIZE, ZOOM = 64, 5
"""Inputs of 64 px are enlarged to 320."""
PITCH = SIZE * ZOOM + GAP_PX


def read_rgb(path):
    return cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)


def cell(picture, row, column):
    return picture[row * PITCH : row * PITCH + SIZE * ZOOM, column * PITCH : column * PITCH + SIZE * ZOOM]


def edges(image, box):
    """The outermost pixels within a box, xyxy px."""
    x1, y1, x2, y2 = box
    inside = image[y1:y2, x1:x2]
    return np.concatenate([inside[0], inside[-1], inside[:, 0], inside[:, -1]])


def test_boxes_are_drawn_on_their_own_pixels():
    image = np.full((40, 60, 3), 128, np.uint8)
    box = (10, 5, 30, 25)

    drawn = draw_boxes(image, [Mark(box, CLASS_COLOURS[2])])

    assert (edges(drawn, box) == CLASS_COLOURS[2]).all()
    assert (edges(drawn, (9, 4, 31, 26)) == OUTLINE).all()
    changed = np.argwhere((drawn != image).any(axis=2))
    assert (changed.min(axis=0).tolist(), changed.max(axis=0).tolist()) == ([4, 9], [25, 30])
    assert (drawn[8:22, 13:27] == 128).all()
    assert (image == 128).all()


def test_no_boxes_leave_the_image_as_it_is():
    image = np.full((8, 8, 3), 128, np.uint8)

    assert (draw_boxes(image, []) == image).all()


def test_classes_beyond_the_palette_take_its_colours_again():
    assert len(set(CLASS_COLOURS)) == len(CLASS_COLOURS)
    assert class_colour(len(CLASS_COLOURS) + 1) == CLASS_COLOURS[1]


def test_legend_has_every_colour_and_wraps():
    names = [f"class {i}" for i in range(len(CLASS_COLOURS))]

    wide, narrow = draw_legend(names, 2000), draw_legend(names, 320)

    assert len(narrow) > len(wide)
    for legend in (wide, narrow):
        for colour in CLASS_COLOURS:
            assert (legend == colour).all(axis=2).sum() == 17 * 17


def test_grid_puts_boxes_of_the_input_on_enlarged_pixels():
    images = [np.full((SIZE, SIZE, 3), value, np.uint8) for value in (50, 100, 150)]
    boxes = [(8, 16, 24, 40), (0, 0, 64, 64), (40, 40, 60, 50)]
    examples = [
        Example(image, np.array([box], np.float32), np.array([class_id]))
        for class_id, (image, box) in enumerate(zip(images, boxes, strict=True))
    ]

    grid = draw_grid(examples, ("a", "b", "c"))

    assert grid.shape[1] == 2 * PITCH - GAP_PX
    for i, (row, column) in enumerate([(0, 0), (0, 1), (1, 0)]):
        shown = cell(grid, row, column)
        assert (edges(shown, [v * ZOOM for v in boxes[i]]) == CLASS_COLOURS[i]).all()
        assert (shown[30 * ZOOM, 30 * ZOOM] == images[i][30, 30]).all()


def test_preview_shows_the_first_examples_of_a_training(tiny_yaml, tmp_path, train_cli):
    out = tmp_path / "grid.png"

    code, said, _ = train_cli(
        "preview",
        tiny_yaml,
        "--out",
        out,
        "--size",
        SIZE,
        "--count",
        4,
        "--seed",
        7,
        "--flip",
        0,
        "--rotation",
        3,
        "--mosaic",
        0.5,
    )

    assert (code, said) == (0, f"wrote {out}\n")
    picture = read_rgb(out)
    epoch = EpochExamples(
        load_split(load_data_config(tiny_yaml), "train"),
        FitOptions(size=SIZE, batch_size=2, flip=0, rotation_deg=3, mosaic=0.5, seed=7),
        epoch=0,
    )
    for i in range(4):
        example, _ = epoch[i]
        pixels = example.image.repeat(ZOOM, axis=0).repeat(ZOOM, axis=1)
        marks = [
            Mark(tuple(box), CLASS_COLOURS[class_id])
            for box, class_id in zip((example.boxes * ZOOM).tolist(), example.classes.tolist(), strict=True)
        ]
        expected = draw_boxes(pixels, marks)
        np.testing.assert_array_equal(cell(picture, i // 2, i % 2), expected)


def test_another_seed_shows_other_examples(tiny_yaml):
    config = load_data_config(tiny_yaml)

    first, other = (
        first_examples(config, FitOptions(size=SIZE, seed=seed), split="train", count=1, augment=True)[0]
        for seed in (0, 1)
    )

    assert not np.array_equal(first.image, other.image)


@pytest.mark.parametrize("args", [("--split", "val"), ("--no-augment",)])
def test_letterboxed_on_demand_and_for_val(tmp_path, train_cli, args):
    """An image twice as wide as high, its box in the left half: grey above and below."""
    for split, value in (("train", 40), ("val", 200)):
        write_image(tmp_path / "images" / split / "a.png", np.full((64, 128, 3), value, np.uint8))
        (tmp_path / "labels" / split).mkdir(parents=True)
        (tmp_path / "labels" / split / "a.txt").write_text("1 0.25 0.5 0.5 1\n")
    data = tmp_path / "data.yaml"
    data.write_text("names: [a, b]\ntrain: images/train\nval: images/val\n")

    assert train_cli("preview", data, "--out", tmp_path / "grid.png", "--size", SIZE, *args)[0] == 0

    shown = cell(read_rgb(tmp_path / "grid.png"), 0, 0)
    assert (shown[5 * ZOOM, 32 * ZOOM] == 114).all()
    assert (shown[32 * ZOOM, 48 * ZOOM] == (200 if "val" in args else 40)).all()
    assert (edges(shown, [v * ZOOM for v in (0, 16, 32, 48)]) == CLASS_COLOURS[1]).all()


def test_not_augmented_are_the_images_that_a_training_begins_with(tiny_yaml):
    config = load_data_config(tiny_yaml)
    images = load_split(config, "train")
    order = EpochExamples(images, FitOptions(size=SIZE, seed=5), epoch=0).order

    examples = first_examples(config, FitOptions(size=SIZE, seed=5), split="train", count=2, augment=False)

    for example, i in zip(examples, order[:2], strict=True):
        np.testing.assert_array_equal(example.image, letterboxed_example(images[i], SIZE).image)


def test_count_above_the_split_shows_all_of_it(tmp_path):
    config = load_data_config(make_data_set(tmp_path, train=3, val=1))

    for augment in (True, False):
        examples = first_examples(config, FitOptions(size=SIZE), split="train", count=9, augment=augment)
        assert len(examples) == 3


def test_size_is_by_default_that_of_the_architecture(tiny_yaml, tmp_path, train_cli):
    train_cli("preview", tiny_yaml, "--out", tmp_path / "grid.png", "--arch", "mobile", "--count", 1)

    assert read_rgb(tmp_path / "grid.png").shape[1] == 320


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("none/grid.png", "cannot write {at}/none/grid.png: folder {at}/none does not exist"),
        ("grid.doc", "cannot write {at}/grid.doc: no image format has the suffix '.doc'. Use one such as .png"),
        ("folder.png", "cannot write {at}/folder.png: it is a folder"),
    ],
)
def test_image_that_cannot_be_written(tiny_yaml, tmp_path, train_cli, out, message):
    (tmp_path / "folder.png").mkdir()

    code, said, err = train_cli("preview", tiny_yaml, "--out", tmp_path / out, "--size", SIZE, "--count", 1)

    assert (code, said) == (1, "")
    assert err == f"error: {message.format(at=tmp_path)}\n"

import math

import cv2
import numpy as np
import pytest
import torch
from tiny_data import write_image

import train.loop.examples
from train.data.augment import (
    CROWD_GRID,
    MOSAIC_GRID,
    Augment,
    AugmentOptions,
    mosaic_cells,
    random_affine,
    visible_boxes,
)
from train.data.dataset import LabelledImage
from train.data.examples import Example, letterboxed_example, to_tensors
from train.data.geometry import outermost, transform_boxes, warp_onto
from train.data.photometric import relight
from train.loop.examples import EpochExamples
from train.loop.options import FitOptions

SIZE = 96
COLOURS = [(230, 20, 20), (20, 230, 20), (20, 20, 230), (230, 230, 20)]
GEOMETRY_ONLY = {"mosaic": 0.0, "crowd": 0.0, "background": 1.0, "small_share": 0.0}


def labelled(path, picture, boxes, classes) -> LabelledImage:
    """Write an image; ``boxes`` are in its pixels."""
    height, width = picture.shape[:2]
    fractions = np.array(boxes, np.float32).reshape(-1, 4) / np.array([width, height, width, height], np.float32)
    return LabelledImage(write_image(path, picture), fractions, np.array(classes, np.int64))


def rectangle(path, colour=COLOURS[0], class_id=0) -> LabelledImage:
    """A solid rectangle of 40x30 on a dark image of 90x70."""
    picture = np.full((70, 90, 3), 60, np.uint8)
    picture[20:50, 30:70] = colour
    return labelled(path, picture, [(30, 20, 70, 50)], [class_id])


def ellipse(path) -> LabelledImage:
    """A solid ellipse of 50x30 on a dark image of 90x70, drawn so that its edge is where the box says."""
    y, x = np.mgrid[:70, :90] + 0.5
    picture = np.full((70, 90, 3), 60, np.uint8)
    picture[((x - 45) / 25) ** 2 + ((y - 35) / 15) ** 2 <= 1] = COLOURS[0]
    return labelled(path, picture, [(20, 20, 70, 50)], [0])


def coloured_extent(image: np.ndarray) -> np.ndarray:
    """Box xyxy around all pixels that are more of ``COLOURS[0]`` than of the dark image around it."""
    image = image.astype(int)
    ys, xs = np.nonzero((image[..., 0] > 145) & (image[..., 1] < 70) & (image[..., 2] < 70))
    return np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])


def geometric(folder, *images, **options) -> Augment:
    """Augmentation without changes of colour, on a dark background."""
    background = labelled(folder / "background.png", np.full((70, 90, 3), 60, np.uint8), [], [])
    augment = Augment([*images, background], SIZE, AugmentOptions(**(GEOMETRY_ONLY | options)))
    augment._photometric = lambda tensor: tensor
    return augment


def test_letterboxed_example_moves_the_boxes_along(tmp_path):
    example = letterboxed_example(rectangle(tmp_path / "a.png"), 180)

    np.testing.assert_allclose(example.boxes, [[60, 60, 140, 120]])
    np.testing.assert_allclose(coloured_extent(example.image), example.boxes[0], atol=1)


def test_to_tensors_is_torchvisions_format():
    picture = np.zeros((2, 3, 3), np.uint8)
    picture[1, 2] = (255, 0, 51)

    image, target = to_tensors(Example(picture, np.zeros((1, 4), np.float32), np.array([2])))

    assert image.shape == (3, 2, 3)
    torch.testing.assert_close(image[:, 1, 2], torch.tensor([1, 0, 0.2]))
    assert target["labels"].tolist() == [3]  # 0 is the background


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        ([[2, 0, 5], [0, 3, 7]], (25, 67, 65, 157)),
        ([[-1, 0, 100], [0, 1, 0]], (70, 20, 90, 50)),
        ([[0, -1, 60], [1, 0, 0]], (10, 10, 40, 30)),
    ],
    ids=["scale", "flip", "rotation by 90 degrees"],
)
def test_transform_boxes(matrix, expected):
    moved = transform_boxes(np.array([[10, 20, 30, 50]], np.float32), np.array(matrix, np.float64))

    np.testing.assert_allclose(moved, [expected])


def test_transform_boxes_bounds_the_rotated_ellipse():
    angle = np.radians(30)
    matrix = np.array([[np.cos(angle), -np.sin(angle), 50], [np.sin(angle), np.cos(angle), 50]])
    t = np.linspace(0, 2 * np.pi, 10_000)
    outline = matrix[:, :2] @ np.stack([20 * np.cos(t), 10 * np.sin(t)]) + 50

    moved = transform_boxes(np.array([[-20, -10, 20, 10]], np.float32), matrix)

    np.testing.assert_allclose(moved[0], [*outline.min(axis=1), *outline.max(axis=1)], atol=1e-3)


@pytest.mark.parametrize("scale", [0.3, 0.7, 1.0, 3.0])
@pytest.mark.parametrize(("flip", "degrees"), [(1, 0), (-1, 0), (1, 90), (-1, 30)])
def test_pixels_go_where_the_boxes_go(scale, flip, degrees):
    picture = np.zeros((40, 60, 3), np.uint8)
    picture[10:30, 20:40] = 255
    angle = np.radians(degrees)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = rotation @ np.diag([flip * scale, scale])
    matrix = np.column_stack([linear, [100, 100] - linear @ [30, 20]])
    canvas = np.zeros((200, 200, 3), np.uint8)

    warp_onto(canvas, picture, matrix)

    weights = canvas[..., 0] / canvas[..., 0].sum(dtype=float)
    y, x = np.mgrid[:200, :200] + 0.5  # the middle of pixel 0 is at 0.5, as in the boxes
    assert ((x * weights).sum(), (y * weights).sum()) == pytest.approx((100, 100), abs=0.15)


@pytest.mark.parametrize(
    ("draw", "options"),
    [
        (rectangle, {"rotation_deg": 0.0}),
        (rectangle, {"rotation_deg": 25.0, "rotate": 0.0}),
        (ellipse, {"rotation_deg": 25.0, "rotate": 1.0}),
    ],
)
def test_augmented_object_is_where_its_box_says(tmp_path, draw, options):
    augment = geometric(tmp_path, draw(tmp_path / "a.png"), **options)
    inside = 0
    for seed in range(60):
        example = augment(0, np.random.default_rng(seed))
        box = example.boxes[0]
        if box.min() > 0 and box.max() < SIZE:  # the outline of an ellipse that is cut off is another
            inside += 1
            np.testing.assert_allclose(coloured_extent(example.image), box, atol=1.0, err_msg=f"seed {seed}")
    assert inside > 20


def test_cut_off_object_has_a_box_of_its_visible_part(tmp_path):
    augment = geometric(tmp_path, rectangle(tmp_path / "a.png"), rotation_deg=0.0, min_visible=0.01)
    cut = 0
    for seed in range(60):
        example = augment(0, np.random.default_rng(seed))
        box = example.boxes[0]
        if box.min() == 0 or box.max() == SIZE:
            cut += 1
            np.testing.assert_allclose(coloured_extent(example.image), box, atol=1.0, err_msg=f"seed {seed}")
    assert cut > 10


@pytest.mark.parametrize(
    ("grid", "counts"), [(MOSAIC_GRID, {4, 6, 9}), (CROWD_GRID, {16, 20, 24, 25, 30, 36})], ids=["mosaic", "crowd"]
)
def test_mosaic_cells_cover_the_canvas_once(grid, counts):
    found = set()
    for seed in range(80):
        covered = np.zeros((SIZE, SIZE), int)
        cells = mosaic_cells(SIZE, grid, np.random.default_rng(seed))
        for x1, y1, x2, y2 in cells:
            assert min(x2 - x1, y2 - y1) > SIZE / grid[1] / 3
            covered[y1:y2, x1:x2] += 1
        assert (covered == 1).all()
        found.add(len(cells))
    assert found == counts


@pytest.mark.parametrize(("layout", "at_least"), [("mosaic", 2), ("crowd", 6)])
def test_mosaic_boxes_lie_within_the_canvas_on_their_objects(tmp_path, layout, at_least):
    images = [rectangle(tmp_path / f"{i}.png", colour, i) for i, colour in enumerate(COLOURS)]
    augment = geometric(tmp_path, *images, rotation_deg=0.0, **{layout: 1.0})
    several = 0
    for seed in range(30):
        example = augment(seed % 4, np.random.default_rng(seed))
        several += len(example.boxes) > at_least
        assert example.boxes.min() >= 0
        assert example.boxes.max() <= SIZE
        for (x1, y1, x2, y2), class_id in zip(example.boxes, example.classes, strict=True):
            middle = example.image[int((y1 + y2) / 2), int((x1 + x2) / 2)]
            np.testing.assert_allclose(middle, COLOURS[class_id], atol=3, err_msg=f"seed {seed}")
    assert several > 10


def test_the_largest_boxes_of_a_crowd_fill_a_cell_at_most(tmp_path):
    augment = geometric(tmp_path, rectangle(tmp_path / "a.png"), crowd=1.0, rotation_deg=0.0, aspect=0.0)

    sides = [(box[2:] - box[:2]).max() for seed in range(20) for box in augment(0, np.random.default_rng(seed)).boxes]

    assert len(sides) > 100
    assert max(sides) <= 1.6 * SIZE / 4  # the widest cell: a border on either side moved by 0.3 of a cell


def test_outermost_boxes_are_those_whose_centre_is_in_no_larger_box():
    boxes = np.array(
        [
            [10, 10, 50, 60],  # a face
            [15, 20, 25, 24],  # an eye in it
            [40, 20, 58, 26],  # an eye whose centre is in the face, though it reaches outside
            [48, 50, 70, 54],  # centre outside the face
            [80, 10, 90, 20],  # another face
            [80, 10, 90, 20],  # labelled twice: neither is the larger
        ],
        np.float32,
    )

    np.testing.assert_array_equal(outermost(boxes), boxes[[0, 3, 4, 5]])
    np.testing.assert_array_equal(outermost(boxes[1:2]), boxes[1:2])
    assert outermost(boxes[:0]).shape == (0, 4)


def test_the_anchor_is_any_of_the_outermost_boxes_in_the_size_that_was_drawn():
    faces = np.array([[0, 0, 40, 50], [100, 100, 120, 130]], np.float32)
    parts = np.array([[10, 10, 20, 14], [105, 110, 110, 112]], np.float32)
    options = AugmentOptions(max_upscale=99, rotate=0.0, aspect=0.0)

    chosen = set()
    for seed in range(30):
        boxes = np.concatenate([parts, faces])
        matrix = random_affine((200, 200), boxes, (100, 80), (0.5, 0.5 + 1e-6), options, np.random.default_rng(seed))
        longer = (transform_boxes(faces, matrix)[:, 2:] - transform_boxes(faces, matrix)[:, :2]).max(axis=1)
        is_anchor = np.abs(longer - 40) < 0.01  # half of the cell's shorter side
        assert is_anchor.sum() == 1
        chosen.add(int(is_anchor.argmax()))
    assert chosen == {0, 1}


def test_relight_is_a_gamma_between_its_limits():
    ramp = torch.arange(256, dtype=torch.uint8).expand(3, 1, 256)
    gammas = []
    for seed in range(60):
        torch.manual_seed(seed)
        relit = relight(ramp)
        assert (relit.shape, relit.dtype) == (ramp.shape, torch.uint8)
        assert torch.equal(relit[0], relit[2])
        assert (relit[0, 0, 0], relit[0, 0, 255]) == (0, 255)
        assert (relit[0, 0].diff() >= 0).all()
        gamma = math.log(relit[0, 0, 128].item() / 255) / math.log(128 / 255)
        torch.testing.assert_close(relit[0, 0].double(), 255 * (ramp[0, 0].double() / 255) ** gamma, atol=2.5, rtol=0)
        gammas.append(gamma)
    assert 0.49 < min(gammas) < 0.6
    assert 2.2 < max(gammas) < 2.53


def test_images_without_objects_become_backgrounds(tmp_path):
    negative = labelled(tmp_path / "b.png", np.full((40, 50, 3), (10, 200, 10), np.uint8), [], [])
    options = AugmentOptions(**(GEOMETRY_ONLY | {"small_below": 0.05, "box_side": (0.025, 0.2)}))
    augment = Augment([rectangle(tmp_path / "a.png"), negative], SIZE, options)
    augment._photometric = lambda tensor: tensor

    example = augment(0, np.random.default_rng(0))

    is_background = (np.abs(example.image.astype(int) - (10, 200, 10)) < 4).all(axis=2)
    assert 0.2 < is_background.mean() < 1
    assert example.classes.tolist() == [0]
    assert augment(1, np.random.default_rng(0)).boxes.shape == (0, 4)


@pytest.mark.parametrize(("mosaic", "crowd"), [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0)], ids=["single", "mosaic", "crowd"])
def test_an_example_depends_on_index_and_rng_alone(tmp_path, mosaic, crowd):
    images = [rectangle(tmp_path / "a.png"), ellipse(tmp_path / "b.png")]
    options = AugmentOptions(mosaic=mosaic, crowd=crowd)

    def example(index, seed, torch_seed):
        torch.manual_seed(torch_seed)
        return Augment(images, SIZE, options)(index, np.random.default_rng(seed))

    for seed in range(8):
        first, again = example(0, seed, 1), example(0, seed, 2)
        np.testing.assert_array_equal(first.image, again.image)
        np.testing.assert_array_equal(first.boxes, again.boxes)
        np.testing.assert_array_equal(first.classes, again.classes)
        assert not np.array_equal(first.image, example(0, seed + 100, 1).image)
        assert not np.array_equal(first.image, example(1, seed, 1).image)


def test_torchs_global_random_state_is_untouched(tmp_path):
    augment = Augment([rectangle(tmp_path / "a.png")], SIZE)
    torch.manual_seed(3)
    before = torch.get_rng_state()

    for seed in range(5):
        augment(0, np.random.default_rng(seed))

    assert torch.equal(torch.get_rng_state(), before)


def test_photometric_changes_keep_shape_and_type(tmp_path):
    augment = Augment([rectangle(tmp_path / "a.png")], SIZE)

    images = [augment(0, np.random.default_rng(seed)).image for seed in range(20)]

    assert {(image.shape, image.dtype.name) for image in images} == {((SIZE, SIZE, 3), "uint8")}
    # Colours do change: the same object is not always the same red.
    assert len({tuple(cv2.mean(image)) for image in images}) == 20


@pytest.mark.parametrize(
    ("box", "clipped"),
    [
        ((10, 10, 30, 30), (10, 10, 30, 30)),
        ((-10, 10, 10, 30), (0, 10, 10, 30)),  # half of it visible
        ((-13, 10, 7, 30), None),  # 35 % visible
        ((-50, -50, -20, -20), None),
        ((40, 90, 60, 130), None),  # a quarter visible
        ((10, 10, 12, 30), None),  # too thin
        ((10, 10, 14, 14), None),  # both sides too short
        ((10, 10, 16, 13), (10, 10, 16, 13)),
    ],
)
def test_boxes_that_are_cut_off_or_too_small_are_dropped(box, clipped):
    boxes = np.array([(50, 50, 60, 60), box], np.float32)

    remaining, kept = visible_boxes(boxes, (100, 100), AugmentOptions())

    assert kept.tolist() == [True, clipped is not None]
    np.testing.assert_allclose(remaining, [(50, 50, 60, 60)] + ([clipped] if clipped else []))


def test_dropped_boxes_take_their_classes_along(tmp_path):
    picture = np.full((90, 90, 3), 60, np.uint8)
    large_and_tiny = labelled(tmp_path / "a.png", picture, [(2, 2, 4, 4), (20, 20, 80, 80)], [1, 0])

    for seed in range(10):
        example = geometric(tmp_path, large_and_tiny)(0, np.random.default_rng(seed))
        assert example.classes.tolist() == [0] * len(example.boxes)


def test_the_options_of_a_run_are_those_of_its_examples(tmp_path, monkeypatch):
    chosen = {"mosaic": 0.1, "crowd": 0.2, "small_share": 0.3, "flip": 0.4, "rotation_deg": 5.0}
    taken = []

    def augment(images, size, options, read):
        taken.append((size, options))
        return Augment(images, size, options, read)

    monkeypatch.setattr(train.loop.examples, "Augment", augment)
    images = [rectangle(tmp_path / "a.png")]
    options = FitOptions.with_defaults(arch="nano", weights="none", batch_size=1, **chosen)
    EpochExamples(images, options, 0).example(0, 64)
    assert taken == [(64, AugmentOptions(**chosen))]

"""The window of several cameras: where images lie, and what keys and clicks do."""

import numpy as np
import pytest

from realtime.controls import Controls
from realtime.results import Result
from realtime.structures import Detections, Frame
from realtime.ui.grid import cell_at, cells, paste
from realtime.ui.grid_window import GridWindow, Tile
from realtime.ui.overlay import Toast
from realtime.ui.start_screen import GROUND
from realtime.ui.view import View

SIZE_WH = (640, 360)


@pytest.mark.parametrize(
    ("count", "size_wh", "columns", "rows"),
    [(1, SIZE_WH, 1, 1), (2, SIZE_WH, 2, 1), (2, (360, 640), 1, 2), (3, SIZE_WH, 2, 2), (4, SIZE_WH, 2, 2),
     (5, SIZE_WH, 3, 2), (9, SIZE_WH, 3, 3), (4, (2000, 200), 4, 1)],
)  # fmt: skip
def test_images_are_as_large_as_the_space_allows(count, size_wh, columns, rows):
    places = cells(count, size_wh)
    assert len(places) == count
    assert len({x for x, *_ in places}) == columns
    assert len({y for _, y, *_ in places}) == rows
    assert all(x + width <= size_wh[0] and y + height <= size_wh[1] for x, y, width, height in places)
    assert [cell_at(places, x + width // 2, y + height // 2) for x, y, width, height in places] == list(range(count))


def test_no_camera_has_no_place_and_a_gap_belongs_to_nobody():
    assert cells(0, SIZE_WH) == []
    assert cell_at(cells(2, SIZE_WH), 319, 10) is None


def test_an_image_lies_in_the_middle_and_is_cut_where_it_is_too_large():
    canvas = np.zeros((20, 20, 3), np.uint8)
    paste(canvas, np.full((4, 6, 3), 9, np.uint8), (10, 10, 10, 10))
    assert np.argwhere(canvas[..., 0] == 9).min(axis=0).tolist() == [13, 12]
    paste(canvas, np.full((40, 40, 3), 7, np.uint8), (0, 0, 5, 5))
    assert (canvas[:5, :5] == 7).all()
    assert canvas[5:, :5].max() == 0


class Snapshots(list):
    def save(self, result):
        self.append(result)


@pytest.fixture
def grid():
    controls, toast = Controls(0.5, overlay=False), Toast()
    results = [result(60), result(120), None, result(240)]
    tiles = [
        Tile(
            name,
            View(
                controls,
                toast,
                ("face",),
                model="nano on CPU",
                is_live=True,
                source_status=str,
                is_recorded=False,
                camera=name,
            ),
            Snapshots(),
            lambda number=number: results[number],
            lambda: "connecting, 2nd try",
        )
        for number, name in enumerate(("front", "desk", "door", "hall"))
    ]
    window = GridWindow("test", tiles, controls, toast)
    window.results = results
    window._take_results()
    return window


def result(level):
    image = np.full((90, 160, 3), level, np.uint8)
    return Result(Frame(image, 0, 0.0, 0.0), Detections.empty(("face",)))


def levels(window):
    """Grey level in the middle of each quarter of the window."""
    image = window.render(SIZE_WH)
    assert image.shape == (SIZE_WH[1], SIZE_WH[0], 3)
    return [int(image[y, x, 0]) for y in (150, 330) for x in (20, 340)]


def test_the_cameras_lie_side_by_side_and_one_without_a_frame_says_why(grid):
    assert levels(grid) == [60, 120, GROUND, 240]
    assert (grid.render(SIZE_WH)[180:, :320].max(axis=2) > 120).sum() > 50  # letters


@pytest.mark.parametrize(
    ("keys", "large"), [("2", 120), ("22", None), ("240", None), ("4", 240), ("7", None), ("21", 60)]
)
def test_a_digit_makes_a_camera_large_and_small_again(grid, keys, large):
    for key in keys:
        grid.press(key)
    assert levels(grid) == ([60, 120, GROUND, 240] if large is None else [large] * 4)


def test_a_click_makes_a_camera_large_and_escape_small(grid):
    grid.render(SIZE_WH)
    grid.click(500, 300)
    assert levels(grid) == [240] * 4
    grid.press("esc")
    assert levels(grid)[0] == 60
    assert not grid._controls.ended
    grid.press("esc")
    assert grid._controls.ended


def test_a_snapshot_is_taken_of_all_that_is_seen(grid):
    grid.press("s")
    assert [len(tile.snapshots) for tile in grid._tiles] == [1, 1, 0, 1]
    grid.press("1")
    grid.press("s")
    assert [len(tile.snapshots) for tile in grid._tiles] == [2, 1, 0, 1]
    assert grid._controls.snapshot_wanted is False


def test_a_pause_holds_all_cameras_and_a_step_lets_one_frame_through(grid):
    grid.press("space")
    grid.results[0] = result(200)
    grid._take_results()
    assert levels(grid)[0] == 60
    grid.press(".")
    grid._take_results()
    assert levels(grid)[0] == 200
    grid.results[0] = result(30)
    grid._take_results()
    assert levels(grid)[0] == 200


def test_help_and_names_are_drawn(grid):
    before = grid.render((1280, 720))
    grid.press("h")
    helped = grid.render((1280, 720))
    assert (helped[300:420, 500:780] != before[300:420, 500:780]).any()
    grid.press("h")
    grid.press("o")
    assert (grid.render((1280, 720))[:60, :60] != before[:60, :60]).any()  # the panel with the camera's name

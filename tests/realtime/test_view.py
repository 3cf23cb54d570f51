import time
from dataclasses import replace

import numpy as np
import pytest

from realtime.controls import BINDINGS, Controls
from realtime.drawing import text
from realtime.drawing.colours import PALETTE_BGR, WHITE
from realtime.faces.grouping import assign_faces
from realtime.results import Result
from realtime.stats import Meter
from realtime.structures import Detections, Frame
from realtime.ui.overlay import Status, Toast, draw_table, help_rows, status_rows, table
from realtime.ui.view import View, fit

NAMES = ("face", "eye")


def result(size_wh=(640, 360), box=(40, 100, 140, 200)):
    """A black frame, white in its left tenth, with one face on the left."""
    image = np.zeros((size_wh[1], size_wh[0], 3), np.uint8)
    image[:, : size_wh[0] // 10] = 255
    image.flags.writeable = False
    found = Detections(np.array([box], np.float32), np.array([0]), np.array([0.9], np.float32))
    return Result(Frame(image, 7, 65.25, time.monotonic()), found, image, candidates=found)


def view(toast=None, *, is_live=True, source_status="", is_recorded=False, canvas_only=False, scale=1.0, **controls):
    return View(
        Controls(0.5, **controls), toast or Toast(), NAMES, model="nano on CPU", is_live=is_live,
        source_status=lambda: source_status, is_recorded=is_recorded, canvas_only=canvas_only, scale=scale,
    )  # fmt: skip


def plain(**controls):
    return view(**({"overlay": False} | controls))


def face_columns(picture):
    """The columns in which the face's colour stands."""
    return np.flatnonzero((picture == PALETTE_BGR[0]).all(axis=2).any(axis=0))


@pytest.mark.parametrize(
    ("frame_wh", "window_wh", "expected_wh"),
    [
        ((640, 360), (640, 360), (640, 360)),
        ((320, 180), (1280, 720), (1280, 720)),
        ((3840, 2160), (1280, 720), (1280, 720)),
        ((360, 640), (1280, 720), (405, 720)),  # upright images keep their proportions
        ((640, 360), (0, 0), (64, 36)),  # windows have odd sizes while they open
    ],
)
def test_the_image_has_the_size_of_the_window(frame_wh, window_wh, expected_wh):
    shown = result(frame_wh)
    picture = plain().render(shown, window_wh)
    assert (picture.shape[1], picture.shape[0]) == expected_wh
    assert fit(shown.frame.image, window_wh) == pytest.approx(expected_wh[0] / frame_wh[0])


@pytest.mark.parametrize("window_wh", [(640, 360), (1280, 720)])
@pytest.mark.parametrize("mirror", [False, True])
def test_boxes_follow_size_and_mirror_and_the_frame_is_left_alone(window_wh, mirror):
    shown = result()
    picture = plain(mirror=mirror, labels=False).render(shown, window_wh)
    scale = window_wh[0] / 640
    left, right = (500, 600) if mirror else (40, 140)
    assert face_columns(picture)[[0, -1]] == pytest.approx([left * scale, right * scale], abs=2 * scale)
    assert (picture[0, -1 if mirror else 0] == 255).all()
    assert set(np.unique(shown.frame.image)) == {0, 255}


@pytest.mark.parametrize("window_wh", [(640, 360), (1280, 720)])
@pytest.mark.parametrize("mirror", [False, True])
def test_of_a_run_that_hides_faces_nothing_but_its_own_images_is_shown(window_wh, mirror):
    shown = replace(result(), canvas=np.full((360, 640, 3), 77, np.uint8))
    assert (plain(canvas_only=True, mirror=mirror).render(shown, window_wh) == 77).all()
    assert (view(canvas_only=True).render(shown, window_wh) != 77).any()  # with the overlay on it
    assert (shown.canvas == 77).all()  # which files do not have


def test_labels_can_be_read_in_the_mirror():
    def label(mirror):
        picture = plain(mirror=mirror).render(result(), (640, 360))
        rows, columns = np.nonzero((picture[:98] == PALETTE_BGR[0]).all(axis=2))
        return picture[rows.min() : rows.max(), columns.min() : columns.max()]

    assert np.array_equal(label(mirror=True), label(mirror=False))


def test_hidden_classes_and_labels_are_not_drawn():
    assert face_columns(plain().render(result(), (640, 360))).size
    assert not face_columns(plain(hidden={0}).render(result(), (640, 360))).size
    assert not face_columns(plain(labels=False).render(result(), (640, 360))[:95]).size


def test_overlay_and_toast_stand_where_they_belong():
    bare = plain(hidden={0}).render(result(), (640, 360))

    def changed(picture):
        rows, columns = np.nonzero((picture != bare).any(axis=2))
        return int(rows.min()), int(rows.max()), int(columns.min()), int(columns.max())

    top, bottom, left, right = changed(view(hidden={0}).render(result(), (640, 360)))
    assert (top, left) == (0, 0)
    assert bottom < 120
    assert right < 400
    toast = Toast()
    toast.show("saved a.png")
    top, bottom, left, _ = changed(view(toast, hidden={0}, overlay=False).render(result(), (640, 360)))
    assert 330 < top < bottom < 358
    assert left > 200


def test_letters_and_lines_are_larger_on_small_pixels():
    """On screens with 192 dots per inch; as far as they do not grow with the window anyway."""
    bare = plain(hidden={0}, labels=False).render(result(), (640, 360))
    heights, lines = [], []
    for scale in (1.0, 2.0):
        panel = view(hidden={0}, scale=scale).render(result(), (640, 360))
        heights.append(np.flatnonzero((panel != bare).any(axis=(1, 2))).max())
        boxes = plain(labels=False, scale=scale).render(result(), (640, 360))
        widths = (boxes[:, 130:180] == PALETTE_BGR[0]).all(axis=2).sum(axis=1)
        lines.append(widths[widths > 0].min())
    assert heights[1] == pytest.approx(2 * heights[0], abs=8)
    assert lines == [2, 4]


def test_the_help_stands_beside_the_image_and_covers_nothing_of_it():
    picture = plain(help=True, labels=False).render(result(), (1280, 720))
    assert picture.shape == (720, 1280, 3)
    panel = table(help_rows(Controls(0.5, help=True), NAMES), text.size_for_wh((1280, 720)))
    shown_px = 1280 - panel.shape[1]
    assert shown_px >= 640
    alone = plain(labels=False).render(result(), (shown_px, 720))
    top = (720 - alone.shape[0]) // 2
    np.testing.assert_array_equal(picture[top : top + alone.shape[0], : alone.shape[1]], alone)
    assert (picture[:, shown_px:] == WHITE).all(axis=2).any()  # the words


@pytest.mark.parametrize("mirror", [False, True])
def test_the_overlay_makes_way_for_a_face_and_stays_where_it_is(mirror):
    shown = view(hidden={0}, mirror=mirror)

    def corner(box):
        face = assign_faces(Detections(np.array([box], np.float32), np.array([0]), np.array([0.9], np.float32), NAMES))
        found = replace(result(), detections=face)
        bare = plain(hidden={0}, mirror=mirror).render(found, (640, 360))
        rows, columns = np.nonzero((shown.render(found, (640, 360)) != bare).any(axis=2))
        return rows.mean() < 180, columns.mean() < 320

    left, right = ([20, 20, 120, 140], [500, 20, 600, 140])
    at_left, at_right = (right, left) if mirror else (left, right)
    assert corner([300, 200, 400, 300]) == (True, True)
    assert corner(at_left) == (True, False)
    assert corner([300, 200, 400, 300]) == (True, False)
    assert corner(at_right) == (True, True)


def test_where_there_is_no_room_beside_it_the_help_stands_over_the_image():
    bare, helped = (plain(hidden={0}, help=h).render(result(), (320, 180)) for h in (False, True))
    assert bare.shape == helped.shape
    rows, columns = np.nonzero((bare != helped).any(axis=2))
    assert (rows.min() + rows.max()) / 2 == pytest.approx(90, abs=5)
    assert (columns.min() + columns.max()) / 2 == pytest.approx(160, abs=5)


@pytest.mark.parametrize(
    ("key", "expected"),
    [("+", "threshold 0.55"), ("down", "threshold 0.45"), ("m", "mirror on"), ("l", "labels off"), ("2", "eye hidden"),
     ("9", ""), ("space", ""), ("s", "")],
)  # fmt: skip
def test_what_a_key_has_done_is_said(key, expected):
    controls, toast = Controls(0.5), Toast()
    shown = View(
        controls, toast, NAMES, model="nano on CPU", is_live=True, source_status=str, is_recorded=False
    )  # fmt: skip
    controls.press(key)
    shown.acknowledge(key)
    assert toast.text == expected


def texts(rows):
    return [" ".join(words for words, _ in row) for row in rows]


def status(**changes):
    values = {"frames_per_s": 29.84, "live": (41.4, 3), "position_s": 65.2, "model": "nano on CUDA", "faces": 2,
              "source": "", "recording": False}  # fmt: skip
    return Status(**(values | changes))


def test_the_overlay_tells_the_state_of_a_live_run():
    assert texts(status_rows(status(), Controls(0.87), NAMES)) == [
        "nano on CUDA   2 faces",
        "29.8 frames/s   41 ms old   3 frames dropped",
        "threshold 0.87",
        "h: keys",
    ]


def test_the_overlay_tells_what_is_out_of_the_ordinary():
    controls = Controls(0.5, hidden={1, 8}, paused=True, help=True)  # there is no ninth class
    rows = status_rows(status(source="reconnecting, 3rd try", recording=True), controls, NAMES)
    assert texts(rows)[3:] == ["hidden: eye", "reconnecting, 3rd try", "PAUSED", "● REC"]


def test_a_file_has_a_position_instead_of_an_age():
    assert texts(status_rows(status(live=None, frames_per_s=0.0), Controls(0.5), NAMES))[1] == "- frames/s   at 1:05.2"
    assert texts(status_rows(status(live=None, position_s=119.97), Controls(0.5), NAMES))[1].endswith("at 2:00.0")


def test_the_help_lists_all_keys_and_the_classes():
    rows = texts(help_rows(Controls(0.5), ("face", "จมูก")))
    for binding in BINDINGS:
        assert any(binding.shown in row and binding.meaning in row for row in rows)
    assert rows[1].endswith("1 ■ face")
    assert rows[2].endswith(r"2 ■ \u0e08\u0e21\u0e39\u0e01")
    many = help_rows(Controls(0.5), [f"class {i}" for i in range(20)])
    assert texts(many)[9].endswith("9 ■ class 8")
    assert len(many) == len(BINDINGS)


@pytest.mark.parametrize("size_wh", [(64, 36), (320, 180), (405, 720), (1280, 720), (3840, 2160)])
def test_the_help_fits_into_the_image(size_wh):
    canvas = np.full((size_wh[1], size_wh[0], 3), 255, np.uint8)
    draw_table(canvas, help_rows(Controls(0.5), NAMES), (0.5, 0.5), 18)
    assert (canvas != 255).any()
    if size_wh[0] > 64:
        assert (canvas[[0, -1]] == 255).all()
        assert (canvas[:, [0, -1]] == 255).all()


@pytest.mark.parametrize("background", [0, 255])
def test_panels_can_be_read_on_light_and_dark(background):
    canvas = np.full((100, 300, 3), background, np.uint8)
    draw_table(canvas, [[("29.8 FPS", WHITE)]], (0, 0), 20)
    assert canvas[1, 1].max() < 60  # the ground is dark
    assert (canvas[:30] == 255).all(axis=2).any()  # and the letters are white


def shown_at(meter, clock, times_s, age_s=0.1, indices=None):
    for i, now_s in enumerate(times_s):
        clock[0] = now_s
        index = indices[i] if indices else i
        meter.shown(Frame(np.empty(0), index, 0.0, now_s - age_s))


def test_the_rate_is_that_of_the_last_second():
    clock = [0.0]
    meter = Meter(lambda: clock[0])
    assert meter.frames_per_s == 0
    shown_at(meter, clock, [i / 10 for i in range(100)] + [10 + i / 50 for i in range(101)])
    assert meter.frames_per_s == pytest.approx(50, rel=0.01)
    assert meter.latency_ms == pytest.approx(100)


def test_a_rate_below_one_a_second_is_known_too():
    clock = [0.0]
    meter = Meter(lambda: clock[0])
    shown_at(meter, clock, [0, 4, 8])
    assert meter.frames_per_s == pytest.approx(0.25)


def test_a_pause_does_not_count_as_slowness():
    clock = [0.0]
    meter = Meter(lambda: clock[0])
    shown_at(meter, clock, [0, 0.1, 0.2])
    meter.paused()
    assert meter.frames_per_s == pytest.approx(10)  # it is still that of the shown frame
    shown_at(meter, clock, [100, 100.1])
    assert meter.frames_per_s == pytest.approx(10)


def test_a_camera_that_hangs_is_seen_to_age():
    clock = [0.0]
    meter = Meter(lambda: clock[0])
    shown_at(meter, clock, [i / 10 for i in range(20)])
    clock[0] = 2.4
    assert (meter.frames_per_s, meter.latency_ms) == pytest.approx((10, 100))
    clock[0] = 11.9
    assert (meter.frames_per_s, meter.latency_ms) == pytest.approx((0.1, 10_100))
    meter.paused()
    assert (meter.frames_per_s, meter.latency_ms) == pytest.approx((10, 100))


def test_drops_are_gaps_in_the_indices():
    clock = [0.0]
    meter = Meter(lambda: clock[0])
    shown_at(meter, clock, [0, 1, 2, 3], indices=[0, 1, 5, 6])
    assert meter.dropped == 3


def test_toast_grow_old():
    clock = [0.0]
    toast = Toast(lambda: clock[0])
    assert toast.text == ""
    toast.show("saved a.png")
    assert toast.text == "saved a.png"
    clock[0] = Toast.DURATION_S + 0.1
    assert toast.text == ""

"""A stream in a real window on a virtual screen, while its sender comes and goes."""

import os
import subprocess
import sys
import threading
from contextlib import contextmanager

import pytest
import Xlib.display
from cam_window import ENDLESS_PAUSE, cam_window
from fakes import WAIT_S
from senders import grey, jpeg_server
from test_window import display, needs_display  # noqa: F401 - a fixture
from Xlib import Xatom

from realtime.ui.start_screen import start_image


@needs_display
@pytest.mark.parametrize("sender", ["stalls", "is cut"])
def test_the_quit_key_works_while_no_frame_comes(tmp_path, display, sender):  # noqa: F811
    silent = threading.Event()

    def play(viewer):
        viewer.play(iter([grey(50)] * 50))
        viewer.play(iter([grey(50, size_wh=(96, 80))] * 50))
        silent.set()
        if sender == "stalls":
            viewer.stall()

    with (
        jpeg_server(play) as host,
        cam_window(
            tmp_path, display, "--device", f"http://{host}/live", "--read-timeout", "600", before=ENDLESS_PAUSE
        ) as cam,
    ):
        assert silent.wait(WAIT_S)
        if sender == "is cut":
            cam.wait_for("reconnecting, 1st try in 600 s")
        assert "frames/s" in cam.quit()[-1]


@needs_display
def test_a_start_screen_is_shown_until_the_camera_is_there_and_can_be_left(tmp_path, display):  # noqa: F811
    """The sender never comes; the window is there, says so, and obeys the quit key."""
    camera = "--device", "http://127.0.0.1:9/live"
    with cam_window(tmp_path, display, *camera, "--reconnect", before=ENDLESS_PAUSE) as cam:
        cam.wait_for("1st try in 600 s")
        cam.quit()


@contextmanager
def screen(size_wh="1280x800", *options):
    """Environment with a virtual screen of this size."""
    read_end, write_end = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(write_end), "-screen", "0", f"{size_wh}x24", "-nolisten", "tcp", "-noreset",
         *options],
        pass_fds=[write_end], stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(write_end)
    with os.fdopen(read_end) as pipe:
        number = pipe.readline().strip()
    try:
        yield {k: v for k, v in os.environ.items() if not k.startswith(("QT_", "GDK_"))} | {"DISPLAY": f":{number}"}
    finally:
        server.terminate()
        server.wait(WAIT_S)


def said(code, environment):
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.split()


@needs_display
@pytest.mark.parametrize(("screen_wh", "expected"), [("1280x800", "1280x720"), ("3840x2160", "2560x1440")])
def test_windows_open_larger_on_screens_with_more_pixels(screen_wh, expected):
    with screen(screen_wh) as environment:
        code = "from realtime.ui.display import largest_wh; print(*largest_wh(), sep='x')"
        assert said(code, environment) == [expected]


SCALE = "from realtime.ui.scale import window_scale; print(window_scale())"
OPENED = """
import cv2
from realtime.ui.display import largest_wh
from realtime.ui.scale import window_scale
from realtime.ui.start_screen import StartScreen
StartScreen("opened", "", window_scale())
print(*cv2.getWindowImageRect("opened")[2:], *largest_wh(window_scale()))
import subprocess
print(subprocess.check_output("xdotool search --name '^opened$' getwindowgeometry", shell=True, text=True).split()[-1])
"""


@needs_display
@pytest.mark.parametrize(
    ("dpi", "variables", "resources", "expected"),
    [
        ("96", {}, "", "1.0"), ("192", {}, "", "2.0"), ("110", {}, "", "1.25"), ("50", {}, "", "1.0"),
        ("96", {}, "Xft.antialias:\t1\nXft.dpi:\t144\n", "1.5"), ("192", {}, "Xft.dpi: 96", "1.0"),
        ("96", {"QT_SCALE_FACTOR": "1.7"}, "Xft.dpi: 144", "1.7"), ("96", {"GDK_SCALE": "2"}, "", "2.0"),
        ("192", {"QT_SCALE_FACTOR": "rubbish"}, "", "2.0"),
    ],
)  # fmt: skip
def test_letters_are_as_large_as_the_screen_wants_them(dpi, variables, resources, expected):
    with screen("1280x800", "-dpi", dpi) as environment:
        connection = Xlib.display.Display(environment["DISPLAY"])
        connection.screen().root.change_property(Xatom.RESOURCE_MANAGER, Xatom.STRING, 8, resources.encode())
        connection.sync()
        assert said(SCALE, environment | variables) == [expected]
        connection.close()


@needs_display
@pytest.mark.parametrize("variables", [{}, {"QT_SCALE_FACTOR": "2"}, {"QT_AUTO_SCREEN_SCALE_FACTOR": "1"}])
def test_on_small_pixels_the_window_is_drawn_at_full_resolution_and_fits(variables):
    """Qt would enlarge what has half the resolution, and open the window larger than the screen."""
    with screen("2560x1600", "-dpi", "192") as environment:
        *sizes, real = said(OPENED, environment | variables)
    assert sizes == ["2304", "1440", "2304", "1440"]
    assert real == "2304x1440"


@pytest.mark.parametrize("size_wh", [(64, 64), (320, 180), (1280, 720), (2560, 1440)])
@pytest.mark.parametrize("words", ["opening camera 0", "a very long address " * 20, "ข้อความ"])
def test_the_start_screen_is_drawn_at_any_size(size_wh, words):
    image = start_image(size_wh, words)
    assert image.shape == (size_wh[1], size_wh[0], 3)
    assert (image != image[0, 0]).any()
    larger = start_image(size_wh, words, name="front", scale=2.0)
    assert larger.shape == image.shape

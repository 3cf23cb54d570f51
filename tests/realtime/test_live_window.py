"""A stream in a real window on a virtual screen, while its sender comes and goes."""

import os
import subprocess
import sys
import threading

import pytest
from fakes import WAIT_S, stub_model
from senders import grey, jpeg_server
from test_window import display, needs_display, xdotool  # noqa: F401 - a fixture

from realtime.ui.start_screen import start_image

ENDLESS_PAUSE = "import realtime.sources.reconnecting as r; r.FIRST_PAUSE_S = 600; "


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

    stub_model(tmp_path / "m.onnx")
    with jpeg_server(play) as host:
        process = subprocess.Popen(
            [sys.executable, "-c", ENDLESS_PAUSE + "from realtime.cli import run_cli; run_cli()",
             "cam", "--device", f"http://{host}/live", "--model", "m.onnx", "--read-timeout", "600"],
            cwd=tmp_path, env=display, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            window = xdotool(display, "search", "--sync", "--onlyvisible", "--name", "^realtime$")[0]
            assert silent.wait(WAIT_S)
            if sender == "is cut":
                while "reconnecting, 1st try in 600 s" not in (line := process.stderr.readline()):
                    assert line, "it ended"
            xdotool(display, "windowfocus", "--sync", window, "key", "q")
            _, errors = process.communicate(timeout=WAIT_S)
        finally:
            process.kill()
    assert process.returncode == 0, errors
    assert "frames/s" in errors.splitlines()[-1]


@needs_display
def test_a_start_screen_is_shown_until_the_camera_is_there_and_can_be_left(tmp_path, display):  # noqa: F811
    """The sender never comes; the window is there, says so, and obeys the quit key."""
    stub_model(tmp_path / "m.onnx")
    process = subprocess.Popen(
        [sys.executable, "-c", ENDLESS_PAUSE + "from realtime.cli import run_cli; run_cli()",
         "cam", "--device", "http://127.0.0.1:9/live", "--model", "m.onnx", "--reconnect"],
        cwd=tmp_path, env=display, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        window = xdotool(display, "search", "--sync", "--onlyvisible", "--name", "^realtime$")[0]
        while "1st try in 600 s" not in (line := process.stderr.readline()):
            assert line, "it ended"
        xdotool(display, "windowfocus", "--sync", window, "key", "q")
        _, errors = process.communicate(timeout=WAIT_S)
    finally:
        process.kill()
    assert process.returncode == 0, errors
    assert "Traceback" not in errors


@needs_display
@pytest.mark.parametrize(("screen_wh", "expected"), [("1280x800", "(1280, 720)"), ("3840x2160", "(2560, 1440)")])
def test_windows_open_larger_on_screens_with_more_pixels(screen_wh, expected):
    read_end, write_end = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(write_end), "-screen", "0", f"{screen_wh}x24", "-nolisten", "tcp", "-noreset"],
        pass_fds=[write_end], stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(write_end)
    with os.fdopen(read_end) as pipe:
        number = pipe.readline().strip()
    try:
        code = "from realtime.ui.display import largest_wh; print(largest_wh())"
        done = subprocess.run(
            [sys.executable, "-c", code], env=os.environ | {"DISPLAY": f":{number}"}, capture_output=True, text=True,
            check=True,
        )  # fmt: skip
    finally:
        server.terminate()
        server.wait(WAIT_S)
    assert done.stdout.strip() == expected


@pytest.mark.parametrize("size_wh", [(64, 64), (320, 180), (1280, 720), (2560, 1440)])
@pytest.mark.parametrize("words", ["opening camera 0", "a very long address " * 20, "ข้อความ"])
def test_the_start_screen_is_drawn_at_any_size(size_wh, words):
    image = start_image(size_wh, words)
    assert image.shape == (size_wh[1], size_wh[0], 3)
    assert (image != image[0, 0]).any()

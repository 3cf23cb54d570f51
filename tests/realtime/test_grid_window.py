"""Several cameras in a real window on a virtual screen."""

import subprocess
import sys

from fakes import WAIT_S, stub_model
from senders import grey_for_ever, jpeg_server
from test_window import display, needs_display, xdotool  # noqa: F401 - a fixture


@needs_display
def test_keys_and_clicks_reach_the_window_of_several_cameras(tmp_path, display):  # noqa: F811
    stub_model(tmp_path / "m.onnx")
    code = "from realtime.cli import run_cli; run_cli()"
    with (
        jpeg_server(lambda viewer: viewer.play(grey_for_ever(60))) as one,
        jpeg_server(lambda viewer: viewer.play(grey_for_ever(180))) as other,
    ):
        process = subprocess.Popen(
            [sys.executable, "-c", code, "cam", "--device", f"front=http://{one}/x", "--device", f"desk=http://{other}/x",
             "--model", "m.onnx", "--provider", "cpu"],
            cwd=tmp_path, env=display, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            window = xdotool(display, "search", "--sync", "--onlyvisible", "--name", "^realtime$")[0]
            xdotool(display, "windowfocus", "--sync", window, "key", "2")
            xdotool(display, "mousemove", "--window", window, "400", "300", "click", "1")
            while not (saved := list(tmp_path.glob("realtime-*.png"))):  # until there are frames
                assert process.poll() is None
                xdotool(display, "windowfocus", "--sync", window, "key", "s")
            xdotool(display, "windowfocus", "--sync", window, "key", "q")
            _, errors = process.communicate(timeout=WAIT_S)
        finally:
            process.kill()
    assert process.returncode == 0, errors
    assert {path.name.split("-")[1] for path in saved} <= {"front", "desk"}
    assert [line.partition(":")[0] for line in errors.splitlines()[-2:]] == ["front", "desk"]


@needs_display
def test_cameras_that_are_not_there_yet_are_shown_with_what_they_wait_for(tmp_path, display):  # noqa: F811
    """None of them comes; the window is there all the same, says so, and obeys the quit key."""
    stub_model(tmp_path / "m.onnx")
    code = (
        "import realtime.sources.reconnecting as r; r.FIRST_PAUSE_S = 600; from realtime.cli import run_cli; run_cli()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, "cam", "--device", "front=http://127.0.0.1:9/x", "--device",
         "desk=http://127.0.0.1:9/y", "--model", "m.onnx", "--provider", "cpu", "--reconnect"],
        cwd=tmp_path, env=display, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        window = xdotool(display, "search", "--sync", "--onlyvisible", "--name", "^realtime$")[0]
        while "1st try in 600 s" not in (line := process.stderr.readline()):
            assert line, "it ended"
        xdotool(display, "windowfocus", "--sync", window, "key", "--delay", "100", "2", "q")
        _, errors = process.communicate(timeout=WAIT_S)
    finally:
        process.kill()
    assert process.returncode == 0, errors
    assert "Traceback" not in errors

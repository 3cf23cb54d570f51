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

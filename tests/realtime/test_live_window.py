"""A stream in a real window on a virtual screen, while its sender comes and goes."""

import subprocess
import sys
import threading

import pytest
from fakes import WAIT_S, stub_model
from senders import grey, jpeg_server
from test_window import display, needs_display, xdotool  # noqa: F401 - a fixture

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

"""Runs whose terminal or display goes away keep what was done."""

import os
import pty
import signal
import subprocess
import sys
import threading

import pytest
from fakes import WAIT_S, make_video, read_video, stub_model, wait_until
from senders import grey, jpeg_server
from test_window import display, needs_display, xdotool  # noqa: F401 - a fixture

RUN = [sys.executable, "-c", "from realtime.cli import run_cli; run_cli()"]
ENDLESS = 20_000


def is_written(folder, pattern):
    return any(path.stat().st_size > 20_000 for path in folder.glob(pattern))


@pytest.fixture
def folder(tmp_path):
    stub_model(tmp_path / "m.onnx")
    make_video(tmp_path / "long.mp4", frames=ENDLESS)
    return tmp_path


@pytest.mark.usefixtures("hang_up")
def test_a_terminal_that_is_closed_ends_the_run_and_keeps_what_was_done(folder):
    """A real one: whoever writes to it afterwards gets an error."""
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(folder)
        arguments = ["video", "long.mp4", "--out", "out.mp4", "--jsonl", "out.jsonl", "--model", "m.onnx"]
        os.execv(sys.executable, [*RUN, *arguments])
    output = threading.Thread(target=read_all, args=[terminal], daemon=True)
    output.start()
    wait_until(lambda: is_written(folder, ".out-*.mp4"))
    os.kill(process, signal.SIGSTOP)  # so that nobody reads the terminal while it is closed
    os.close(terminal)
    os.kill(process, signal.SIGCONT)
    _, status = os.waitpid(process, 0)
    assert os.waitstatus_to_exitcode(status) == 128 + signal.SIGHUP
    written = len(read_video(folder / "out.mp4"))
    assert 0 < written < ENDLESS
    assert len((folder / "out.jsonl").read_text().splitlines()) == written
    assert not list(folder.glob(".out-*"))


def read_all(terminal):
    try:
        while os.read(terminal, 4096):
            pass
    except OSError:
        pass


@needs_display
def test_a_display_that_goes_away_ends_the_run_and_keeps_what_was_done(folder, display):  # noqa: F811
    """Qt ends the process without a word to its caller."""
    with jpeg_server(lambda viewer: viewer.play(iter([grey(50, size_wh=(320, 240))] * ENDLESS))) as host:
        process = subprocess.Popen(
            [*RUN, "cam", "--device", f"http://{host}/live", "--model", "m.onnx", "--record", "out.mkv",
             "--jsonl", "out.jsonl", "--no-reconnect"],
            cwd=folder, env=display, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            xdotool(display, "search", "--sync", "--onlyvisible", "--name", "^realtime$")
            wait_until(lambda: any(path.stat().st_size > 200 for path in folder.glob(".out-*.jsonl")))
            os.kill(int(display["SERVER_PID"]), signal.SIGKILL)
            _, errors = process.communicate(timeout=WAIT_S)
        finally:
            process.kill()
    assert process.returncode == 1, errors
    assert errors.splitlines()[-1] == "error: lost the display of the window; wrote out.mkv and out.jsonl"
    written = len(read_video(folder / "out.mkv"))
    assert written > 0
    assert len((folder / "out.jsonl").read_text().splitlines()) == written
    assert not list(folder.glob(".out-*"))

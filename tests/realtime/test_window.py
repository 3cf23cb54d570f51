"""A real window on a virtual screen, with a real key press."""

import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import Xlib.display
import Xlib.X
from fakes import WAIT_S, ScriptedSource, make_video, stub_model
from Xlib.protocol.event import ClientMessage

from realtime.errors import SinkError
from realtime.sinks.base import Ending, StopRun
from realtime.sinks.window import WindowSink, why_no_window
from realtime.structures import Detections, Frame, Result

RUN = [sys.executable, "-c", "from realtime.cli import run_cli; run_cli()"]
in_ci = os.environ.get("CI") == "true"
needs_display = pytest.mark.skipif(
    not in_ci and not (shutil.which("Xvfb") and shutil.which("xdotool")), reason="needs Xvfb and xdotool"
)


@pytest.fixture
def display() -> Iterator[dict[str, str]]:
    """Environment with a virtual screen of its own."""
    read_end, write_end = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(write_end), "-screen", "0", "800x600x24", "-nolisten", "tcp",
         "-noreset"],  # else it starts anew, and refuses callers meanwhile, whenever its last client leaves
        pass_fds=[write_end], stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(write_end)
    with os.fdopen(read_end) as pipe:
        number = pipe.readline().strip()
    assert number, "Xvfb did not start"
    yield {k: v for k, v in os.environ.items() if k != "WAYLAND_DISPLAY"} | {"DISPLAY": f":{number}"}
    server.terminate()
    server.wait(WAIT_S)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A model, and a video of two minutes: longer than any test waits."""
    folder = tmp_path_factory.mktemp("window")
    make_video(folder / "long.mp4", frames=3000)
    stub_model(folder / "m.onnx")
    return folder


@contextmanager
def player(folder, environment) -> Iterator[subprocess.Popen[str]]:
    """The app, showing the video."""
    process = subprocess.Popen(
        [*RUN, "video", "long.mp4", "--model", "m.onnx"], cwd=folder, env=environment,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=WAIT_S)


def xdotool(environment, *arguments):
    done = subprocess.run(
        ["xdotool", *arguments], env=environment, capture_output=True, text=True, timeout=WAIT_S, check=True
    )
    return done.stdout.split()


def close_at_once(connection, title):
    """Wait for the window, then do what a window manager does when its close button is clicked, until it is gone.

    A second click is needed when Qt 5.15, on a machine under heavy load, drops the X events that come within
    OpenCV's namedWindow (seen with 7 to 19 % of the clicks made in the milliseconds after the window came up).

    Returns:
        How many clicks it took.
    """
    protocols, delete = (connection.intern_atom(name) for name in ("WM_PROTOCOLS", "WM_DELETE_WINDOW"))
    window = wait_for_event(
        connection, lambda e: e.type == Xlib.X.MapNotify and e.window.get_wm_name() == title, WAIT_S
    )
    assert window, "no window came"
    for click in range(1, 6):
        window.send_event(
            ClientMessage(window=window, client_type=protocols, data=(32, [delete, Xlib.X.CurrentTime, 0, 0, 0]))
        )
        connection.sync()  # a server that is told of a closed connection drops what it has not yet read from it
        if wait_for_event(connection, lambda e: e.type == Xlib.X.UnmapNotify and e.window == window, WAIT_S / 6):
            return click
    raise AssertionError("the window does not close")


def wait_for_event(connection, is_it, timeout_s):
    """The window of the first event that fits, or None."""
    deadline = time.monotonic() + timeout_s
    while True:
        while connection.pending_events():
            event = connection.next_event()
            if is_it(event):
                return event.window
        if not select.select([connection], [], [], max(0, deadline - time.monotonic()))[0]:
            return None


@needs_display
@pytest.mark.parametrize("key", ["q", "Escape"])
def test_a_key_press_ends_the_run(folder, display, key):
    with player(folder, display) as process:
        window = xdotool(display, "search", "--sync", "--onlyvisible", "--name", "^realtime$")[0]
        xdotool(display, "windowfocus", "--sync", window, "key", key)
        _, errors = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0, errors
    lines = errors.splitlines()
    assert "frames/s" in lines[-1]
    assert len([line for line in lines if not line.startswith("running on the CPU")]) == 1  # Qt stays quiet


@needs_display
@pytest.mark.parametrize("_attempt", range(5))
def test_closing_the_window_the_moment_it_appears_ends_the_run(folder, display, record_property, _attempt):
    connection = Xlib.display.Display(display["DISPLAY"])
    connection.screen().root.change_attributes(event_mask=Xlib.X.SubstructureNotifyMask)
    connection.sync()
    with player(folder, display) as process:
        clicks = close_at_once(connection, "realtime")
        _, errors = process.communicate(timeout=WAIT_S)
    record_property("clicks", clicks)
    assert not wait_for_event(connection, lambda e: e.type == Xlib.X.MapNotify, 0), "it was built anew"
    connection.close()
    assert process.returncode == 0, errors
    assert "frames/s" in errors.splitlines()[-1]


def test_a_window_closed_while_it_is_built_is_not_built_anew(monkeypatch):
    """Qt may handle the click within namedWindow; nothing is left to be asked or resized then."""

    def gone(*_):
        raise cv2.error("NULL guiReceiver")

    calls = []
    monkeypatch.setattr("realtime.sinks.window.why_no_window", lambda: None)
    for name in ("namedWindow", "imshow", "waitKey"):
        monkeypatch.setattr(f"cv2.{name}", lambda *_, name=name: calls.append(name))
    for name in ("resizeWindow", "getWindowProperty", "destroyAllWindows"):
        monkeypatch.setattr(f"cv2.{name}", gone)
    sink = WindowSink("x", paced=False, instead="")
    image = np.zeros((48, 64, 3), np.uint8)
    with pytest.raises(StopRun):
        sink.write(Frame(image, 0, 0.0, 0.0), Detections.empty(), image)
    sink.close(Ending.STOPPED)
    assert calls == ["namedWindow"]


def test_a_dead_display_is_found_out_before_qt_ends_the_process(monkeypatch):
    monkeypatch.setenv("DISPLAY", ":9876")
    with pytest.raises(
        SinkError, match=r"no X server answers at DISPLAY=:9876\. Write to a file instead: --out OUT.mp4"
    ):
        WindowSink("x", paced=False, instead="--out OUT.mp4")


def test_an_opencv_without_windows_is_found_out(monkeypatch):
    monkeypatch.setattr("cv2.getBuildInformation", lambda: "  GUI:                           NONE\n")
    assert "built without windows" in why_no_window()


def test_no_display_is_found_out(monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert why_no_window() == "there is no display (DISPLAY is not set)"


@pytest.mark.parametrize(("paced", "expected_s"), [(True, [0.0, 0.04, 0.08, 0.17]), (False, [0.0, 0.0, 0.025, 0.115])])
def test_a_file_is_shown_at_its_own_speed(monkeypatch, paced, expected_s):
    """Four frames, 40 ms apart, that take 0, 25 and 90 ms to draw after the one before."""
    now_s = 10.0
    shown_s = []

    def wait_key(ms):
        nonlocal now_s
        now_s += ms / 1000 if ms > 1 else 0.0
        return -1

    monkeypatch.setattr("realtime.sinks.window.why_no_window", lambda: None)
    monkeypatch.setattr("realtime.sinks.window.time", SimpleNamespace(monotonic=lambda: now_s))
    for name in ("namedWindow", "resizeWindow"):
        monkeypatch.setattr(f"cv2.{name}", lambda *_: None)
    monkeypatch.setattr("cv2.imshow", lambda *_: shown_s.append(round(now_s - 10, 3)))
    monkeypatch.setattr("cv2.getWindowProperty", lambda *_: 1.0)
    monkeypatch.setattr("cv2.waitKey", wait_key)
    sink = WindowSink("x", paced=paced, instead="")
    source = ScriptedSource(4)
    for drawing_s in (0, 0, 0.025, 0.09):
        now_s += drawing_s
        frame = source.read()
        sink.write(Result(frame, Detections.empty(), frame.image))
    assert shown_s == expected_s

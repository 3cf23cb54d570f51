"""A real window on a virtual screen, with real key presses."""

import json
import os
import select
import shutil
import signal
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
import Xlib.error
import Xlib.X
from fakes import WAIT_S, ScriptedSource, make_video, read_video, stub_model, wait_until
from Xlib.protocol.event import ClientMessage

from realtime.commands.live import open_window
from realtime.commands.outputs import Outputs
from realtime.controls import Controls
from realtime.drawing.hiding import Hider
from realtime.errors import SinkError
from realtime.inference.detector import OnnxDetector
from realtime.results import Result
from realtime.sinks.base import Ending, StopRun
from realtime.structures import PARTS, Detections, Frame
from realtime.ui.display import no_window_reason
from realtime.ui.keys import key_name
from realtime.ui.overlay import SKY, Toast
from realtime.ui.snapshot import Snapshots
from realtime.ui.view import View
from realtime.ui.window import WindowSink

RUN = [sys.executable, "-c", "from realtime.cli import run_cli; run_cli()"]
in_ci = os.environ.get("CI") == "true"
LOST_S = WAIT_S / 4
"""A key that has no effect for longer is lost."""
BLACK_S = 5.0
"""A window that is black for longer has missed what lets it draw."""
needs_display = pytest.mark.skipif(
    not in_ci and not (shutil.which("Xvfb") and shutil.which("xdotool")), reason="needs Xvfb and xdotool"
)


@pytest.fixture
def display() -> Iterator[dict[str, str]]:
    """Environment with a virtual screen of its own."""
    read_end, write_end = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(write_end), "-screen", "0", "1920x1080x24", "-nolisten", "tcp",
         "-noreset"],  # else it starts anew, and refuses callers meanwhile, whenever its last client leaves
        pass_fds=[write_end], stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(write_end)
    with os.fdopen(read_end) as pipe:
        number = pipe.readline().strip()
    assert number, "Xvfb did not start"
    own = {"DISPLAY": f":{number}", "SERVER_PID": str(server.pid)}
    yield {k: v for k, v in os.environ.items() if k != "WAYLAND_DISPLAY"} | own
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
def player(folder, environment, *options) -> Iterator[subprocess.Popen[str]]:
    """The app, showing the video."""
    process = subprocess.Popen(
        [*RUN, "video", "long.mp4", "--model", "m.onnx", *map(str, options)], cwd=folder, env=environment,
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


class User:
    """Presses keys and sees what comes of it."""

    def __init__(self, environment, captures):
        self.environment = environment
        self.captures = captures
        self.window = xdotool(environment, "search", "--sync", "--onlyvisible", "--name", "^realtime$")[0]
        xdotool(environment, "windowfocus", "--sync", self.window)
        self._lost_keys = 0
        self._connection = Xlib.display.Display(environment["DISPLAY"])
        self._drawable = self._connection.create_resource_object("window", int(self.window))
        self._wait_for_a_frame()

    def _wait_for_a_frame(self):
        """Until one is shown, Qt may drop a key.

        On a machine under heavy load Qt 5.15 may drop the events that come while it builds the window (seen in 16 % of
        80 windows, beside two busy processes for each core; idle in none of 40). It then shows black until the window
        is hidden and shown again.
        """
        since = time.monotonic()

        def is_shown():
            nonlocal since
            try:
                if not is_grey(self.render()):  # as the ground of a window is that is still being built
                    return True
            except Xlib.error.BadMatch:  # it was resized after it had told its size
                return False
            if time.monotonic() - since > BLACK_S:
                xdotool(self.environment, "windowunmap", "--sync", self.window, "windowmap", "--sync", self.window)
                xdotool(self.environment, "windowfocus", "--sync", self.window)
                since = time.monotonic()
            return False

        wait_until(is_shown)

    def press(self, key):
        xdotool(self.environment, "key", key)

    def press_until(self, key, is_done):
        """Press a key and wait for what comes of it.

        On a machine under heavy load a key may get lost before it reaches the app (seen once). A user would press it
        again; so does this one, once in a test.
        """
        self.press(key)
        try:
            wait_until(is_done, LOST_S)
        except AssertionError:
            self._lost_keys += 1
            assert self._lost_keys == 1, f"{key} does nothing"
            self.press(key)
            wait_until(is_done)

    def size_wh(self):
        geometry = self._drawable.get_geometry()
        return geometry.width, geometry.height

    def render(self):
        """What the screen shows inside the window: uint8 (H,W,3), BGR."""
        width, height = self.size_wh()
        data = self._drawable.get_image(0, 0, width, height, Xlib.X.ZPixmap, 0xFFFFFFFF).data
        return np.frombuffer(data, np.uint8).reshape(height, width, 4)[:, :, :3]

    def pause(self):
        """The image, once it says that it stands still."""
        self.press_until("space", lambda: (self.render() == SKY).all(axis=2).any())
        return self.render()

    def press_and_see(self, key):
        """The image after a key, once it differs from that before, which stood still.

        OpenCV keeps one key only, so that each must be seen to work before the next.
        """
        before = self.render()
        self.press_until(key, lambda: not np.array_equal(self.render(), before))
        return self.render()

    def snapshot(self):
        """What the description says that the key for a snapshot writes."""
        before = self.files(".json")
        self.press_until("s", lambda: len(self.files(".json")) > len(before))
        (path,) = self.files(".json") - before
        return json.loads(path.read_text()) | {"path": path}

    def files(self, suffix):
        return {path for path in self.captures.glob(f"*{suffix}") if not path.name.startswith(".")}

    def close(self):
        self._connection.close()


@pytest.fixture
def user(folder, display, tmp_path) -> Iterator[User]:
    """Sits before the app, which shows the video; its run ends well."""
    with player(folder, display, "--captures", tmp_path) as process:
        user = User(display, tmp_path)
        user.process = process
        yield user
        user.close()


def is_grey(picture):
    return bool((np.ptp(picture[..., :3], axis=-1) == 0).all())


@needs_display
def test_keys_pause_step_and_go_on(user):
    user.pause()
    first, second = user.snapshot(), user.snapshot()
    assert first["frame"] == second["frame"]
    user.press_and_see("period")
    assert user.snapshot()["frame"] == first["frame"] + 1
    user.press_and_see("n")
    assert user.snapshot()["frame"] == first["frame"] + 2
    user.press_and_see("space")
    wait_until(lambda: user.snapshot()["frame"] > first["frame"] + 10)


@needs_display
def test_a_snapshot_has_the_full_resolution_and_nothing_drawn_on_it(user):
    user.pause()
    for _ in range(2):
        found = user.snapshot()
        image = cv2.imread(str(found["path"].with_name(found["image"])))
        assert image.shape == (48, 64, 3)
        assert np.ptp(image) <= 3  # the frames are of one grey level each
        assert abs(int(image.mean()) - 20 * found["frame"] % 256) <= 3
        assert [one["label"] for one in found["detections"]] == ["face", "eye"]
        assert found["detections"][0]["box"] == [8.0, 8.0, 40.0, 40.0]
        user.press_and_see("m")  # a mirror makes no difference


@needs_display
def test_the_threshold_moves_on_a_paused_frame_too(user):
    """The stub finds scores of 0.9 and 0.6, and its own threshold is 0.5."""
    user.pause()

    def scores_after(*keys):
        for key in keys:
            user.press_and_see(key)
        return [one["score"] for one in user.snapshot()["detections"]]

    assert scores_after() == [0.9, 0.6]
    assert scores_after("plus", "equal", "Up") == [0.9]
    assert scores_after("Down", "minus") == [0.9, 0.6]


@needs_display
@pytest.mark.parametrize("key", ["o", "l", "m", "h", "question", "1", "2"])
def test_what_is_seen_is_turned_on_and_off(user, key):
    before = user.pause()
    during = user.press_and_see(key)
    assert during.shape == before.shape
    user.press_until(key, lambda: np.array_equal(user.render(), before))


@needs_display
def test_recordings_begin_and_end_with_the_key_and_with_the_run(user):
    def is_recording():
        return any(user.captures.glob(".*.mp4"))

    user.press_until("r", is_recording)
    start = user.snapshot()["frame"]
    wait_until(lambda: user.snapshot()["frame"] > start + 5)
    user.press_until("r", lambda: user.files(".mp4"))
    (first,) = user.files(".mp4")
    user.press_until("r", is_recording)
    user.press("q")
    _, errors = user.process.communicate(timeout=WAIT_S)
    assert user.process.returncode == 0, errors
    (second,) = user.files(".mp4") - {first}
    for path in (first, second):
        frames = read_video(path)
        assert frames[0][0] == 0
        assert not all(is_grey(picture) for _, picture in frames), "nothing is drawn"
        assert all(picture.shape == (48, 64, 3) for _, picture in frames)
        assert f"saved {path}" in errors
    assert len(read_video(first)) > 5
    assert not list(user.captures.glob(".*"))


@needs_display
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_paused_run_ends_on_a_signal(user, number):
    user.pause()
    user.process.send_signal(number)
    _, errors = user.process.communicate(timeout=WAIT_S)
    assert user.process.returncode == 128 + number, errors


@needs_display
def test_closing_a_paused_window_ends_the_run(user):
    user.pause()
    connection = Xlib.display.Display(user.environment["DISPLAY"])
    window = connection.create_resource_object("window", int(user.window))
    protocols, delete = (connection.intern_atom(name) for name in ("WM_PROTOCOLS", "WM_DELETE_WINDOW"))
    window.send_event(
        ClientMessage(window=window, client_type=protocols, data=(32, [delete, Xlib.X.CurrentTime, 0, 0, 0]))
    )
    connection.sync()
    _, errors = user.process.communicate(timeout=WAIT_S)
    connection.close()
    assert user.process.returncode == 0, errors


@needs_display
@pytest.mark.parametrize(
    ("frame_wh", "window_wh"), [((64, 48), (480, 360)), ((1920, 1080), (1280, 720)), ((360, 640), (360, 640))]
)
def test_the_window_opens_at_a_size_that_suits_frame_and_screen(tmp_path, display, frame_wh, window_wh):
    make_video(tmp_path / "long.mp4", frames=3, size_wh=frame_wh, pts=[0, 40, 120_000])
    stub_model(tmp_path / "m.onnx")
    with player(tmp_path, display):
        user = User(display, tmp_path)
        wait_until(lambda: user.size_wh() == window_wh)
        user.close()


@needs_display
def test_a_folder_for_captures_that_is_missing_is_found_out_at_once(folder, display):
    with player(folder, display, "--captures", "nowhere") as process:
        _, errors = process.communicate(timeout=WAIT_S)
    assert process.returncode == 1
    assert errors.splitlines()[-1] == "error: cannot write to nowhere: folder does not exist"


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


def window_sink(*, paced=False, instead="", controls=None, anonymize=None):
    controls = controls or Controls(0.5)
    view = View(
        controls, Toast(), ("face", "eye"), model="nano on CPU", is_live=not paced, source_status=str, is_recorded=False
    )
    return WindowSink("x", view, controls, Snapshots(Path(), str), paced=paced, instead=instead, anonymize=anonymize)


def test_a_window_closed_while_it_is_built_is_not_built_anew(monkeypatch):
    """Qt may handle the click within namedWindow; nothing is left to be asked or resized then."""

    def gone(*_):
        raise cv2.error("NULL guiReceiver")

    calls = []
    monkeypatch.setattr("realtime.ui.window.no_window_reason", lambda: None)
    for name in ("namedWindow", "imshow", "waitKey", "waitKeyEx"):
        monkeypatch.setattr(f"cv2.{name}", lambda *_, name=name: calls.append(name))
    for name in ("resizeWindow", "getWindowProperty", "destroyAllWindows"):
        monkeypatch.setattr(f"cv2.{name}", gone)
    sink = window_sink()
    image = np.zeros((48, 64, 3), np.uint8)
    with pytest.raises(StopRun):
        sink.write(Result(Frame(image, 0, 0.0, 0.0), Detections.empty(), image))
    sink.close(Ending.STOPPED)
    assert calls == ["namedWindow"]


def test_a_dead_display_is_found_out_before_qt_ends_the_process(monkeypatch):
    monkeypatch.setenv("DISPLAY", ":9876")
    with pytest.raises(
        SinkError, match=r"no X server answers at DISPLAY=:9876; write to a file instead: --out OUT.mp4"
    ):
        window_sink(instead="--out OUT.mp4")


@pytest.mark.parametrize(("is_live", "way_on"), [(True, "--no-window --record OUT.mp4"), (False, "--out OUT.mp4")])
def test_each_command_names_its_own_way_to_do_without_a_window(monkeypatch, folder, is_live, way_on):
    monkeypatch.setenv("DISPLAY", ":9876")
    outputs = Outputs(window=True, video=None, jsonl=None)
    with pytest.raises(SinkError, match=f"write to a file instead: {way_on}$"):
        open_window(ScriptedSource(is_live=is_live), OnnxDetector(folder / "m.onnx"), outputs, Controls(0.5))


def test_an_opencv_without_windows_is_found_out(monkeypatch):
    monkeypatch.setattr("cv2.getBuildInformation", lambda: "  GUI:                           NONE\n")
    assert "built without windows" in no_window_reason()


@needs_display
def test_a_window_opens_under_x11_where_the_desktop_prefers_wayland(folder, display):
    with player(folder, display | {"WAYLAND_DISPLAY": "wayland-0", "QT_QPA_PLATFORM": "wayland"}) as process:
        user = User(display, folder)
        user.press("q")
        user.close()
        _, errors = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0, errors


@pytest.mark.parametrize(("plugins", "is_refused"), [({"libqxcb.so"}, True), ({"libqxcb.so", "libqwayland.so"}, False)])
def test_a_display_of_a_kind_that_opencv_does_not_know_is_found_out(monkeypatch, tmp_path, plugins, is_refused):
    platforms = tmp_path / "qt" / "plugins" / "platforms"
    platforms.mkdir(parents=True)
    for name in plugins:
        (platforms / name).touch()
    monkeypatch.setattr("cv2.__file__", str(tmp_path / "__init__.py"))
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
    reason = no_window_reason()
    assert (reason is not None) == is_refused
    assert reason is None or "XWayland" in reason


def test_no_display_is_found_out(monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert no_window_reason() == "there is no display (DISPLAY is not set)"


class FakeScreen:
    """OpenCV's windows with a clock that runs only while somebody waits; one millisecond is no wait."""

    def __init__(self, monkeypatch):
        self.now_s = 10.0
        self.shown_s = []
        self.keys = []
        """Codes of the keys to be pressed, one for each look."""
        monkeypatch.setattr("realtime.ui.window.no_window_reason", lambda: None)
        monkeypatch.setattr("realtime.ui.window.time", SimpleNamespace(monotonic=lambda: self.now_s))
        for name in ("namedWindow", "resizeWindow"):
            monkeypatch.setattr(f"cv2.{name}", lambda *_: None)
        monkeypatch.setattr("cv2.getWindowProperty", lambda *_: 1.0)
        monkeypatch.setattr("cv2.getWindowImageRect", lambda *_: (0, 0, 64, 48))
        monkeypatch.setattr("cv2.imshow", lambda *_: self.shown_s.append(round(self.now_s - 10, 3)))
        monkeypatch.setattr("cv2.waitKeyEx", self._wait_key)

    def _wait_key(self, ms):
        self.now_s += ms / 1000 if ms > 1 else 0.0
        return self.keys.pop(0) if self.keys else -1


@pytest.fixture
def screen(monkeypatch):
    return FakeScreen(monkeypatch)


def result_of(frame):
    return Result(frame, Detections.empty(), frame.image)


@pytest.mark.parametrize(("paced", "expected_s"), [(True, [0.0, 0.04, 0.08, 0.17]), (False, [0.0, 0.0, 0.025, 0.115])])
def test_a_file_is_shown_at_its_own_speed(screen, paced, expected_s):
    """Four frames, 40 ms apart, that take 0, 25 and 90 ms to draw after the one before."""
    sink, source = window_sink(paced=paced), ScriptedSource(4)
    for drawing_s in (0, 0, 0.025, 0.09):
        screen.now_s += drawing_s
        sink.write(result_of(source.read()))
    assert screen.shown_s == expected_s


def test_a_pause_does_not_make_a_file_hurry_afterwards(screen):
    """Two frames, ten seconds of pause, two frames: the third is shown at once, the fourth 40 ms later."""
    controls = Controls(0.5)
    sink, source = window_sink(paced=True, controls=controls), ScriptedSource(4)
    for _ in range(2):
        sink.write(result_of(source.read()))
    controls.press("space")
    while screen.now_s < 20:
        sink.refresh()
    controls.press("space")
    screen.shown_s.clear()
    resumed_s = round(screen.now_s - 10, 3)
    for _ in range(2):
        sink.write(result_of(source.read()))
    assert screen.shown_s == [resumed_s, round(resumed_s + 0.04, 3)]


def test_what_counts_is_shown_until_the_threshold_is_moved(screen, monkeypatch):
    """What counts need not be all above the threshold: a face that is followed goes on below it."""
    shown = []
    controls = Controls(0.5)
    sink, frame = window_sink(controls=controls), ScriptedSource(1).read()
    monkeypatch.setattr(View, "render", lambda _, result, __: shown.append(len(result.detections)))
    found = Detections(np.zeros((3, 4), np.float32), np.zeros(3, np.int64), np.array([0.9, 0.52, 0.2], np.float32))
    sink.write(Result(frame, found.above(0.6), frame.image, candidates=found))
    sink.refresh()
    assert shown == [1, 1]
    screen.keys = [ord("+"), ord("-"), ord("-")]
    for _ in range(3):
        sink.refresh()
    assert (shown[-1], controls.threshold) == (2, 0.45)
    sink.write(Result(frame, found.above(0.6), frame.image, candidates=found))
    assert shown[-1] == 1


def test_faces_go_with_the_threshold_and_come_back_with_it(screen, monkeypatch):
    shown = []
    controls = Controls(0.5)
    sink, frame = window_sink(controls=controls), ScriptedSource(1).read()
    monkeypatch.setattr(View, "render", lambda _, result, __: shown.append(result))
    boxes, scores = np.zeros((2, 4), np.float32), np.array([0.9, 0.52], np.float32)
    ids, parts = np.array([3, 3]), np.array([PARTS.index("face"), PARTS.index("left_eye")])
    written = Result(frame, Detections(boxes, np.array([0, 1]), scores, ("face", "eye"), ids, parts))
    sink.write(written)
    screen.keys = [ord("+"), ord("-")]
    sink.refresh()
    assert [(face.id, face.features) for face in shown[-1].faces] == [(3, {})]
    assert len(shown[-1].detections) == 1
    sink.refresh()
    assert shown[-1] is written


def test_a_threshold_that_is_moved_in_a_run_that_hides_faces_hides_more_and_never_less(screen, monkeypatch):
    shown = []
    controls = Controls(0.5)
    sink, frame = window_sink(controls=controls, anonymize=Hider(("face",)).still), ScriptedSource(1).read()
    monkeypatch.setattr(View, "render", lambda _, result, __: shown.append(result.canvas))
    boxes = np.array([[0, 0, 20, 20], [40, 20, 60, 40]], np.float32)
    found = Detections(boxes, np.zeros(2, np.int64), np.array([0.9, 0.48], np.float32))
    canvas = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    canvas[:24, :24] = 7  # hidden already
    sink.write(Result(frame, found.above(0.5), canvas, candidates=found))
    screen.keys = [ord("-")]
    sink.refresh()
    assert (shown[-1][:20, :20] == 7).all()
    assert (shown[-1][20:40, 40:60] != canvas[20:40, 40:60]).any(axis=2).mean() > 0.99
    screen.keys = [ord("+"), ord("+")]
    for _ in range(2):
        sink.refresh()
    assert controls.threshold == 0.55
    assert (shown[-1][:20, :20] == 7).all()


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (ord("q"), "q"), (ord("Q"), "q"), (27, "esc"), (32, "space"), (ord("+"), "+"), (ord("1"), "1"),
        (0xFF52, "up"), (0xFF54, "down"), (0x260000, "up"), (0x280000, "down"), (63232, "up"), (63233, "down"),
        (0xFFAB, "+"), (0xFFAD, "-"), (0xFFB3, "3"),
        (0x100000 | ord("s"), "s"), (0x10000 | ord("?"), "?"),  # Num Lock and Shift as GTK reports them
        (-1, None), (-60, None), (-85, None), (0xFFE1, None), (0xFFBE, None), (13, None), (0, None),
    ],
)  # fmt: skip
def test_key_codes_of_all_window_systems_are_understood(code, expected):
    assert key_name(code) == expected

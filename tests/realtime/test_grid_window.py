"""Several cameras in a real window on a virtual screen."""

from cam_window import ENDLESS_PAUSE, cam_window
from senders import grey_for_ever, jpeg_server
from test_window import display, needs_display  # noqa: F401 - a fixture


@needs_display
def test_keys_and_clicks_reach_the_window_of_several_cameras(tmp_path, display):  # noqa: F811
    with (
        jpeg_server(lambda viewer: viewer.play(grey_for_ever(60))) as one,
        jpeg_server(lambda viewer: viewer.play(grey_for_ever(180))) as other,
        cam_window(tmp_path, display, "--device", f"front=http://{one}/x", "--device", f"desk=http://{other}/x") as cam,
    ):
        cam.press("2")
        cam.click(400, 300)
        while not (saved := list(tmp_path.glob("realtime-*.png"))):  # until there are frames
            assert cam.process.poll() is None
            cam.press("s")
        lines = cam.quit()
    assert {path.name.split("-")[1] for path in saved} <= {"front", "desk"}
    assert [line.partition(":")[0] for line in lines[-2:]] == ["front", "desk"]


@needs_display
def test_cameras_that_are_not_there_yet_are_shown_with_what_they_wait_for(tmp_path, display):  # noqa: F811
    """None of them comes; the window is there all the same, says so, and obeys the quit key."""
    cameras = "--device", "front=http://127.0.0.1:9/x", "--device", "desk=http://127.0.0.1:9/y"
    with cam_window(tmp_path, display, *cameras, "--reconnect", before=ENDLESS_PAUSE) as cam:
        cam.wait_for("1st try in 600 s")
        cam.quit("--delay", "100", "2")

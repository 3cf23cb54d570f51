import re
import threading
from contextlib import closing
from fractions import Fraction
from typing import ClassVar

import cv2
import numpy as np
import pytest
from fakes import WAIT_S

from realtime.errors import SourceError
from realtime.sources.camera import CameraSource
from realtime.sources.opening import CameraMode, open_live
from realtime.sources.stream import StreamOptions
from realtime.wording import error_line

YUYV = cv2.VideoWriter.fourcc(*"YUYV")
MJPG = cv2.VideoWriter.fourcc(*"MJPG")


class FakeCapture:
    """An OpenCV camera that gives three images, and what is asked of it unless ``driver`` says otherwise."""

    properties: ClassVar = {
        cv2.CAP_PROP_FPS: 30.0,
        cv2.CAP_PROP_FOURCC: YUYV,
        cv2.CAP_PROP_FRAME_WIDTH: 320,
        cv2.CAP_PROP_FRAME_HEIGHT: 240,
    }
    driver: ClassVar = {}
    """What it gives instead of what is asked for."""
    gives_mjpg = True
    opened: ClassVar[list["FakeCapture"]] = []
    pictures = 3

    def __init__(self, device, *backend):
        self.device, self.backend, self.released = device, backend, False
        self.properties = dict(self.properties)
        self.asked = []
        self.opened.append(self)

    def isOpened(self):  # noqa: N802 - OpenCV's name
        return self.device in (0, "/dev/video2")

    def get(self, key):
        return self.properties[key]

    def set(self, key, value):
        self.asked.append(key)
        self.properties[key] = self.driver.get(key, value)
        return self.properties[key] == value

    def read(self):
        self.pictures -= 1
        if self.pictures < 0 or (self.get(cv2.CAP_PROP_FOURCC) == MJPG and not self.gives_mjpg):
            return False, None
        height, width = (int(self.get(key)) for key in (cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FRAME_WIDTH))
        return True, np.zeros((height, width, 3), np.uint8)

    def release(self):
        self.released = True


@pytest.fixture(autouse=True)
def _fake(monkeypatch):
    monkeypatch.setattr("realtime.sources.camera.cv2.VideoCapture", FakeCapture)
    monkeypatch.setattr(FakeCapture, "opened", [])


def test_a_camera_tells_what_it_gives():
    camera = CameraSource(0)
    assert camera.is_live
    assert camera.size_wh == (320, 240)
    assert camera.frame_rate == 30


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), 1e9])
def test_a_driver_without_a_frame_rate_is_taken_for_30(monkeypatch, rate):
    monkeypatch.setitem(FakeCapture.properties, cv2.CAP_PROP_FPS, rate)
    assert CameraSource(0).frame_rate == 30


def test_frames_are_stamped_in_order_and_cannot_be_written_to():
    camera = CameraSource(0)
    frames = [camera.read() for _ in range(3)]
    assert [frame.index for frame in frames] == [0, 1, 2]
    assert 0 <= frames[0].pts_s <= frames[1].pts_s <= frames[2].pts_s
    assert not frames[0].image.flags.writeable


def test_an_unplugged_camera_is_an_error_not_an_end():
    camera = CameraSource(0)
    for _ in range(3):
        camera.read()
    with pytest.raises(SourceError, match="camera 0 delivers no more frames after frame 2"):
        camera.read()


def test_a_camera_that_is_not_there_is_released_and_named():
    with pytest.raises(SourceError, match=r"cannot open camera 5: not found or in use; check which cameras there are"):
        CameraSource(5)
    assert FakeCapture.opened[0].released


def test_a_camera_without_images_is_released_and_named(monkeypatch):
    monkeypatch.setattr(FakeCapture, "pictures", 0)
    with pytest.raises(SourceError, match="cannot open camera 0: it delivers no frames"):
        CameraSource(0)


def test_closing_releases_the_camera():
    camera = CameraSource(0)
    camera.close()
    assert FakeCapture.opened[0].released


def test_nothing_is_asked_of_a_camera_unless_the_user_does():
    camera = CameraSource(0)
    assert FakeCapture.opened[0].asked == []
    assert camera.difference is None


def test_a_size_and_a_rate_are_asked_for_and_read_back():
    camera = CameraSource(0, size_wh=(640, 360), frame_rate=Fraction(25))
    assert camera.size_wh == (640, 360)
    assert camera.frame_rate == 25
    assert camera.difference is None
    assert cv2.CAP_PROP_FOURCC not in FakeCapture.opened[0].asked


@pytest.mark.parametrize(
    ("size_wh", "rate"), [((1280, 720), None), ((1920, 1080), Fraction(30)), (None, Fraction(120)), ((640, 480), 60)]
)
def test_mjpg_comes_first_where_raw_images_would_be_too_many_for_usb(size_wh, rate):
    camera = CameraSource(0, size_wh=size_wh, frame_rate=rate and Fraction(rate))
    assert FakeCapture.opened[0].asked[0] == cv2.CAP_PROP_FOURCC
    assert FakeCapture.opened[0].get(cv2.CAP_PROP_FOURCC) == MJPG
    assert camera.difference is None


def test_a_driver_that_gives_something_else_is_reported(monkeypatch):
    monkeypatch.setattr(
        FakeCapture,
        "driver",
        {
            cv2.CAP_PROP_FOURCC: YUYV,
            cv2.CAP_PROP_FRAME_WIDTH: 640,
            cv2.CAP_PROP_FRAME_HEIGHT: 480,
            cv2.CAP_PROP_FPS: 7.5,
        },
    )
    camera = CameraSource(0, size_wh=(1280, 720), frame_rate=Fraction(30))
    assert camera.size_wh == (640, 480)
    assert camera.difference == (
        "camera 0: asked for 1280x720 at 30 frames/s, the driver gives 640x480 at 7.5 frames/s as YUYV"
    )


def test_a_driver_that_does_not_tell_its_rate_is_reported(monkeypatch):
    monkeypatch.setattr(FakeCapture, "driver", {cv2.CAP_PROP_FPS: 0.0})
    difference = CameraSource(0, frame_rate=Fraction(15)).difference
    assert difference == "camera 0: asked for 15 frames/s, the driver gives an unknown rate as YUYV"


def test_a_camera_whose_mjpg_gives_no_image_is_opened_without(monkeypatch):
    monkeypatch.setattr(FakeCapture, "gives_mjpg", False)
    camera = CameraSource(0, size_wh=(1280, 720))
    assert camera.size_wh == (1280, 720)
    first, second = FakeCapture.opened
    assert first.released
    assert cv2.CAP_PROP_FOURCC not in second.asked
    assert not second.released


def opened(device, reconnect=None, **mode):
    said = []
    source = open_live(
        device, mode=CameraMode(**mode), stream=StreamOptions(), reconnect=reconnect, on_message=said.append
    )
    source.said = said
    return source


@pytest.mark.parametrize(("device", "name", "backend"), [("0", 0, ()), ("/dev/video2", "/dev/video2", (cv2.CAP_V4L2,))])
def test_a_camera_is_opened_by_number_or_device_file(device, name, backend):
    opened(device).close()
    assert (FakeCapture.opened[0].device, FakeCapture.opened[0].backend) == (name, backend)


def test_what_the_driver_gives_instead_is_said(monkeypatch):
    monkeypatch.setattr(FakeCapture, "driver", {cv2.CAP_PROP_FPS: 15.0})
    source = opened("0", frame_rate=Fraction(30))
    assert source.said == ["camera 0: asked for 30 frames/s, the driver gives 15 frames/s as YUYV"]


def test_an_unplugged_camera_comes_back_if_asked_for(monkeypatch):
    monkeypatch.setattr("realtime.sources.reconnecting.FIRST_PAUSE_S", 0.001)
    taken = threading.Semaphore(0)
    read = FakeCapture.read
    monkeypatch.setattr(FakeCapture, "read", lambda capture: taken.acquire(timeout=WAIT_S) and read(capture))
    taken.release()
    source = opened("0", reconnect=True)
    with closing(source):
        for i in range(7):  # the fake gives three images each time it is opened
            assert source.read().index == i
            taken.release(2 if i % 3 == 2 else 1)
        taken.release(1000)
    assert source.said[:2] == [
        "camera 0 delivers no more frames after frame 2; reconnecting, 1st try in 0.001 s",
        "connected again",
    ]
    assert all(capture.released for capture in FakeCapture.opened)


def test_without_the_option_an_unplugged_camera_ends_the_run():
    with closing(opened("0")) as camera:
        for _ in range(3):
            camera.read()
        with pytest.raises(SourceError, match="camera 0 delivers no more frames after frame 2"):
            camera.read()


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("nix", "device nix: neither a camera's number or device file (0, /dev/video2) nor an address (rtsp://…)"),
        ("-1", "device -1: neither a camera's number"),
        ("", "device : neither a camera's number"),
        (__file__, "it is a file; open it as a video file"),
        ("/dev/video7", "cannot open camera /dev/video7: not found or in use"),
    ],
)
def test_what_is_no_live_source_is_refused(device, message):
    with pytest.raises(SourceError, match=re.escape(message)):
        opened(device)


def test_a_stream_takes_no_size():
    with pytest.raises(SourceError, match="only cameras can be asked for it") as raised:
        opened("rtsp://host/x", size_wh=(640, 480))
    assert error_line(raised.value).startswith("--size 640x480: only cameras")
    with pytest.raises(SourceError) as raised:
        opened("rtsp://host/x", frame_rate=Fraction(30))
    assert error_line(raised.value).startswith("--fps 30: only cameras")

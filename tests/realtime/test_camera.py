from typing import ClassVar

import cv2
import numpy as np
import pytest

from realtime.errors import SourceError
from realtime.sources.camera import CameraSource


class FakeCapture:
    """An OpenCV camera that gives three pictures."""

    properties: ClassVar = {cv2.CAP_PROP_FPS: 30.0}
    pictures = 3

    def __init__(self, device):
        self.device, self.released = device, False

    def isOpened(self):  # noqa: N802 - OpenCV's name
        return self.device == 0

    def get(self, key):
        return self.properties[key]

    def read(self):
        self.pictures -= 1
        return (True, np.zeros((240, 320, 3), np.uint8)) if self.pictures >= 0 else (False, None)

    def release(self):
        self.released = True


@pytest.fixture(autouse=True)
def _fake(monkeypatch):
    monkeypatch.setattr("realtime.sources.camera.cv2.VideoCapture", FakeCapture)


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
    with pytest.raises(SourceError, match="camera 0 gives no more pictures after frame 2"):
        camera.read()


def test_a_camera_that_is_not_there_is_released_and_named():
    with pytest.raises(SourceError, match="cannot open camera 5: not found or in use"):
        CameraSource(5)


def test_a_camera_without_pictures_is_released_and_named(monkeypatch):
    monkeypatch.setattr(FakeCapture, "pictures", 0)
    with pytest.raises(SourceError, match="cannot open camera 0: it gives no picture"):
        CameraSource(0)


def test_closing_releases_the_camera():
    camera = CameraSource(0)
    camera.close()
    assert camera._capture.released

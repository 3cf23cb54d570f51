"""Names of cameras."""

from pathlib import Path

import pytest

from realtime.cameras.naming import named_devices, with_name
from realtime.errors import SourceError


@pytest.mark.parametrize(
    ("given", "names", "devices"),
    [
        (["0"], ["camera0"], ["0"]),
        (["front=rtsp://u:p@host/x", "desk=0"], ["front", "desk"], ["rtsp://u:p@host/x", "0"]),
        (["/dev/video2"], ["video2"], ["/dev/video2"]),
        (["rtsp://admin:hunter2@10.0.0.7:554/live?a=b"], ["10.0.0.7"], ["rtsp://admin:hunter2@10.0.0.7:554/live?a=b"]),
        (["http://cam/a", "http://cam/b"], ["cam", "cam-2"], ["http://cam/a", "http://cam/b"]),
        (["http://cam/a", "cam=0"], ["cam-2", "cam"], ["http://cam/a", "0"]),
        (["rtsp://host/user=admin_password=1234.sdp"], ["host"], ["rtsp://host/user=admin_password=1234.sdp"]),
        (["udp://:5000"], ["camera"], ["udp://:5000"]),
        (["http://[::1/x"], ["camera"], ["http://[::1/x"]),
        (["http://[::1]:80/x"], ["1"], ["http://[::1]:80/x"]),
    ],
)
def test_cameras_are_called_as_they_are_given_or_after_their_device(given, names, devices):
    found = named_devices(given)
    assert [one.name for one in found] == names
    assert [one.device for one in found] == devices


def test_a_name_is_given_once():
    with pytest.raises(SourceError, match="device a: it is the name of two cameras"):
        named_devices(["a=0", "a=1"])


def test_a_file_gets_the_name_of_its_camera():
    assert with_name(Path("x/out.mp4"), "front") == Path("x/out-front.mp4")

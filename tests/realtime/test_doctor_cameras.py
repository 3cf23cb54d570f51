"""The doctor's look at cameras, with a scripted driver in place of Linux's."""

import errno
import os
import struct
import subprocess
import sys

import pytest

from realtime.doctor import cameras
from realtime.doctor.findings import Level

MJPG, YUYV = (struct.unpack("I", code)[0] for code in (b"MJPG", b"YUYV"))
SIZES = {MJPG: [(640, 480), (1920, 1080)], YUYV: [(640, 480)]}
RATES = {(MJPG, 1920, 1080): [15, 30], (MJPG, 640, 480): [60], (YUYV, 640, 480): [30]}

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="V4L2 is Linux's")


def driver(_handle, request, data, *, capabilities=cameras.CAPTURES, name=b"Webcam C920"):
    """A camera with two formats; answers as linux/videodev2.h lays the structures out."""
    index, *query = struct.unpack_from("4I", data)

    def entry(entries, size, *fields):
        if index >= len(entries):
            raise OSError(errno.EINVAL, "no more")
        return struct.pack(*fields).ljust(size, b"\0")

    if request == cameras.VIDIOC_QUERYCAP:
        both = cameras.CAPTURES | cameras.HAS_DEVICE_CAPABILITIES  # of all devices of the camera together
        return struct.pack("16s32s32sIII12x", b"uvcvideo", name, b"usb", 0, both, capabilities)
    if request == cameras.VIDIOC_ENUM_FMT:
        codes = list(SIZES)
        return entry(codes, 64, "44xI", codes[min(index, 1)])
    if request == cameras.VIDIOC_ENUM_FRAMESIZES:
        sizes = SIZES[query[0]]
        return entry(sizes, 44, "5I", index, query[0], 1, *sizes[min(index, len(sizes) - 1)])
    rates = RATES[tuple(query)]
    return entry(rates, 52, "7I", index, *query, 1, 1, rates[min(index, len(rates) - 1)])


@pytest.fixture
def devices(tmp_path):
    (tmp_path / "video0").touch()
    return tmp_path


def test_a_camera_is_shown_with_its_modes(devices, monkeypatch):
    monkeypatch.setattr(cameras, "_ioctl", driver)
    (finding,) = cameras.check_cameras(str(devices))
    assert finding.level is Level.OK
    assert finding.text == (f"{devices}/video0 (--device 0): Webcam C920, MJPG 1920x1080 at 30/s, YUYV 640x480 at 30/s")
    modes = [(m["pixels"], m["width"], m["height"], m["frames_per_s"]) for m in finding.data["modes"]]
    assert modes == [("MJPG", 640, 480, 60), ("MJPG", 1920, 1080, 30), ("YUYV", 640, 480, 30)]


def test_a_device_of_metadata_is_no_camera(devices, monkeypatch):
    monkeypatch.setattr(cameras, "_ioctl", lambda *a: driver(*a, capabilities=0x00800000))
    (finding,) = cameras.check_cameras(str(devices))
    assert finding.level is Level.NOTE
    assert finding.text.startswith("no camera: ")


def test_a_file_that_is_no_device_is_no_camera(devices):
    assert cameras.check_cameras(str(devices))[0].text.startswith("no camera: ")


def test_no_device_is_a_note_with_a_way_on(tmp_path):
    (finding,) = cameras.check_cameras(str(tmp_path))
    assert finding.level is Level.NOTE
    assert "realtime video" in finding.remedy


def test_a_missing_permission_names_the_group(devices, monkeypatch):
    def refuse(*_):
        raise PermissionError(errno.EACCES, "denied")

    monkeypatch.setattr(cameras.os, "open", refuse)
    monkeypatch.setattr(cameras, "_group_name", lambda _: "video")
    (finding,) = cameras.check_cameras(str(devices))
    assert finding.level is Level.WARNING
    assert finding.text == f"{devices}/video0: no permission: you are not in group video"
    assert finding.remedy == "sudo usermod -aG video $USER, then log in again"


@pytest.mark.parametrize("number", [errno.ENODEV, errno.EBUSY, errno.EIO])
def test_a_driver_that_fails_is_reported(devices, monkeypatch, number):
    def fail(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(cameras, "_ioctl", fail)
    (finding,) = cameras.check_cameras(str(devices))
    assert finding.level is Level.WARNING
    assert os.strerror(number) in finding.text


def test_a_driver_whose_lists_never_end_is_cut_off(devices, monkeypatch):
    def endless(handle, request, data):
        if request == cameras.VIDIOC_ENUM_FMT:
            return struct.pack("44xI", MJPG).ljust(64, b"\0")
        return driver(handle, request, data)

    monkeypatch.setattr(cameras, "_ioctl", endless)
    (finding,) = cameras.check_cameras(str(devices))
    assert len(finding.data["modes"]) == cameras.MAX_ENTRIES * 2


def test_a_name_cannot_steer_the_terminal(devices, monkeypatch):
    monkeypatch.setattr(cameras, "_ioctl", lambda *a: driver(*a, name=b"\x1b[31mred\xff"))
    assert cameras.check_cameras(str(devices))[0].text.isprintable()


def test_the_program_that_uses_a_camera_is_named(devices, monkeypatch):
    monkeypatch.setattr(cameras, "_ioctl", driver)
    code = "import sys; f = open(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    other = subprocess.Popen(
        [sys.executable, "-c", code, devices / "video0"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with other:
        assert other.stdout.readline() == b"open\n"
        (finding,) = cameras.check_cameras(str(devices))
        other.stdin.close()
    assert finding.level is Level.WARNING
    assert f"(process {other.pid})" in finding.text

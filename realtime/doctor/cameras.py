"""Cameras and their modes, as Linux's video drivers (V4L2) report them; nothing is captured."""

import contextlib
import errno
import os
import platform
import stat
import struct
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from realtime.doctor.findings import Finding, Level
from realtime.errors import one_line

# Requests and structures of linux/videodev2.h.
VIDIOC_QUERYCAP = 0x80685600
VIDIOC_ENUM_FMT = 0xC0405602
VIDIOC_ENUM_FRAMESIZES = 0xC02C564A
VIDIOC_ENUM_FRAMEINTERVALS = 0xC034564B
CAPTURES = 0x1
HAS_DEVICE_CAPABILITIES = 0x80000000
BUFFER_OF_CAPTURE = 1
DISCRETE = 1
MAX_ENTRIES = 128
"""Limit for any list from a driver: a broken one may never end."""


@dataclass(frozen=True, slots=True)
class Mode:
    """A format and size that a camera offers."""

    pixels: str
    """Four letters, such as MJPG or YUYV."""
    width: int
    height: int
    frames_per_s: float
    """The highest; 0 if the driver does not say."""

    def __str__(self) -> str:
        rate = f" at {self.frames_per_s:.4g}/s" if self.frames_per_s else ""
        return f"{self.pixels} {self.width}x{self.height}{rate}"


def check_cameras(devices: str = "/dev") -> list[Finding]:
    """Every camera with its modes, or the reason why it cannot be used."""
    if platform.system() != "Linux":
        return [Finding(Level.NOTE, "cameras are not listed on this system", "try one: realtime cam --device 0")]
    paths = sorted(Path(devices).glob("video*"), key=lambda path: (len(path.name), path.name))
    found = [finding for path in paths if (finding := _check_camera(path))]
    if found:
        return found
    remedy = "plug one in (a container must be given it: --device /dev/video0), or use a file: realtime video IN.mp4"
    return [Finding(Level.NOTE, f"no camera: {devices} has no video device that captures", remedy)]


def _check_camera(path: Path) -> Finding | None:
    """None for a device that does not capture video: many cameras have a second one for metadata."""
    data: dict[str, object] = {"device": str(path)}
    try:
        handle = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    except PermissionError:
        return Finding(Level.WARNING, f"{path}: no permission{_group_of(path)}", _join_group(path), data)
    except OSError as error:
        remedy = "close other programs that use it, or unplug it and plug it in again"
        return Finding(Level.WARNING, f"{path}: cannot be opened: {os.strerror(error.errno or 0)}", remedy, data)
    try:
        name, capabilities = _query(handle)
        if not capabilities & CAPTURES:
            return None
        modes = list(_modes(handle))
    except OSError as error:
        if error.errno == errno.ENOTTY:
            return None
        return Finding(Level.WARNING, f"{path}: the driver answers {os.strerror(error.errno or 0)}", "", data)
    finally:
        os.close(handle)
    data |= {"name": name, "modes": [asdict(mode) for mode in modes]}
    number = path.name.removeprefix("video")
    text = f"{path} (--device {number}): {name}{_summary(modes)}"
    users = _users(path)
    if users:
        return Finding(Level.WARNING, f"{text}; in use by {users}", "close that program first", data)
    return Finding(Level.OK, text, data=data)


def _ioctl(handle: int, request: int, data: bytes) -> bytes:
    import fcntl  # not on Windows

    return fcntl.ioctl(handle, request, data)


def _query(handle: int) -> tuple[str, int]:
    """Name and capabilities: struct v4l2_capability."""
    answer = _ioctl(handle, VIDIOC_QUERYCAP, bytes(104))
    _driver, card, _bus, _version, of_all, of_device = struct.unpack_from("16s32s32sIII", answer)
    return one_line(_text(card), 60), of_device if of_all & HAS_DEVICE_CAPABILITIES else of_all


def _modes(handle: int) -> Iterator[Mode]:
    """Each format and size once, with its highest rate."""
    for fmt in _listed(handle, VIDIOC_ENUM_FMT, struct.pack("II", 0, BUFFER_OF_CAPTURE), size=64):
        (code,) = struct.unpack_from("I", fmt, 44)
        for entry in _listed(handle, VIDIOC_ENUM_FRAMESIZES, struct.pack("II", 0, code), size=44):
            kind, *numbers = struct.unpack_from("I6I", entry, 8)
            # A range is minimum, maximum and step of the width, then the same for the height.
            width, height = (numbers[0], numbers[1]) if kind == DISCRETE else (numbers[1], numbers[4])
            pixels = one_line(_text(struct.pack("I", code)))
            yield Mode(pixels, width, height, _highest_rate(handle, code, width, height))


def _highest_rate(handle: int, code: int, width: int, height: int) -> float:
    rates = []
    for entry in _listed(handle, VIDIOC_ENUM_FRAMEINTERVALS, struct.pack("IIII", 0, code, width, height), size=52):
        # A range also begins with the minimum interval.
        _kind, numerator, denominator = struct.unpack_from("III", entry, 16)
        if numerator:
            rates.append(denominator / numerator)
    return max(rates, default=0.0)


def _listed(handle: int, request: int, query: bytes, size: int) -> Iterator[bytes]:
    """The entries of a driver's list, requested by the index in the first field until it returns EINVAL."""
    for index in range(MAX_ENTRIES):
        try:
            yield _ioctl(handle, request, struct.pack("I", index) + query[4:].ljust(size - 4, b"\0"))
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ENOTTY):
                return
            raise


def _summary(modes: list[Mode]) -> str:
    """The largest size of each format."""
    best: dict[str, Mode] = {}
    for mode in modes:
        other = best.get(mode.pixels)
        if other is None or (mode.width * mode.height, mode.frames_per_s) > (
            other.width * other.height,
            other.frames_per_s,
        ):
            best[mode.pixels] = mode
    return "".join(f", {mode}" for mode in best.values())


def _text(raw: bytes) -> str:
    return raw.split(b"\0")[0].decode(errors="replace")


def _group_of(path: Path) -> str:
    group = _group_name(path)
    return f": you are not in group {group}" if group else ""


def _join_group(path: Path) -> str:
    group = _group_name(path)
    return f"sudo usermod -aG {group} $USER, then log in again" if group else "ask for access to the device"


def _group_name(path: Path) -> str | None:
    """The group that may use a device, if a user can join it."""
    import grp

    with contextlib.suppress(OSError, KeyError):
        info = path.stat()
        if info.st_gid != 0 and info.st_mode & stat.S_IRGRP and info.st_gid not in os.getgroups():
            return grp.getgrgid(info.st_gid).gr_name
    return None


def _users(path: Path) -> str:
    """Programs that have a device open, as far as this user may see them."""
    users = []
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            if link.readlink() == path and int(link.parts[2]) != os.getpid():
                name = Path(*link.parts[:3], "comm").read_text().strip()
                users.append(f"{one_line(name, 40)} (process {link.parts[2]})")
    return ", ".join(dict.fromkeys(users))

"""Names of cameras, given by the user or taken from their addresses."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from realtime.errors import SourceError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")
"""Names are part of addresses and of file names."""
_GIVEN = re.compile(rf"(?P<name>{NAME.pattern})=(?P<device>.+)", re.DOTALL)
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True)
class NamedDevice:
    """A camera as the user gives it."""

    name: str
    device: str
    """Number, device file or address; addresses may hold passwords."""


def named_devices(given: Sequence[str]) -> list[NamedDevice]:
    """The devices of ``NAME=DEVICE`` or ``DEVICE``; those without a name are called after number, file or host.

    Raises:
        SourceError: a name is given twice.
    """
    parsed = [_parsed(text) for text in given]
    names = [name for name, _ in parsed if name]
    for name in names:
        if names.count(name) > 1:
            raise SourceError("it is the name of two cameras", parameter="device", value=name)
    found: list[NamedDevice] = []
    for name, device in parsed:
        taken = {*names, *(one.name for one in found)}
        found.append(NamedDevice(name or _free(_suggested(device), taken), device))
    return found


def with_name(path: Path, name: str) -> Path:
    """The file of one camera: ``out.mp4`` becomes ``out-front.mp4``."""
    return path.with_name(f"{path.stem}-{name}{path.suffix}")


def _parsed(text: str) -> tuple[str, str]:
    match = _GIVEN.fullmatch(text)
    return (match["name"], match["device"]) if match else ("", text)


def _suggested(device: str) -> str:
    if "://" not in device:
        return f"camera{device}" if device.isdecimal() else _clean(Path(device).name)
    try:
        host = urlsplit(device).hostname or ""
    except ValueError:
        host = ""
    return _clean(host)


def _clean(text: str) -> str:
    return _NOT_IN_NAMES.sub("-", text).strip("-._")[:30] or "camera"


def _free(name: str, taken: set[str]) -> str:
    number, chosen = 1, name
    while chosen in taken:
        number += 1
        chosen = f"{name}-{number}"
    return chosen

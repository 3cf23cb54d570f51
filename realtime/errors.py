"""The exceptions of the app. They carry what was tried, what was found and what to do next, in words without flags."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from realtime.redaction import redacted

Tool = Literal["cam", "docker", "doctor", "export", "video"]
"""Something that a user of the command line would run; ``realtime.wording`` has the command."""
STREAM = re.compile(r"(https?|rtmps?|rtp|rtsps?|srt|tcp|udp):/{1,2}([^/].*)", re.IGNORECASE)
"""Addresses that ``realtime cam`` opens; a ``Path`` has merged their two slashes."""
MAX_CHARS = 2000


def one_line(text: object, limit: int = 300) -> str:
    """Foreign text, such as another library's message, fit to be printed: one line, cut off, no control characters.

    A file may hold escape sequences that would move a terminal's cursor or change its colours.
    """
    line = " ".join(str(text).split())
    line = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in line)
    return line if len(line) <= limit else line[: limit - 1] + "…"


@dataclass(frozen=True, slots=True)
class Remedy:
    """What to do about an error."""

    text: str = ""
    """An instruction that holds for a program and for a user of the command line alike."""
    parameter: str | None = None
    """An argument that helps as well, or instead."""
    values: tuple[str, ...] = ()
    """Values of that argument, any of which will do."""
    tool: Tool | None = None
    """What carries out ``text`` on the command line."""
    target: str = ""
    """The file that ``tool`` is run on."""

    def __str__(self) -> str:
        return join_alternatives(
            self.text, f"use {self.parameter} {' or '.join(self.values)}" if self.parameter else ""
        )


class RealtimeError(Exception):
    """Something that the user can fix. ``str`` gives one line without flags; the command line adds them.

    It can be pickled, as long as ``value`` can.
    """

    def __init__(
        self, message: str, *, parameter: str | None = None, value: object = None, remedy: Remedy | str = ""
    ) -> None:
        """Say what went wrong.

        Args:
            message: what was tried and what was found.
            parameter: the argument that cannot be served, such as ``provider``; None where ``message`` names the value.
            value: of that argument, or the path, camera, address or shape that the error is about.
            remedy: what to do next.
        """
        super().__init__(message)
        self.message = message
        self.parameter = parameter
        self.value = value
        self.remedy = Remedy(remedy) if isinstance(remedy, str) else remedy

    def __str__(self) -> str:
        return self.worded(self.parameter or "", str(self.remedy))

    def worded(self, parameter: str, remedy: str) -> str:
        """The error as one line, with other words for the parameter and the remedy."""
        subject = f"{parameter} {self.value}: " if parameter else ""
        return redacted(one_line("; ".join(filter(None, (f"{subject}{self.message}", remedy))), MAX_CHARS))

    @property
    def reason(self) -> str:
        """The error where it is known which argument it is about: without it, and without an alternative to it."""
        return self.worded("", self.remedy.text)


def join_alternatives(*alternatives: str) -> str:
    """Those that are not empty, with "or" between them."""
    return ", or ".join(filter(None, alternatives))


class SourceError(RealtimeError):
    """A camera, video or image that cannot be opened or read."""


def missing_file(tried: str, path: Path | str, reason: str = "not found") -> SourceError:
    """The error for a file that is not there; for the address of a stream it says what opens that.

    Args:
        tried: what was tried, such as "cannot open video".
        path: of the file, or a pattern.
        reason: what is said of a path of this machine.
    """
    stream = STREAM.fullmatch(str(path))
    if stream is None:
        return SourceError(f"{tried} {path}: {reason}", value=path)
    url = f"{stream[1]}://{stream[2]}"
    remedy = Remedy("download it, or open it as a live stream", tool="cam", target=url)
    return SourceError(f"{tried} {url}: it is an address, not a file", value=path, remedy=remedy)


class ImageError(RealtimeError):
    """An array that is no image of a kind that is understood."""


class RegionError(RealtimeError):
    """Regions of a frame that cannot be looked at."""


class SinkError(RealtimeError):
    """A file or window that cannot be written to."""


class ModelError(RealtimeError):
    """An ONNX file that is missing, damaged, or does not keep the contract."""


class ProviderError(RealtimeError):
    """An execution provider that was asked for and does not work here."""

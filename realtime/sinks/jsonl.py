"""Detections and faces as JSON lines."""

import json
import re
from pathlib import Path

from realtime.results import Result
from realtime.sinks.base import ClosingSink, Ending
from realtime.sinks.text_file import open_text


def json_line(value: dict[str, object]) -> str:
    """One JSON object in one line, other alphabets left readable."""
    return as_unicode(json.dumps(value, ensure_ascii=False))


def as_unicode(text: str) -> str:
    r"""JSON that can be written as UTF-8: a byte of a file name that is no UTF-8, such as 0xe9, becomes ``\udce9``.

    Readers of JSON in Python get the name back, with which the file can be opened (PEP 383).
    """

    def as_utf8(bytes_of_a_name: re.Match[str]) -> str:
        return bytes_of_a_name[0].encode(errors="surrogateescape").decode(errors="surrogateescape")

    # In an ASCII locale, Python has such bytes for all other letters.
    return re.sub("[\udc80-\udcff]+", as_utf8, text).encode(errors="backslashreplace").decode()


class JsonLinesFile:
    """A text file of one JSON object a line that appears under its name when complete; ``-`` is standard output."""

    def __init__(self, path: Path) -> None:
        """Start writing.

        Raises:
            SinkError: the folder does not exist or cannot be written to.
        """
        self._text = open_text(path)

    def write_line(self, value: dict[str, object]) -> None:
        """Add one line.

        Raises:
            SinkError: the disk is full, say.
        """
        self._text.write(json_line(value) + "\n")

    def close(self, ending: Ending) -> None:
        """Finish the file. May be called twice."""
        self._text.close(ending)


class JsonLinesSink(ClosingSink):
    """One line a frame: index, timestamp, detections and faces, with boxes in pixels of the frame."""

    needs_canvas = False
    is_slow = False

    def __init__(self, path: Path) -> None:
        self._file = JsonLinesFile(path)

    def write(self, result: Result) -> None:
        """Write the line of one frame."""
        self._file.write_line(result.to_dict())

    def close(self, ending: Ending) -> None:
        """Finish the file."""
        self._file.close(ending)

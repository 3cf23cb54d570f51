"""Detections and faces as JSON lines."""

import json
from collections.abc import Sequence
from pathlib import Path

from realtime.sinks.base import Ending
from realtime.sinks.text_file import open_text
from realtime.structures import Result


def json_line(value: dict[str, object]) -> str:
    """One JSON object in one line, other alphabets left readable."""
    return json.dumps(value, ensure_ascii=False)


def described(result: Result, class_names: Sequence[str]) -> dict[str, object]:
    """What is known of one frame, as plain JSON values; boxes are in pixels of the frame."""
    return {
        "frame": result.frame.index,
        "pts_s": round(result.frame.pts_s, 6),
        "detections": result.detections.as_dicts(class_names),
        "faces": [face.as_dict() for face in result.faces],
    }


class JsonLinesFile:
    """A text file of one JSON object a line that appears under its name when it is whole; ``-`` is standard output."""

    def __init__(self, path: Path) -> None:
        """Begin to write.

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


class JsonLinesSink:
    """One line a frame: index, timestamp, detections and faces, with boxes in pixels of the frame."""

    needs_canvas = False
    is_slow = False

    def __init__(self, path: Path, class_names: tuple[str, ...]) -> None:
        self._file = JsonLinesFile(path)
        self._class_names = class_names

    def write(self, result: Result) -> None:
        """Write the line of one frame."""
        self._file.write_line(described(result, self._class_names))

    def close(self, ending: Ending) -> None:
        """Finish the file."""
        self._file.close(ending)

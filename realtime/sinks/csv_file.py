"""Detections as a table."""

import csv
from pathlib import Path

from realtime.sinks.base import Ending
from realtime.sinks.parts import parts_of_faces
from realtime.sinks.text_file import open_text
from realtime.structures import Result

COLUMNS = ("frame", "pts_s", "face", "feature", "label", "score", "x1", "y1", "x2", "y2")


class CsvSink:
    """A CSV file of one line a detection, boxes in pixels of the frame, that appears when it is whole."""

    needs_canvas = False
    is_slow = False

    def __init__(self, path: Path, class_names: tuple[str, ...]) -> None:
        """Begin to write.

        Raises:
            SinkError: the folder does not exist or cannot be written to.
        """
        self._class_names = class_names
        self._file = open_text(path)
        self._rows = csv.writer(self._file, lineterminator="\n")
        self._rows.writerow(COLUMNS)

    def write(self, result: Result) -> None:
        """Add the lines of one frame; none if nothing was found.

        Raises:
            SinkError: the disk is full, say.
        """
        frame, found = result.frame, result.detections
        parts = parts_of_faces(result, self._class_names)
        rows = zip(found.labels.tolist(), found.scores.tolist(), found.boxes.tolist(), strict=True)
        for i, (label, score, box) in enumerate(rows):
            what = *parts.get(i, ("", "")), self._class_names[label], round(score, 4)
            self._rows.writerow([frame.index, round(frame.pts_s, 6), *what, *(round(value, 2) for value in box)])

    def close(self, ending: Ending) -> None:
        """Finish the file."""
        self._file.close(ending)

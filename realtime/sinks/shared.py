"""One file for the results of several cameras, each of which writes in a thread of its own."""

import csv
import threading
from collections.abc import Callable
from pathlib import Path

from realtime.results import Result
from realtime.sinks.base import ClosingSink, Ending
from realtime.sinks.csv_file import COLUMNS, rows_of
from realtime.sinks.jsonl import json_line
from realtime.sinks.text_file import open_text

Write = Callable[[str, Result], None]
"""Adds the lines of a camera's result."""


class SharedFile:
    """A text file that is closed by the last of the sinks that write to it, and kept if one of them keeps it."""

    def __init__(self, path: Path) -> None:
        """Start writing.

        Raises:
            SinkError: the folder does not exist or cannot be written to.
        """
        self.file = open_text(path)
        self._lock = threading.Lock()
        self._open_sinks = 0
        self._ending = Ending.FAILED

    def sink(self, camera: str, write: Write) -> "SharedSink":
        """What one camera writes to."""
        self._open_sinks += 1
        return SharedSink(self, camera, write)

    def write(self, write: Callable[[], None]) -> None:
        """Let one thread at a time write."""
        with self._lock:
            write()

    def release(self, ending: Ending) -> None:
        """One sink is closed."""
        with self._lock:
            if ending is not Ending.FAILED:
                self._ending = ending
            self._open_sinks -= 1
            if self._open_sinks == 0:
                self.file.close(self._ending)


class SharedSink(ClosingSink):
    """The lines of one camera."""

    needs_canvas = False
    is_slow = False

    def __init__(self, shared: SharedFile, camera: str, write: Write) -> None:
        self._shared = shared
        self._camera = camera
        self._write = write
        self._closed = False

    def write(self, result: Result) -> None:
        """Add the lines of one frame.

        Raises:
            SinkError: the disk is full, say.
        """
        self._shared.write(lambda: self._write(self._camera, result))

    def close(self, ending: Ending) -> None:
        """Write no more. May be called twice."""
        if not self._closed:
            self._closed = True
            self._shared.release(ending)


def shared_lines(path: Path) -> Callable[[str], SharedSink]:
    """JSON lines with a field ``camera``; gives the sink of a camera by its name.

    Raises:
        SinkError: the file cannot be written.
    """
    shared = SharedFile(path)

    def write(camera: str, result: Result) -> None:
        shared.file.write(json_line({"camera": camera} | result.to_dict()) + "\n")

    return lambda camera: shared.sink(camera, write)


def shared_table(path: Path) -> Callable[[str], SharedSink]:
    """A CSV file with a first column ``camera``; gives the sink of a camera by its name.

    Raises:
        SinkError: the file cannot be written.
    """
    shared = SharedFile(path)
    rows = csv.writer(shared.file, lineterminator="\n")
    rows.writerow(("camera", *COLUMNS))

    def write(camera: str, result: Result) -> None:
        rows.writerows([camera, *row] for row in rows_of(result))

    return lambda camera: shared.sink(camera, write)

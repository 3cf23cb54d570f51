"""Video files that a key starts and ends."""

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from realtime.controls import Controls
from realtime.errors import SinkError
from realtime.results import Result
from realtime.sinks.base import ClosingSink, Ending, Sink
from realtime.sinks.naming import stamped_paths
from realtime.sinks.threaded import ThreadedSink

OpenFile = Callable[[Path, tuple[int, int]], Sink]
"""Starts a file at a path, for frames of a width and height."""
SUFFIX = ".mp4"


class Recorder(ClosingSink):
    """Writes the drawn frames to a new file whenever ``controls.recording`` is set, without the window's overlay.

    Each file is encoded and finished in parallel with the run. A recording is kept however the run ends.
    """

    is_slow = False  # its files have threads of their own

    def __init__(
        self,
        controls: Controls,
        folder: Path,
        open_file: OpenFile,
        on_message: Callable[[str], None],
        *,
        camera: str = "",
    ) -> None:
        """Nothing is recorded yet.

        Args:
            controls: say whether to record.
            folder: where the files go.
            open_file: starts one.
            on_message: called, from any thread, with what was saved or an error; the run continues after it.
            camera: part of the names of the files, where there are several cameras.
        """
        self._camera = camera
        self._controls = controls
        self._folder = folder
        self._open_file = open_file
        self._on_message = on_message
        self._recording: _Recording | None = None
        self._finishing: list[threading.Thread] = []
        self._paths: set[Path] = set()
        """Of all recordings; those that are not finished do not exist yet."""

    @property
    def needs_canvas(self) -> bool:
        """Only while it records."""
        return self._controls.recording

    def write(self, result: Result) -> None:
        """Add a frame to the file, starting or ending one as the controls say."""
        size_wh = result.canvas.shape[1], result.canvas.shape[0]
        if self._recording and not (self._controls.recording and self._recording.size_wh == size_wh):
            self._finish_in_thread(self._recording)
            self._recording = None
        if not self._controls.recording:
            return
        try:
            if self._recording is None:
                [path] = stamped_paths(self._folder, SUFFIX, taken=self._paths, camera=self._camera)
                self._paths.add(path)
                self._recording = _Recording(path, self._open_file(path, size_wh), size_wh, result.frame.pts_s)
            self._recording.write(result)
        except SinkError as error:
            self._controls.recording = False
            self._on_message(str(error))
            if self._recording:
                self._recording.file.close(Ending.FAILED)
                self._recording = None

    def close(self, ending: Ending) -> None:
        """Finish all files."""
        if self._recording:
            recording, self._recording = self._recording, None
            self._finish(recording)
        for thread in self._finishing:
            thread.join()
        self._finishing.clear()

    def _finish_in_thread(self, recording: "_Recording") -> None:
        self._finishing = [thread for thread in self._finishing if thread.is_alive()]
        thread = threading.Thread(target=self._finish, args=(recording,), name="encode", daemon=True)
        thread.start()
        self._finishing.append(thread)

    def _finish(self, recording: "_Recording") -> None:
        try:
            recording.file.close(Ending.STOPPED)
        except SinkError as error:
            self._on_message(str(error))
        else:
            self._on_message(f"saved {recording.path}")


class _Recording:
    """One file, whose timestamps start at its first frame."""

    def __init__(self, path: Path, file: Sink, size_wh: tuple[int, int], origin_s: float) -> None:
        self.path = path
        self.size_wh = size_wh
        self.file = ThreadedSink(file, on_write=lambda _ms: None)
        self._origin_s = origin_s

    def write(self, result: Result) -> None:
        frame = replace(result.frame, pts_s=result.frame.pts_s - self._origin_s)
        self.file.write(replace(result, frame=frame))

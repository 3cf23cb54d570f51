"""The progress through a file, on standard error."""

import sys
import time
from typing import TYPE_CHECKING, TextIO

from realtime.formatting import clock
from realtime.results import Result
from realtime.sinks.base import ClosingSink, Ending

if TYPE_CHECKING:
    from rich.progress import Progress

REFRESH_S = 0.1
LINE_EVERY_S = 60.0
"""Time between plain lines if standard error is not a terminal; shorter runs print none."""


class ProgressSink(ClosingSink):
    """On a terminal a bar with the time left, elsewhere a plain line a minute."""

    needs_canvas = False
    is_slow = False

    def __init__(self, name: str, *, origin_s: float, length_s: float | None, stream: TextIO | None = None) -> None:
        """Start the clock.

        Args:
            name: of the file.
            origin_s: timestamp of its beginning.
            length_s: its length in seconds; None if it is unknown.
            stream: where to write; by default standard error.
        """
        self._name = name
        self._origin_s = origin_s
        self._length_s = length_s
        self._frames = 0
        self._stream = stream or sys.stderr
        self._is_terminal = self._stream.isatty()
        self._bar: Progress | None = None
        self._next_s = time.monotonic() + (0 if self._is_terminal else LINE_EVERY_S)
        self._started_s = time.monotonic()

    def write(self, result: Result) -> None:
        """Count one frame."""
        self._frames += 1
        now_s = time.monotonic()
        if now_s < self._next_s:
            return
        self._next_s = now_s + (REFRESH_S if self._is_terminal else LINE_EVERY_S)
        done_s = result.frame.pts_s - self._origin_s
        rate = f"{self._frames / max(now_s - self._started_s, 1e-6):.1f} frames/s"
        if self._is_terminal:
            self._bar = self._bar or self._start_bar()
            self._bar.update(self._bar.task_ids[0], completed=done_s, rate=rate, refresh=True)
        else:
            self._stream.write(self._line(done_s, rate) + "\n")
            self._stream.flush()

    def close(self, ending: Ending) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.stop()

    def _start_bar(self) -> "Progress":
        # Imported when there is something to show: the first frame comes sooner, and scripts never need it.
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        # Refreshed by hand: its own thread would outlive a run that crashes.
        bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %" if self._length_s else ""),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=Console(file=self._stream),
            auto_refresh=False,
            transient=True,
        )
        bar.add_task(self._name, total=self._length_s, rate="")
        bar.start()
        return bar

    def _line(self, done_s: float, rate: str) -> str:
        if not self._length_s:
            return f"{self._name}: {self._frames} frames, {rate}"
        share = min(max(done_s / self._length_s, 0.0), 1.0)
        left_s = (time.monotonic() - self._started_s) * (1 - share) / max(share, 1e-6)
        return f"{self._name}: {100 * share:.0f} %, {rate}, {clock(left_s)} left"

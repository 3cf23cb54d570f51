"""The progress of a batch, on standard error."""

import sys
import time
from typing import TYPE_CHECKING, TextIO

from realtime.formatting import clock, counted
from realtime.sinks.progress import LINE_EVERY_S, REFRESH_S

if TYPE_CHECKING:
    from rich.progress import Progress


class BatchProgress:
    """One display for all files: on a terminal a bar with the time left, elsewhere a plain line a minute.

    The time left is estimated from the bytes of the inputs that are done and of those that are left.
    """

    def __init__(self, total: int, total_bytes: int, noun: str, *, stream: TextIO | None = None) -> None:
        """Start the clock.

        Args:
            total: number of files.
            total_bytes: of all of them.
            noun: what a file is, such as ``video``.
            stream: where to write; by default standard error.
        """
        self._total, self._left_bytes, self._noun = total, total_bytes, noun
        self._stream = stream or sys.stderr
        self._is_terminal = self._stream.isatty()
        self._bar: Progress | None = None
        self._started_s = time.monotonic()
        self._next_s = self._started_s + (REFRESH_S if self._is_terminal else LINE_EVERY_S)
        self._files = self._frames = self._part_frames = 0
        self._done_bytes = self._part_bytes = 0.0

    def skip(self, size: int) -> None:
        """A file needs no work."""
        self._files += 1
        self._left_bytes -= size

    def finish(self, size: int, frames: int) -> None:
        """A file is done."""
        self._files += 1
        self._frames += frames
        self._done_bytes += size
        self._part_bytes = self._part_frames = 0
        self.refresh()

    def part(self, size: int, share: float, frames: int) -> None:
        """So much of the current file is done, where one is done after the other; ``share`` from 0 to 1."""
        self._part_bytes, self._part_frames = share * size, frames
        self.refresh()

    def refresh(self) -> None:
        """Show how far it is, if it is time to."""
        now_s = time.monotonic()
        if now_s < self._next_s:
            return
        self._next_s = now_s + (REFRESH_S if self._is_terminal else LINE_EVERY_S)
        if self._is_terminal:
            self._bar = self._bar or self._start_bar()
            done = self._done_bytes + self._part_bytes
            self._bar.update(self._bar.task_ids[0], completed=done, text=self.line(now_s), refresh=True)
        else:
            self._stream.write(self.line(now_s) + "\n")
            self._stream.flush()

    def line(self, now_s: float) -> str:
        """Files, frames, rate and time left."""
        elapsed_s = max(now_s - self._started_s, 1e-6)
        done = self._done_bytes + self._part_bytes
        frames = self._frames + self._part_frames
        is_video = self._noun == "video"
        rate = f"{counted(frames, 'frame')}, {frames / elapsed_s:.1f} frames/s" if frames and is_video else ""
        left = f"{clock(elapsed_s * (self._left_bytes - done) / done)} left" if done > 0 else ""
        parts = [f"{self._files} of {self._total} {self._noun}s", rate, left]
        return ", ".join(filter(None, parts))

    def hide(self) -> None:
        """Make room for a line of other text; the bar comes back with the next refresh."""
        self.close()

    def close(self) -> None:
        """Remove the bar. May be called twice."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _start_bar(self) -> "Progress":
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        # Refreshed by hand: its own thread would outlive a run that crashes.
        bar = Progress(
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TextColumn("{task.fields[text]}", markup=False),
            console=Console(file=self._stream),
            auto_refresh=False,
            transient=True,
        )
        bar.add_task("", total=max(self._left_bytes, 1), text="")
        bar.start()
        return bar

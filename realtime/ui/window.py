"""A live window."""

import time
from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np

from realtime.controls import Controls
from realtime.errors import SinkError
from realtime.results import Result
from realtime.sinks.base import ClosingSink, Ending, StopRun
from realtime.structures import Detections
from realtime.ui.display import largest_wh, no_window_reason
from realtime.ui.exit_guard import ExitGuard
from realtime.ui.keys import key_name
from realtime.ui.scale import prepare_qt
from realtime.ui.snapshot import Snapshots
from realtime.ui.start_screen import start_image
from realtime.ui.view import View, fit

WAIT_MS = 50
"""Longest wait between two looks at keys and window."""


class WindowSink(ClosingSink):
    """Shows each result and gives the keys to the controls; closing the window ends the run."""

    is_slow = False  # and most window systems want the main thread

    def __init__(
        self,
        title: str,
        view: View,
        controls: Controls,
        snapshots: Snapshots,
        *,
        paced: bool,
        instead: str,
        anonymize: Callable[[np.ndarray, Detections], np.ndarray] | None = None,
    ) -> None:
        """Check that a window can be shown; it opens with the first frame.

        Args:
            title: of the window.
            view: makes the images.
            controls: what the keys change.
            snapshots: saves what is shown, at the press of a key.
            paced: show each frame no sooner than its timestamp says, as a player of files does.
            instead: the options that do without a window, for the error message.
            anonymize: in a run that hides faces, hides those found at a lower threshold too: takes the canvas and the
                detections, returns a new canvas.

        Raises:
            SinkError: no display, or an OpenCV that was built without windows.
        """
        reason = no_window_reason()
        if reason is not None:
            raise SinkError(
                f"cannot open a window: {reason}", value=title, remedy=f"write to a file instead: {instead}"
            )
        prepare_qt()
        self.needs_canvas = view.canvas_only  # else it draws for itself, at its own size, mirrored on demand
        self._title = title
        self._view = view
        self._controls = controls
        self._snapshots = snapshots
        self._paced = paced
        self._origin_s: float | None = None
        """Monotonic time of timestamp 0."""
        self._anonymize = anonymize
        self._shown: Result | None = None
        """What is in the window."""
        self._written: Result | None = None
        self._written_threshold = controls.threshold
        """The threshold at which ``_written`` was made."""
        self._opening_wh = largest_wh(view.scale)
        self._is_open = self._has_start_screen = False
        self._guard: ExitGuard | None = None

    def on_lost_display(self, end_process: Callable[[], None]) -> None:
        """Have a function called when the window system goes away, which ends the process; this sink is not closed."""
        self._guard = ExitGuard(end_process)

    def write(self, result: Result) -> None:
        """Show one frame.

        Raises:
            StopRun: the user wants to end.
        """
        if not self._is_open:
            self._open(result.frame.image)
        threshold = self._controls.threshold
        while (wait_ms := self._due_in_ms(result.frame.pts_s)) > 0:
            self._poll_events(min(wait_ms, WAIT_MS))
        self._written, self._written_threshold = result, threshold
        self._view.meter.shown(result.frame)
        self._show(result)
        self._poll_events(1)

    def refresh(self) -> None:
        """Show the last frame again with the current controls and poll events: the run is paused or has no new frame.

        Raises:
            StopRun: the user wants to end.
        """
        if self._written is None:
            self._wait_for_first()
            return
        if self._controls.paused:
            self._origin_s = None  # the clock of a file stands still
            self._view.meter.paused()
        self._show(self._written)
        self._poll_events(WAIT_MS if self._controls.paused else 1)

    def close(self, ending: Ending) -> None:
        """Close the window."""
        if self._is_open or self._has_start_screen:
            self._is_open = self._has_start_screen = False
            cv2.destroyAllWindows()
            cv2.waitKey(1)  # lets the window system act on it
        if self._guard:
            self._guard.disarm()

    def _wait_for_first(self) -> None:
        """Keep a start screen alive, if one was opened; its user may end the run too."""
        visibility = self._visibility()
        if visibility >= 0:
            self._has_start_screen = True
            image = start_image(self._size_wh(), self._view.waiting_for, scale=self._view.scale)
            cv2.imshow(self._title, image)
            if visibility >= 1:
                self._poll_events(WAIT_MS)
            else:  # it may still be coming up
                cv2.waitKey(WAIT_MS)
        elif self._has_start_screen:  # the user has closed it
            raise StopRun

    def _open(self, image: np.ndarray) -> None:
        self._is_open = True
        scale = fit(image, largest_wh(self._view.scale))
        scale = min(scale, max(self._view.scale, scale / 2))
        self._opening_wh = round(scale * image.shape[1]), round(scale * image.shape[0])
        cv2.namedWindow(self._title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)
        # Qt handles events while it builds a window, so that the user may have closed it by now; imshow would build it
        # anew. Not every system has the window visible before its first image, so that 0 is no sign here.
        self._end_run_unless(self._visibility() >= 0)
        cv2.resizeWindow(self._title, *self._opening_wh)
        if self._guard:
            self._guard.arm()
        self._end_run_unless(self._visibility() >= 0)

    def _due_in_ms(self, pts_s: float) -> int:
        if not self._paced or self._controls.paused:
            return 0
        now_s = time.monotonic()
        if self._origin_s is None:
            self._origin_s = now_s - pts_s
        return round(1000 * (self._origin_s + pts_s - now_s))

    def _show(self, result: Result) -> None:
        threshold = self._controls.threshold
        if threshold != self._written_threshold:  # moved while the frame is shown
            result = result.at(threshold)
            if self._anonymize:
                result = replace(result, canvas=self._anonymize(result.canvas, result.detections))
        self._shown = result
        cv2.imshow(self._title, self._view.render(result, self._size_wh()))

    def _size_wh(self) -> tuple[int, int]:
        """Width and height in pixels of the window's content, as far as the window system tells."""
        _, _, width, height = cv2.getWindowImageRect(self._title)
        return (width, height) if width > 1 and height > 1 else self._opening_wh

    def _poll_events(self, wait_ms: int) -> None:
        """Process the events of the window for ``wait_ms``; raise ``StopRun`` if the user wants to end."""
        key = key_name(cv2.waitKeyEx(wait_ms))
        self._end_run_unless(self._visibility() >= 1)
        if key is not None and self._controls.press(key):
            self._view.acknowledge(key)
            self._act()
        if self._controls.ended:
            raise StopRun

    def _act(self) -> None:
        """Show the effect of a key at once, without waiting for the next frame."""
        if self._shown is None or self._written is None:
            return
        if self._controls.snapshot_wanted:
            self._controls.snapshot_wanted = False
            self._snapshots.save(self._shown)
        self._show(self._written)

    def _end_run_unless(self, is_open: bool) -> None:  # noqa: FBT001 - it is the condition itself
        if not is_open:
            self._is_open = False
            raise StopRun

    def _visibility(self) -> float:
        """1 if the window can be seen, 0 if it is hidden, negative once it is closed."""
        try:
            return cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE)
        except cv2.error:  # with Qt, nothing is left to be asked once the last window is closed
            return -1.0

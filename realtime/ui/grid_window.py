"""A live window of several cameras."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from realtime.controls import Controls
from realtime.drawing import text
from realtime.drawing.colours import WHITE
from realtime.results import Result
from realtime.ui.display import largest_wh
from realtime.ui.exit_guard import ExitGuard
from realtime.ui.grid import Rect, cell_at, cells, paste
from realtime.ui.keys import key_name
from realtime.ui.overlay import SKY, Cell, Toast, draw_table, effect_of, help_rows
from realtime.ui.scale import prepare_qt
from realtime.ui.snapshot import Snapshots
from realtime.ui.start_screen import open_window, start_image
from realtime.ui.view import View

WAIT_MS = 15
"""Longest wait between two looks at keys and new frames."""
GROUND = 16
"""Grey level where there is no image."""


@dataclass(slots=True)
class Tile:
    """One camera in the window."""

    name: str
    view: View
    snapshots: Snapshots
    newest: Callable[[], Result | None]
    """The camera's newest result."""
    status: Callable[[], str]
    """What is wrong with it; empty while all is well."""
    shown: Result | None = None


class GridWindow:
    """Shows the newest result of each camera; a digit or a click makes one large, and small again."""

    def __init__(
        self, title: str, tiles: Sequence[Tile], controls: Controls, toast: Toast, *, scale: float = 1.0
    ) -> None:
        """Prepare a window, which ``run`` opens; whether there can be one, ``no_window_reason`` says.

        ``scale`` of letters and lines, by the screen.
        """
        prepare_qt()
        self._scale = scale
        self._opening_wh = largest_wh(scale)
        self._title = title
        self._tiles = list(tiles)
        self._controls = controls
        self._toast = toast
        self._large: int | None = None
        self._places: list[Rect] = []
        self._guard: ExitGuard | None = None

    def on_lost_display(self, end_process: Callable[[], None]) -> None:
        """Have a function called when the window system goes away, which ends the process."""
        self._guard = ExitGuard(end_process)

    def run(self, is_over: Callable[[], bool]) -> None:
        """Show the cameras until the user wants to end or ``is_over``; in the main thread."""
        self._open()
        try:
            while not (self._controls.ended or is_over()):
                self._take_results()
                cv2.imshow(self._title, self.render(self._size_wh()))
                self._poll_events()
        finally:
            if not self._is_closed():
                cv2.destroyAllWindows()
                cv2.waitKey(1)
            if self._guard:
                self._guard.disarm()

    def render(self, size_wh: tuple[int, int]) -> np.ndarray:
        """The image of the whole window, uint8 (H,W,3) BGR."""
        width, height = size_wh
        canvas = np.full((height, width, 3), GROUND, np.uint8)
        self._places = self._places_in(size_wh)
        for tile, place in zip(self._tiles, self._places, strict=True):
            if place[2] > 0 and place[3] > 0:
                paste(canvas, self._image_of(tile, (place[2], place[3])), place)
        self._draw_panels(canvas)
        return canvas

    def press(self, key: str) -> None:
        """Do what a key stands for: digits choose a camera, all others are those of a window with one."""
        if key.isdecimal():
            self._enlarge(int(key) - 1 if key != "0" else None)
        elif key == "esc" and self._large is not None:
            self._large = None
        elif self._controls.press(key):
            self._act(key)

    def _act(self, key: str) -> None:
        if words := effect_of(key, self._controls, ()):
            self._toast.show(words)
        if self._controls.snapshot_wanted:
            self._controls.snapshot_wanted = False
            for number, tile in enumerate(self._tiles):
                if tile.shown is not None and self._large in (None, number):
                    tile.snapshots.save(tile.shown)

    def click(self, x: int, y: int) -> None:
        """Make the camera at a point of the window large, or all small again."""
        number = cell_at(self._places, x, y)
        if number is not None:
            self._enlarge(number)

    def _enlarge(self, number: int | None) -> None:
        is_there = number is not None and number < len(self._tiles)
        self._large = number if is_there and number != self._large else None

    def _places_in(self, size_wh: tuple[int, int]) -> list[Rect]:
        if self._large is None:
            return cells(len(self._tiles), size_wh)
        return [(0, 0, *size_wh) if number == self._large else (0, 0, 0, 0) for number in range(len(self._tiles))]

    def _take_results(self) -> None:
        if self._controls.is_held:
            for tile in self._tiles:
                tile.view.meter.paused()
            return
        self._controls.step_wanted = False
        for tile in self._tiles:
            result = tile.newest()
            if result is not None and result is not tile.shown:
                tile.shown = result
                tile.view.meter.shown(result.frame)

    def _image_of(self, tile: Tile, within_wh: tuple[int, int]) -> np.ndarray:
        if tile.shown is not None:
            return tile.view.render(tile.shown, within_wh)
        return start_image(within_wh, tile.status(), name=tile.name, scale=self._scale)

    def _draw_panels(self, canvas: np.ndarray) -> None:
        size_px = text.size_for(canvas, ratio=self._scale)
        if self._controls.help:
            keys: list[list[Cell]] = [[("1 to 9, 0", SKY), ("one camera, all", WHITE)]]
            draw_table(canvas, [*keys, *help_rows(self._controls, ())], (0.5, 0.5), size_px)
        if message := self._toast.text:
            draw_table(canvas, [[(text.drawable(message), WHITE)]], (0.5, 0.98), size_px)

    def _open(self) -> None:
        open_window(self._title, self._opening_wh, keeps_ratio=False)
        cv2.setMouseCallback(self._title, self._on_mouse)
        if self._guard:
            self._guard.arm()

    def _on_mouse(self, event: int, x: int, y: int, _flags: int, _data: object) -> None:
        if event == cv2.EVENT_LBUTTONUP:
            self.click(x, y)

    def _poll_events(self) -> None:
        key = key_name(cv2.waitKeyEx(WAIT_MS))
        if self._is_closed():
            self._controls.ended = True
        elif key is not None:
            self.press(key)

    def _size_wh(self) -> tuple[int, int]:
        _, _, width, height = cv2.getWindowImageRect(self._title)
        return (width, height) if width > 1 and height > 1 else self._opening_wh

    def _is_closed(self) -> bool:
        try:
            return cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) < 0
        except cv2.error:  # with Qt, nothing is left to be asked once the last window is closed
            return True

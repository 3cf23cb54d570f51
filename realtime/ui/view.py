"""The image in the window: a frame at the window's size, with boxes, overlay and help."""

from collections.abc import Callable, Sequence

import cv2
import numpy as np

from realtime.controls import Controls
from realtime.drawing import text
from realtime.drawing.colours import WHITE
from realtime.drawing.marks import marks_of
from realtime.drawing.render import draw
from realtime.drawing.styles import Style
from realtime.results import Result
from realtime.stats import Meter
from realtime.structures import Detections
from realtime.ui.overlay import (
    BACKGROUND,
    Status,
    Toast,
    draw_table,
    effect_of,
    help_rows,
    panel_wh,
    status_rows,
    table,
)

IMAGE_SHARE = 0.5
"""Share of the window's width that the image keeps beside the help."""
CORNERS = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))
"""Where the overlay may be, the usual one first: 0..1 from left to right and from top to bottom."""
SMALLEST_PX = 64
"""Smallest side that is drawn for; windows pass through odd sizes while they open."""


class View:
    """Makes the images of the window. Files get their own, without anything that is added here."""

    def __init__(
        self,
        controls: Controls,
        toast: Toast,
        class_names: Sequence[str],
        *,
        model: str,
        is_live: bool,
        source_status: Callable[[], str],
        is_recorded: bool,
        canvas_only: bool = False,
        begin_s: float = 0.0,
        style: Style | None = None,
        camera: str = "",
        scale: float = 1.0,
    ) -> None:
        """
        Args:
            controls: what is to be seen.
            toast: the latest message.
            class_names: names by label.
            model: what finds the boxes, and where it runs.
            is_live: frames have an age, and some may be dropped.
            source_status: what is wrong with the source; empty while all is well.
            is_recorded: the whole run goes into a file.
            canvas_only: show the canvas of results, in which faces are hidden, and never the frame itself.
            begin_s: timestamp at which a file begins.
            style: what is drawn of the detections.
            camera: its name, where there are several: help and messages are not drawn into each image then.
            scale: of letters and lines, by the screen: ``window_scale``.
        """  # noqa: D205
        self.meter = Meter()
        self.canvas_only = canvas_only
        self._begin_s = begin_s
        self._style = style or Style()
        self._camera = camera
        self.scale = scale
        self._controls = controls
        self._toast = toast
        self._class_names = class_names
        self._model = model
        self._overlay_at = CORNERS[0]
        self._is_live = is_live
        self._source_status = source_status
        self._is_recorded = is_recorded

    def render(self, result: Result, within_wh: tuple[int, int]) -> np.ndarray:
        """Draw a result for the window.

        Args:
            result: its frame is left as it is.
            within_wh: width and height in pixels to fill; frames are resized before they are drawn on, so that letters
                are sharp.

        Returns:
            uint8 (H,W,3) BGR with the aspect ratio of the frame; with the help beside it, of the whole space.
        """
        has_help = self._controls.help and not self._camera
        help_panel = self._help_panel(within_wh) if has_help else None
        if help_panel is None:
            return self._render_frame(result, within_wh, with_help=has_help)
        whole = np.full((within_wh[1], within_wh[0], 3), BACKGROUND, np.uint8)
        room_wh = within_wh[0] - help_panel.shape[1], within_wh[1]
        shown = self._render_frame(result, room_wh, with_help=False)
        top, left = (room_wh[1] - shown.shape[0]) // 2, (room_wh[0] - shown.shape[1]) // 2
        whole[top : top + shown.shape[0], left : left + shown.shape[1]] = shown
        top = (within_wh[1] - help_panel.shape[0]) // 2
        whole[top : top + help_panel.shape[0], room_wh[0] :] = help_panel
        return whole

    @property
    def waiting_for(self) -> str:
        """What the start screen says while no frame has come."""
        return self._source_status() or "waiting for the first frame"

    def acknowledge(self, key: str) -> None:
        """Say what a key has done, where it is not plain to see."""
        if words := effect_of(key, self._controls, self._class_names):
            self._toast.show(words)

    def _help_panel(self, within_wh: tuple[int, int]) -> np.ndarray | None:
        """The keys, beside the image; None where too little of the space would be left for it."""
        size_px = text.size_for_wh(within_wh, ratio=self.scale)
        panel = table(help_rows(self._controls, self._class_names), size_px)
        fits = panel.shape[1] <= (1 - IMAGE_SHARE) * within_wh[0] and panel.shape[0] <= within_wh[1]
        return panel if fits else None

    def _render_frame(self, result: Result, within_wh: tuple[int, int], *, with_help: bool) -> np.ndarray:
        controls, image = self._controls, result.canvas if self.canvas_only else result.frame.image
        scale = fit(image, within_wh)
        canvas = _resized(image, scale)
        if controls.mirror:
            canvas = cv2.flip(canvas, 1)
        elif canvas is image:
            canvas = image.copy()  # shared with the sinks
        if not self.canvas_only:
            self._draw_boxes(canvas, result.detections, scale)
        self._draw_panels(canvas, result, scale, with_help=with_help)
        return canvas

    def _draw_boxes(self, canvas: np.ndarray, detections: Detections, scale: float) -> None:
        marks = marks_of(detections, self._controls.hidden, sides=self._style.sides)
        if scale != 1:
            marks = [mark.scaled(scale) for mark in marks]
        if self._controls.mirror:
            marks = [mark.mirrored(canvas.shape[1]) for mark in marks]
        draw(canvas, marks, self._style, labels=self._controls.labels, ratio=self.scale)

    def _draw_panels(self, canvas: np.ndarray, result: Result, scale: float, *, with_help: bool) -> None:
        size_px = text.size_for(canvas, ratio=self.scale)
        if self._controls.overlay:
            rows = status_rows(self._status(result), self._controls, self._class_names)
            if self._camera:
                rows.insert(0, [(text.drawable(self._camera), WHITE)])
            self._move_overlay(self._face_boxes(result, scale, canvas.shape[1]), panel_wh(rows, size_px), canvas)
            draw_table(canvas, rows, self._overlay_at, size_px)
        if self._camera:
            return
        if with_help:
            draw_table(canvas, help_rows(self._controls, self._class_names), (0.5, 0.5), size_px)
        if message := self._toast.text:
            draw_table(canvas, [[(text.drawable(message), WHITE)]], (0.5, 0.98), size_px)

    def _face_boxes(self, result: Result, scale: float, width: int) -> np.ndarray:
        """(N,4) xyxy in pixels of the window's image, ``width`` wide."""
        boxes = scale * np.array([face.box for face in result.faces], np.float32).reshape(-1, 4)
        if self._controls.mirror:
            boxes[:, [0, 2]] = width - boxes[:, [2, 0]]
        return boxes

    def _move_overlay(self, faces: np.ndarray, size_wh: tuple[int, int], canvas: np.ndarray) -> None:
        """Into a corner without a face, if a face is where it is; it stays there until one comes."""
        room = np.array([canvas.shape[1], canvas.shape[0]]) - size_wh
        for corner in (self._overlay_at, *CORNERS):
            low = np.array(corner) * room
            if not ((faces[:, :2] < low + size_wh) & (low < faces[:, 2:])).all(axis=1).any():
                self._overlay_at = corner
                return

    def _status(self, result: Result) -> Status:
        return Status(
            frames_per_s=self.meter.frames_per_s,
            live=(self.meter.latency_ms, self.meter.dropped) if self._is_live else None,
            position_s=result.frame.pts_s - self._begin_s,
            model=self._model,
            faces=len(result.faces) if "face" in self._class_names else None,
            source=self._source_status(),
            recording=self._is_recorded or self._controls.recording,
        )


def fit(image: np.ndarray, within_wh: tuple[int, int]) -> float:
    """Scale factor at which an image fills a space, width and height in pixels."""
    width, height = (max(side, SMALLEST_PX) for side in within_wh)
    return float(min(width / image.shape[1], height / image.shape[0]))


def _resized(image: np.ndarray, scale: float) -> np.ndarray:
    size_wh = max(1, round(scale * image.shape[1])), max(1, round(scale * image.shape[0]))
    return image if size_wh == (image.shape[1], image.shape[0]) else cv2.resize(image, size_wh)

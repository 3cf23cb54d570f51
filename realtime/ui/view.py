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
from realtime.structures import Detections, Frame
from realtime.ui.overlay import Status, Toast, draw_table, help_rows, status_rows

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
        provider: str,
        is_live: bool,
        source_status: Callable[[], str],
        is_recorded: bool,
        canvas_only: bool = False,
        begin_s: float = 0.0,
        style: Style | None = None,
        camera: str = "",
    ) -> None:
        """
        Args:
            controls: what is to be seen.
            toast: the latest message.
            class_names: names by label.
            provider: where the network runs.
            is_live: frames have an age, and some may be dropped.
            source_status: what is wrong with the source; empty while all is well.
            is_recorded: the whole run goes into a file.
            canvas_only: show the canvas of results, in which faces are hidden, and never the frame itself.
            begin_s: timestamp at which a file begins.
            style: what is drawn of the detections.
            camera: its name, where there are several: help and messages are not drawn into each image then.
        """  # noqa: D205
        self.meter = Meter()
        self.canvas_only = canvas_only
        self._begin_s = begin_s
        self._style = style or Style()
        self._camera = camera
        self._controls = controls
        self._toast = toast
        self._class_names = class_names
        self._provider = provider
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
            uint8 (H,W,3) BGR with the aspect ratio of the frame.
        """
        controls, image = self._controls, result.canvas if self.canvas_only else result.frame.image
        scale = fit(image, within_wh)
        canvas = _resized(image, scale)
        if controls.mirror:
            canvas = cv2.flip(canvas, 1)
        elif canvas is image:
            canvas = image.copy()  # shared with the sinks
        if not self.canvas_only:
            self._draw_boxes(canvas, result.detections, scale)
        self._draw_panels(canvas, result.frame)
        return canvas

    def _draw_boxes(self, canvas: np.ndarray, detections: Detections, scale: float) -> None:
        marks = marks_of(detections, self._controls.hidden, sides=self._style.sides)
        if scale != 1:
            marks = [mark.scaled(scale) for mark in marks]
        if self._controls.mirror:
            marks = [mark.mirrored(canvas.shape[1]) for mark in marks]
        draw(canvas, marks, self._style, labels=self._controls.labels)

    def _draw_panels(self, canvas: np.ndarray, frame: Frame) -> None:
        size_px = text.size_for(canvas)
        if self._controls.overlay:
            rows = status_rows(self._status(frame), self._controls, self._class_names)
            if self._camera:
                rows.insert(0, [(text.drawable(self._camera), WHITE)])
            draw_table(canvas, rows, (0.0, 0.0), size_px)
        if self._camera:
            return
        if self._controls.help:
            draw_table(canvas, help_rows(self._controls, self._class_names), (0.5, 0.5), size_px)
        if message := self._toast.text:
            draw_table(canvas, [[(text.drawable(message), WHITE)]], (0.0, 1.0), size_px)

    def _status(self, frame: Frame) -> Status:
        return Status(
            frames_per_s=self.meter.frames_per_s,
            live=(self.meter.latency_ms, self.meter.dropped) if self._is_live else None,
            position_s=frame.pts_s - self._begin_s,
            provider=self._provider,
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

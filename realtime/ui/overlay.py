"""What the window writes over the image: the state of the run, messages, and the keys."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import cv2
import numpy as np

from realtime.controls import BINDINGS, CLASS_KEYS, Controls
from realtime.drawing import text
from realtime.drawing.colours import WHITE, Colour, colour_of
from realtime.formatting import counted

Cell = tuple[str, Colour]
GREY: Colour = (160, 160, 160)
RED: Colour = (70, 130, 255)
"""Okabe and Ito's vermilion, lightened for a dark background."""
SKY: Colour = (240, 200, 120)
BACKGROUND = 24
BACKGROUND_OPACITY = 0.9
"""Opacity of a panel over the image."""


class Toast:
    """The latest message, shown for a few seconds. Thread-safe."""

    DURATION_S = 4.0

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._text, self._until_s = "", 0.0

    def show(self, message: str) -> None:
        """Replace the message."""
        with self._lock:
            self._text, self._until_s = message, self._clock() + self.DURATION_S

    @property
    def text(self) -> str:
        """Empty once its time is over."""
        with self._lock:
            return self._text if self._clock() < self._until_s else ""


@dataclass(frozen=True, slots=True)
class Status:
    """The state of a run."""

    frames_per_s: float
    live: tuple[float, int] | None
    """Latency in milliseconds and dropped frames of a live source; a file has neither."""
    position_s: float
    model: str
    """What finds the boxes, and where it runs."""
    faces: int | None
    """In the shown frame; None if the model finds none."""
    source: str
    """What is wrong with the source; empty while all is well."""
    recording: bool


def status_rows(status: Status, controls: Controls, class_names: Sequence[str]) -> list[list[Cell]]:
    """The lines of the overlay."""
    rate = f"{status.frames_per_s:.1f} frames/s" if status.frames_per_s else "- frames/s"
    if status.live is None:
        minutes, seconds = divmod(round(status.position_s, 1), 60)
        place = f"at {minutes:.0f}:{seconds:04.1f}"
    else:
        place = f"{status.live[0]:.0f} ms old   {counted(status.live[1], 'frame')} dropped"
    faces = "" if status.faces is None else f"   {counted(status.faces, 'face')}"
    rows = [
        [(f"{text.drawable(status.model)}{faces}", WHITE)],
        [(f"{rate}   {place}", WHITE)],
        [(f"threshold {controls.threshold:.2f}", WHITE)],
    ]
    hidden = [text.drawable(class_names[label]) for label in sorted(controls.hidden) if label < len(class_names)]
    if hidden:
        rows.append([(f"hidden: {', '.join(hidden)}", WHITE)])
    if status.source:
        rows.append([(text.drawable(status.source), RED)])
    if controls.paused:
        rows.append([("PAUSED", SKY)])
    if status.recording:
        rows.append([("● REC", RED)])
    if not controls.help:
        rows.append([("h: keys", GREY)])
    return rows


def effect_of(key: str, controls: Controls, class_names: Sequence[str]) -> str:
    """What a key has done, for a message; nothing for those whose effect is seen or reported anyway."""
    if key in {"+", "=", "up", "-", "_", "down"}:
        return f"threshold {controls.threshold:.2f}"
    if key in {"m", "l", "o"}:
        name = {"m": "mirror", "l": "labels", "o": "overlay"}[key]
        return f"{name} {'on' if getattr(controls, name) else 'off'}"
    if key in CLASS_KEYS and CLASS_KEYS.index(key) < len(class_names):
        label = CLASS_KEYS.index(key)
        return f"{class_names[label]} {'hidden' if label in controls.hidden else 'shown'}"
    return ""


def help_rows(controls: Controls, class_names: Sequence[str]) -> list[list[Cell]]:
    """All keys, and beside them those of the classes, in their colours."""
    keys = [[(binding.shown, SKY), (binding.meaning, WHITE)] for binding in BINDINGS]
    classes: list[list[Cell]] = [[("show, hide", WHITE)]] if class_names else []
    for label, (key, name) in enumerate(zip(CLASS_KEYS, class_names, strict=False)):
        is_hidden = label in controls.hidden
        classes.append([(f"{key} ■ {text.drawable(name)}", GREY if is_hidden else colour_of(label))])
    blank: list[Cell] = [("", WHITE), ("", WHITE)]
    return [[*(left or blank), *(right or [])] for left, right in zip_longest(keys, classes)]


def draw_table(
    canvas: np.ndarray,
    rows: Sequence[Sequence[Cell]],
    anchor: tuple[float, float],
    size_px: int,
    *,
    keep_size: bool = False,
) -> None:
    """Write rows of cells onto a dark, slightly transparent panel, in place.

    Args:
        canvas: uint8 (H,W,3), BGR.
        rows: columns are as wide as their widest cell.
        anchor: position in the image, 0..1 from left to right and from top to bottom.
        size_px: height of the letters; reduced where the table would not fit into the image with a rim.
        keep_size: never reduce it.
    """
    widths, height = _layout(rows, size_px)
    fit = min(canvas.shape[1] / (sum(widths) + 2 * size_px), canvas.shape[0] / (height * len(rows) + size_px), 1.0)
    if fit < 1 and not keep_size:
        size_px = max(6, int(fit * size_px))
        widths, height = _layout(rows, size_px)
    margin, size_wh = size_px // 2, panel_wh(rows, size_px)
    left, top = (
        round(place * max(0, room - own)) for place, room, own in zip(anchor, _wh(canvas), size_wh, strict=True)
    )
    ground = canvas[top : top + size_wh[1], left : left + size_wh[0]]
    cv2.convertScaleAbs(ground, dst=ground, alpha=1 - BACKGROUND_OPACITY, beta=BACKGROUND_OPACITY * BACKGROUND)
    for i, row in enumerate(rows):
        x = left + margin
        for (words, colour), width in zip(row, widths, strict=False):
            text.write(canvas, words, (x, top + margin // 2 + i * height), colour, size_px)
            x += width


def panel_wh(rows: Sequence[Sequence[Cell]], size_px: int) -> tuple[int, int]:
    """Width and height in pixels of a table."""
    widths, height = _layout(rows, size_px)
    margin = size_px // 2
    return sum(widths) + margin, height * len(rows) + margin


def table(rows: Sequence[Sequence[Cell]], size_px: int) -> np.ndarray:
    """Rows of cells on a panel of their own, uint8 (H,W,3), BGR."""
    panel = np.zeros((*panel_wh(rows, size_px)[::-1], 3), np.uint8)
    draw_table(panel, rows, (0.0, 0.0), size_px, keep_size=True)
    return panel


def _layout(rows: Sequence[Sequence[Cell]], size_px: int) -> tuple[list[int], int]:
    """Widths of the columns, gaps included, and height of the rows."""
    columns = zip_longest(*rows, fillvalue=("", WHITE))
    widths = [max(text.width_px(words, size_px) for words, _ in column) + size_px for column in columns]
    widths[-1] -= size_px // 2
    return widths, text.height_px(size_px)


def _wh(image: np.ndarray) -> tuple[int, int]:
    return image.shape[1], image.shape[0]

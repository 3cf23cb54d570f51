"""Drawing detections onto an image: as much of each as there are pixels for."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from realtime.drawing import strokes, tags, text
from realtime.drawing.marks import Mark, marks_of
from realtime.drawing.placement import Rect, place_labels
from realtime.drawing.styles import MIN_LINE_PX, Labels, Shape, Style
from realtime.structures import FACE, NO_FACE, PARTS, Detections

# What is drawn of a face, by its shorter side.
FEATURES_FROM = 36
"""In line widths: from here on there is room for lines around features."""
FEATURE_TAGS_FROM = 8
"""In font sizes: from here on there is room for tags at features."""
SCORES_FROM = 5
"""In font sizes: below, a tag has no score."""
FACE_TAGS_FROM = 2.5
"""In font sizes: below, a face has no tag, and a closed outline in place of corners."""

KEPT_CLEAR = tuple(PARTS.index(part) for part in ("left_eye", "right_eye", "mouth"))
"""No line of another part crosses them."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """In pixels of one image."""

    line_px: int
    thin_px: int
    """Width of lines around features."""
    font_px: int

    @classmethod
    def of(cls, canvas: np.ndarray, style: Style, ratio: float = 1.0) -> "Sizes":
        """Those that suit an image (H,W,3) and the user's wishes; ``ratio``: its pixels per pixel of a usual screen."""
        least_px = MIN_LINE_PX * round(ratio)
        line_px = style.line_px or max(least_px, 2 * round(min(canvas.shape[:2]) / 480))
        thin_px = max(min(least_px, line_px), round(line_px / 2))
        return cls(line_px, thin_px, text.size_for(canvas, style.font_scale, ratio=ratio))


def draw(
    canvas: np.ndarray,
    marks: Sequence[Mark],
    style: Style | None = None,
    *,
    labels: bool = True,
    ratio: float = 1.0,
) -> None:
    """Draw what was found onto an image, in place; lines and letters scale with its size.

    Lines surround boxes, and tags stand beside them: neither covers eyes or mouth.

    Args:
        canvas: uint8 (H,W,3), BGR.
        marks: what was found, in pixels of ``canvas``.
        style: what is drawn of it.
        labels: False leaves out all tags, whatever the style says.
        ratio: how many pixels of ``canvas`` are as large as one of a usual screen.
    """
    style = style or Style()
    sizes = Sizes.of(canvas, style, ratio)
    # Large boxes first and tags last, so that the small parts of a face stay readable.
    chosen = sorted((mark for mark in marks if _is_drawn(mark, style, sizes)), key=_area, reverse=True)
    looks = [mark for mark in chosen if mark.part in KEPT_CLEAR]
    insides = [_inside(canvas, mark) for mark in looks]
    kept = [inside.copy() for inside in insides]
    for mark in chosen:
        if mark.part not in KEPT_CLEAR:
            _draw_mark(canvas, mark, style, sizes)
    # Boxes of noses and eyebrows reach into those of eyes.
    for inside, pixels in zip(insides, kept, strict=True):
        inside[:] = pixels
    for mark in looks:
        _draw_mark(canvas, mark, style, sizes)
    if labels and style.labels is not Labels.NONE:
        _draw_tags(canvas, chosen, marks, style, sizes)


def drawn(
    image: np.ndarray,
    detections: Detections,
    style: Style | None = None,
    *,
    labels: bool = True,
    hidden: Collection[int] = (),
) -> np.ndarray:
    """A copy of an image uint8 (H,W,3) BGR with what was found in it, but for classes of ``hidden`` labels."""
    style = style or Style()
    canvas = image.copy()
    draw(canvas, marks_of(detections, hidden, sides=style.sides), style, labels=labels)
    return canvas


def _is_drawn(mark: Mark, style: Style, sizes: Sizes) -> bool:
    """Features only where there is room for them."""
    if not mark.is_feature:
        return True
    return style.shape is not Shape.MINIMAL and (mark.is_stray or mark.side_px >= FEATURES_FROM * sizes.thin_px)


def _inside(canvas: np.ndarray, mark: Mark) -> np.ndarray:
    """What lies in the box of a mark: a view of ``canvas``."""
    x1, y1, x2, y2 = strokes.clear_rect(mark.box)
    return canvas[max(0, y1) : max(0, y2), max(0, x1) : max(0, x2)]


def _draw_mark(canvas: np.ndarray, mark: Mark, style: Style, sizes: Sizes) -> None:
    if style.fill and mark.part != FACE:
        strokes.fill(canvas, mark.box, mark.colour)
    if not (style.fill and mark.is_feature):
        _draw_shape(canvas, mark, style, sizes)


def _draw_shape(canvas: np.ndarray, mark: Mark, style: Style, sizes: Sizes) -> None:
    is_thin = mark.is_feature or style.shape is Shape.MINIMAL or mark.side_px < FEATURES_FROM * sizes.thin_px
    line_px = sizes.thin_px if is_thin else sizes.line_px
    if style.shape is Shape.OUTLINE:
        strokes.ellipse(canvas, mark.box, mark.colour, line_px)
    elif style.shape is Shape.DOTS and mark.is_feature:
        strokes.dot(canvas, mark.box, mark.colour, max(2.0, 0.75 * sizes.line_px))
    elif style.shape is Shape.BOXES or mark.is_feature or mark.side_px < FACE_TAGS_FROM * sizes.font_px:
        strokes.box(canvas, mark.box, mark.colour, line_px)
    else:
        strokes.brackets(canvas, mark.box, mark.colour, line_px)


def _draw_tags(canvas: np.ndarray, chosen: Sequence[Mark], marks: Sequence[Mark], style: Style, sizes: Sizes) -> None:
    tagged = [(mark, words) for mark in chosen if (words := tag_text(mark, style, sizes.font_px))]
    if not tagged:
        return
    outside_px = sizes.line_px + strokes.halo_px(sizes.line_px)
    rects = [_grown(mark, outside_px) for mark, _ in tagged]
    sizes_wh = [tags.size_wh(words, sizes.font_px) for _, words in tagged]
    frame_wh = canvas.shape[1], canvas.shape[0]
    clear, avoid = [], []
    for mark in marks:
        # Small faces as a whole: a tag would hide them.
        if mark.part in KEPT_CLEAR or mark.side_px < FEATURE_TAGS_FROM * sizes.font_px:
            clear.append(strokes.clear_rect(mark.box))
        elif mark.is_feature:
            avoid.append(strokes.clear_rect(mark.box))
    places = place_labels(rects, sizes_wh, frame_wh, clear, avoid)
    for (mark, words), place in zip(tagged, places, strict=True):
        if place:
            tags.put(canvas, words, place, mark.colour, sizes.font_px)


def tag_text(mark: Mark, style: Style, font_px: int) -> str:
    """What a tag says; nothing where there is none."""
    if mark.is_feature and style.labels is not Labels.FULL:
        return ""
    side = mark.side_px / font_px
    if mark.is_feature and not mark.is_stray:
        return f"{mark.name} {_percent(mark.score)}" if side >= FEATURE_TAGS_FROM else ""
    if mark.part == FACE and side < FACE_TAGS_FROM:
        return ""
    number = f" {mark.face_id}" if mark.face_id != NO_FACE else ""
    if style.shape is Shape.MINIMAL and number:
        return number.strip()
    if side < SCORES_FROM:
        return f"{mark.name}{number}"
    return f"{mark.name}{number}{' ·' if number else ''} {_percent(mark.score)}"


def _percent(score: float) -> str:
    return f"{100 * score:.0f}%"


def _grown(mark: Mark, by_px: int) -> Rect:
    x1, y1, x2, y2 = strokes.clear_rect(mark.box)
    return x1 - by_px, y1 - by_px, x2 + by_px, y2 + by_px


def _area(mark: Mark) -> float:
    x1, y1, x2, y2 = mark.box
    return (x2 - x1) * (y2 - y1)

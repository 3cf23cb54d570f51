"""Where labels go, so that they hide neither small boxes nor each other."""

from collections.abc import Sequence

import numpy as np

Rect = tuple[int, int, int, int]
"""x1, y1, x2, y2 in pixels."""


def place_labels(
    boxes: Sequence[Rect],
    sizes_wh: Sequence[tuple[int, int]],
    frame_wh: tuple[int, int],
    keep_clear: Sequence[Rect] = (),
    avoid: Sequence[Rect] = (),
) -> list[tuple[int, int] | None]:
    """A place for each box's label: beside the box, inside the frame, on as little else as possible.

    Small boxes choose first. A box that holds the middle of a smaller one, as a face holds an eye, counts as ground.

    Args:
        boxes: one or none.
        sizes_wh: width and height in pixels of each label.
        frame_wh: width and height in pixels of the image.
        keep_clear: what no label may cover, such as eyes and mouths.
        avoid: what else they had better not cover.

    Returns:
        The upper left corner of each label; None where each place would cover something of ``keep_clear``.
    """
    if not boxes:
        return []
    corners, clear = np.array(boxes), np.array(keep_clear, int).reshape(-1, 4)
    areas = (corners[:, 2] - corners[:, 0]) * (corners[:, 3] - corners[:, 1])
    taken = TakenMap(frame_wh, cell_px=max(2, sizes_wh[0][1] // 4))
    for rects in (corners[~_holds_smaller(corners, areas)], clear, np.array(avoid, int).reshape(-1, 4)):
        for cells in taken.cells(rects).tolist():
            taken.mark(cells)
    candidates = _beside(corners, np.array(sizes_wh), frame_wh)
    # Lists: a loop over small arrays takes several times as long.
    forbidden, cells_of = _covers_any(candidates, clear).tolist(), taken.cells(candidates).tolist()
    upper_left: list[list[tuple[int, int]]] = candidates[..., :2].tolist()
    places: list[tuple[int, int] | None] = [None] * len(boxes)
    for i in np.argsort(areas, kind="stable").tolist():
        choices = [choice for choice, is_forbidden in enumerate(forbidden[i]) if not is_forbidden]
        if choices:
            best = taken.emptiest(cells_of[i], choices)
            taken.mark(cells_of[i][best])
            x, y = upper_left[i][best]
            places[i] = x, y
    return places


class TakenMap:
    """A coarse map of what had better not be covered; a look costs the same with few boxes and with many."""

    def __init__(self, frame_wh: tuple[int, int], cell_px: int) -> None:
        self._cell_px = cell_px
        self._taken = np.zeros((frame_wh[1] // cell_px + 2, frame_wh[0] // cell_px + 2), np.bool_)

    def cells(self, rects: np.ndarray) -> np.ndarray:
        """Columns and rows of the map, begin and end, int (...,4), for places xyxy in pixels."""
        cells: np.ndarray = np.maximum(rects + self._cell_px // 2, 0) // self._cell_px
        np.maximum(cells[..., 2:], cells[..., :2] + 1, out=cells[..., 2:])
        return cells

    def mark(self, cells: Sequence[int]) -> None:
        """Take a place."""
        x1, y1, x2, y2 = cells
        self._taken[y1:y2, x1:x2] = True

    def emptiest(self, places: Sequence[Sequence[int]], choices: Sequence[int]) -> int:
        """Of places (in cells), the first of the ``choices`` that is free, or else the one of which least is taken."""
        least, best = None, -1
        for choice in choices:
            x1, y1, x2, y2 = places[choice]
            count = np.count_nonzero(self._taken[y1:y2, x1:x2])
            if least is None or count < least:
                least, best = count, choice
            if count == 0:
                break
        return best


def _holds_smaller(corners: np.ndarray, areas: np.ndarray) -> np.ndarray:
    """(N,) bool: which boxes (N,4) hold the middle of a box of at most a quarter of their area."""
    x1, y1, x2, y2 = corners.T[..., None]  # each (N,1): against (N,), all against all
    x, y = (x1 + x2)[:, 0] / 2, (y1 + y2)[:, 0] / 2
    holds = (x1 <= x) & (x <= x2) & (y1 <= y) & (y <= y2) & (4 * areas <= areas[:, None])
    ground: np.ndarray = holds.any(axis=1)
    return ground


def _beside(corners: np.ndarray, sizes_wh: np.ndarray, frame_wh: tuple[int, int]) -> np.ndarray:
    """Places xyxy int (N,10,4) at boxes (N,4) for labels (N,2), the usual one first, moved into the frame."""
    x1, y1, x2, y2 = corners.T
    width, height = sizes_wh.T
    above, inside_right, left, last = y1 - height, x2 - width, x1 - width, y2 - height
    middle = (y1 + y2 - height) // 2
    x = np.array((x1, x1, inside_right, inside_right, x2, left, x2, left, x2, left))
    y = np.array((above, y2, above, y2, y1, y1, middle, middle, last, last))
    x = np.maximum(np.minimum(x, frame_wh[0] - width), 0)
    y = np.maximum(np.minimum(y, frame_wh[1] - height), 0)
    return np.array((x, y, x + width, y + height)).T


def _covers_any(places: np.ndarray, rects: np.ndarray) -> np.ndarray:
    """(N,M) bool: which places xyxy (N,M,4) cover something of rectangles xyxy (K,4)."""
    x1, y1, x2, y2 = np.moveaxis(places, -1, 0)[..., None]
    left, top, right, bottom = rects.T
    covers: np.ndarray = ((x1 < right) & (left < x2) & (y1 < bottom) & (top < y2)).any(axis=2)
    return covers

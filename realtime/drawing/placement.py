"""Where labels go, so that they hide neither small boxes nor each other."""

from collections.abc import Iterator, Sequence

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
    taken, forbidden = TakenMap(frame_wh, cell_px=max(2, sizes_wh[0][1] // 4)), TakenMap(frame_wh, cell_px=1)
    corners = np.array(boxes)
    areas = (corners[:, 2] - corners[:, 0]) * (corners[:, 3] - corners[:, 1])
    for i in np.flatnonzero(~_holds_smaller(corners, areas)).tolist():
        taken.mark(boxes[i])
    for rect in (*keep_clear, *avoid):
        taken.mark(rect)
    for rect in keep_clear:
        forbidden.mark(rect)
    places: list[tuple[int, int] | None] = [None] * len(boxes)
    for i in np.argsort(areas, kind="stable").tolist():
        size_wh = sizes_wh[i]
        allowed = (p for p in _beside(boxes[i], size_wh, frame_wh) if forbidden.is_free(_rect(p, size_wh)))
        place = places[i] = _best(allowed, size_wh, taken)
        if place:
            taken.mark(_rect(place, size_wh))
    return places


class TakenMap:
    """A map, coarse or exact, of what must not be covered; a look costs the same with few boxes and with many."""

    def __init__(self, frame_wh: tuple[int, int], cell_px: int) -> None:
        self._cell_px = cell_px
        self._taken = np.zeros((frame_wh[1] // cell_px + 2, frame_wh[0] // cell_px + 2), np.bool_)

    def mark(self, rect: Rect) -> None:
        """Take a place."""
        self._taken[self._cells(rect)] = True

    def count(self, rect: Rect) -> int:
        """How many cells of a place are taken."""
        return int(np.count_nonzero(self._taken[self._cells(rect)]))

    def is_free(self, rect: Rect) -> bool:
        """Whether nothing of a place is taken."""
        return not self._taken[self._cells(rect)].any()

    def _cells(self, rect: Rect) -> tuple[slice, slice]:
        cell, half = self._cell_px, self._cell_px // 2
        x1, y1, x2, y2 = rect
        x, y = max(0, x1 + half) // cell, max(0, y1 + half) // cell
        return slice(y, max(y + 1, (y2 + half) // cell)), slice(x, max(x + 1, (x2 + half) // cell))


def _holds_smaller(corners: np.ndarray, areas: np.ndarray) -> np.ndarray:
    """(N,) bool: which boxes (N,4) hold the middle of a box of at most a quarter of their area."""
    middles = (corners[:, :2] + corners[:, 2:]) / 2
    holds = (corners[:, None, :2] <= middles) & (middles <= corners[:, None, 2:])  # (N,N,2): box, middle, x or y
    ground: np.ndarray = (holds.all(axis=2) & (4 * areas <= areas[:, None])).any(axis=1)
    return ground


def _beside(box: Rect, size_wh: tuple[int, int], frame_wh: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """Places at a box, the usual one first, moved into the frame."""
    x1, y1, x2, y2 = box
    width, height = size_wh
    right, bottom = frame_wh[0] - width, frame_wh[1] - height
    for x in (x1, x2 - width):
        for y in (y1 - height, y2):
            yield max(0, min(x, right)), max(0, min(y, bottom))
    for y in (y1, (y1 + y2 - height) // 2, y2 - height):
        for x in (x2, x1 - width):
            yield max(0, min(x, right)), max(0, min(y, bottom))


def _best(places: Iterator[tuple[int, int]], size_wh: tuple[int, int], taken: TakenMap) -> tuple[int, int] | None:
    """The first free place, or else the one with least below it; None of none."""
    least, best = None, None
    for place in places:
        covered = taken.count(_rect(place, size_wh))
        if covered == 0:
            return place
        if least is None or covered < least:
            least, best = covered, place
    return best


def _rect(corner: tuple[int, int], size_wh: tuple[int, int]) -> Rect:
    return corner[0], corner[1], corner[0] + size_wh[0], corner[1] + size_wh[1]

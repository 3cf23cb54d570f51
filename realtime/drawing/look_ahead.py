"""Hiding faces in files: frames wait until it is known what is found after them."""

from collections import deque
from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np

from realtime.drawing.hiding import HOLD_S, HeldBox, Hider, is_replaced
from realtime.structures import NO_FACE, Detections, Frame

Item = TypeVar("Item")

MAX_BYTES = 2**29
"""Of the frames that wait; with very large ones, fewer do."""


class LookAheadHider(Hider):
    """Hides a face from half a second before it is first found on, and where it passes while it is missed."""

    def __init__(self, *given: object, **options: object) -> None:
        super().__init__(*given, **options)  # type: ignore[arg-type]
        self._waiting: deque[tuple[Frame, list[HeldBox]]] = deque()

    def delayed(self, items: Iterator[Item], parts: Callable[[Item], tuple[Frame, Detections]]) -> Iterator[Item]:
        """The same items, each when those of the next half second are known; render each before the next is taken.

        Args:
            items: of a stream. If it fails, what waits is given out first.
            parts: the frame and the detections of an item.
        """
        waiting: deque[Item] = deque()
        error: Exception | None = None
        try:
            for item in items:
                frame, detections = parts(item)
                waiting.append(item)
                self._waiting.append((frame, self.find(detections, frame.pts_s)))
                while self._is_ripe():
                    yield self._next(waiting)
        except Exception as raised:
            error = raised
        while waiting:
            yield self._next(waiting)
        if error is not None:
            raise error

    def _is_ripe(self) -> bool:
        first, last = self._waiting[0][0], self._waiting[-1][0]
        too_many = len(self._waiting) * last.image.nbytes > MAX_BYTES
        return len(self._waiting) > 1 and (too_many or not 0 <= last.pts_s - first.pts_s < HOLD_S)

    def _next(self, waiting: deque[Item]) -> Item:
        self._waiting.popleft()
        return waiting.popleft()

    def _expected(self, frame: Frame) -> list[HeldBox]:
        """What will be found soon and is not hidden yet, where it will be; and where it passes until then."""
        found = [item for item in self._held if item.seen_s == self._clock_s]
        missed = {item.face: item for item in self._held if item.seen_s < self._clock_s and item.face[0] != NO_FACE}
        known = {item.face for item in found if item.face[0] != NO_FACE}
        covered = [item.box for item in found]
        expected: list[HeldBox] = []
        for i, (later, boxes) in enumerate(self._waiting):
            ahead_s = later.pts_s - frame.pts_s
            if later.image.shape != frame.image.shape or (i > 0 and not 0 <= ahead_s <= HOLD_S):
                break
            ahead_s = min(max(ahead_s, 0.0), HOLD_S)  # the next frame counts however far it is
            for item in boxes:
                if item.face in known or is_replaced(item.box, np.array(covered).reshape(-1, 4)):
                    continue
                known |= {item.face} if item.face[0] != NO_FACE else set()
                covered.append(item.box)
                there = HeldBox(item.box, self._clock_s + ahead_s, item.face)
                expected.append(there)
                if before := missed.get(item.face):
                    expected.append(_between(before, there, self._clock_s))
        return expected


def _between(before: HeldBox, after: HeldBox, now_s: float) -> HeldBox:
    """Where a box is if it moves evenly from one place to the other."""
    share = (now_s - before.seen_s) / max(after.seen_s - before.seen_s, 1e-6)
    return HeldBox((before.box + share * (after.box - before.box)).astype(np.float32), now_s, before.face)

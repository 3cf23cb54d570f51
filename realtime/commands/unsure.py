"""Reporting what is perhaps to be hidden, and was not."""

from collections.abc import Sequence

import numpy as np

from realtime.drawing.hiding import Hider, Hiding
from realtime.faces.boxes import inside_any
from realtime.formatting import clock, counted, listed
from realtime.results import Result
from realtime.sinks.base import ClosingSink, Ending

JOIN_S = 1.0
"""Frames that are closer together are one span."""
MAX_NAMED = 5
"""Times or files that are named in one line."""
WARNING = "may show more that is to be hidden"
REMEDY = "look there, or lower --threshold"


class UnsureFrames(ClosingSink):
    """Notes the frames in which something that is to be hidden may be there, below the threshold, and is seen."""

    needs_canvas = False
    is_slow = False

    def __init__(self, hider: Hider, possible: float) -> None:
        """Nothing is noted yet.

        Args:
            hider: which has drawn each result before it comes here.
            possible: score from which on something may be what is to be hidden.
        """
        self._hider, self._possible = hider, possible
        self._count = 0
        self._spans: list[tuple[float, float]] = []

    def write(self, result: Result) -> None:
        """Look at one frame."""
        if not is_unsure(result, self._hider.hiding, self._possible, self._hider.hidden):
            return
        self._count += 1
        now_s = result.frame.pts_s
        if self._spans and 0 <= now_s - self._spans[-1][1] <= JOIN_S:
            self._spans[-1] = self._spans[-1][0], now_s
        else:
            self._spans.append((now_s, now_s))

    def close(self, ending: Ending) -> None:
        """Nothing to close."""

    @property
    def report(self) -> str | None:
        """One line for the user; None if there was nothing."""
        if not self._count:
            return None
        times = _shortened([_span(*span) for span in self._spans], "other time")
        return f"{counted(self._count, 'frame')} {WARNING}, at {times}; {REMEDY}"


def images_report(names: Sequence[str]) -> str:
    """One line about images that are unsure."""
    return f"{counted(len(names), 'image')} {WARNING}: {_shortened(names, 'other')}; {REMEDY}"


def is_unsure(result: Result, hiding: Hiding, possible: float, hidden: np.ndarray | None = None) -> bool:
    """Whether an image may show something that is to be hidden where nothing is.

    Args:
        result: of the image.
        hiding: what is to be hidden.
        possible: score from which on something may be that.
        hidden: boxes (N,4) that are; by default those that were found.
    """
    found, shown = result.candidates, result.detections
    boxes = found.boxes[np.isin(found.names, hiding.names) & (found.scores >= possible)]
    covers = shown.boxes[np.isin(shown.names, hiding.names)] if hidden is None else hidden
    return not inside_any(boxes, covers).all()


def _shortened(items: Sequence[str], noun: str) -> str:
    more = len(items) - MAX_NAMED
    return listed([*items[:MAX_NAMED], counted(more, noun)] if more > 0 else items)


def _span(begin_s: float, end_s: float) -> str:
    begin, end = clock(begin_s), clock(end_s)
    return begin if begin == end else f"{begin} to {end}"

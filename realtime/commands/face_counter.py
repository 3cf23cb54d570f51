"""Counting the faces of a run."""

from realtime.results import Result
from realtime.sinks.base import ClosingSink, Ending


class FaceCounter(ClosingSink):
    """Counts the different ids of the faces in all results."""

    needs_canvas = False
    is_slow = False

    def __init__(self) -> None:
        self._ids: set[int] = set()

    @property
    def count(self) -> int:
        """How many faces were seen."""
        return len(self._ids)

    def write(self, result: Result) -> None:
        """Count the faces of one frame."""
        self._ids.update(face.id for face in result.faces)

    def close(self, ending: Ending) -> None:
        """Nothing to close."""

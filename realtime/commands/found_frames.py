"""What workers find in the frames of a part, in a file for the next ones."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from realtime.drawing.hiding import HeldBox
from realtime.faces.looks import Looks
from realtime.inference.timed import Detected
from realtime.structures import Detections, Frame


@dataclass(slots=True)
class _Row:
    pts_s: float
    size_hw: tuple[int, int]
    found: Detections
    looks: Looks | None
    covers: Sequence[HeldBox]


class FoundFrames:
    """What was found in the frames of a part, without the images."""

    def __init__(self) -> None:
        self._rows: list[_Row] = []

    @property
    def pts_s(self) -> list[float]:
        """The timestamps of the frames."""
        return [row.pts_s for row in self._rows]

    def add(self, detected: Detected, shown: Detections | None = None, covers: Sequence[HeldBox] = ()) -> None:
        """Keep one frame, perhaps with other detections, and what is to be hidden in it, at the time 0."""
        height, width = detected.frame.image.shape[:2]
        found = detected.found if shown is None else shown
        self._rows.append(_Row(detected.frame.pts_s, (height, width), found, detected.looks, covers))

    def save(self, path: Path) -> None:
        """Write all to a file, which appears when it is whole.

        Raises:
            OSError: the disk is full, say.
        """
        found = Detections.concatenate([row.found for row in self._rows])
        looks = [row.looks for row in self._rows if row.looks is not None]
        partial = path.with_name(f".{path.name}.partial")
        with partial.open("wb") as file:
            np.savez(
                file,
                pts_s=np.array(self.pts_s),
                sizes_hw=np.array([row.size_hw for row in self._rows]),
                counts=np.array([len(row.found) for row in self._rows]),
                boxes=found.boxes,
                labels=found.labels,
                scores=found.scores,
                face_ids=found.face_ids,
                parts=found.parts,
                look_counts=np.array([-1 if row.looks is None else len(row.looks.scales) for row in self._rows]),
                regions=np.concatenate([np.zeros((0, 4)), *(look.regions for look in looks)]),
                scales=np.concatenate([np.zeros(0), *(look.scales for look in looks)]),
                cover_counts=np.array([len(row.covers) for row in self._rows]),
                covers=np.array([[*held.box, held.seen_s] for row in self._rows for held in row.covers]).reshape(-1, 5),
            )
        partial.replace(path)

    @classmethod
    def load(cls, path: Path) -> "_Loaded":
        """Read such a file."""
        with np.load(path) as file:
            return _Loaded({name: file[name] for name in file.files})


@dataclass(frozen=True, slots=True)
class _Loaded:
    arrays: dict[str, np.ndarray]

    def covered(self, names: tuple[str, ...]) -> Iterator[tuple[Detected, list[HeldBox]]]:
        """The frames in order, with what is to be hidden in each, at the time 0."""
        row = 0
        for detected, count in zip(self.each(names), self.arrays["cover_counts"].tolist(), strict=True):
            covers = self.arrays["covers"][row : row + count]
            yield detected, [HeldBox(held[:4].astype(np.float32), float(held[4])) for held in covers]
            row += count

    def each(self, names: tuple[str, ...]) -> Iterator[Detected]:
        """The frames in order; ``names`` are those of the classes. Images are black, and take no memory."""
        every, row, look = self.arrays, 0, 0
        columns = [every[name] for name in ("boxes", "labels", "scores", "face_ids", "parts")]
        for pts_s, (height, width), count, look_count in zip(
            every["pts_s"].tolist(), every["sizes_hw"].tolist(), every["counts"], every["look_counts"], strict=True
        ):
            rows = slice(row, row + count)
            boxes, labels, scores, face_ids, parts = (column[rows] for column in columns)
            found = Detections(boxes, labels, scores, names, face_ids, parts)
            looks = None
            if look_count >= 0:
                at = slice(look, look + look_count)
                looks = Looks(every["regions"][at], every["scales"][at])
                look += look_count
            row += count
            image = np.broadcast_to(np.zeros((1, 1, 1), np.uint8), (height, width, 3))
            yield Detected(Frame(image, 0, pts_s, time.monotonic()), found, 0.0, 0.0, looks)

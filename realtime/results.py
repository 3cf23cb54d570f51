"""What is known of one image: the value that sinks, the window, the API and the server all get."""

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from realtime.drawing.render import drawn
from realtime.drawing.styles import Style
from realtime.faces.grouping import assign_faces
from realtime.formatting import counted
from realtime.image_io import write_image
from realtime.structures import PARTS, Detections, Face, Frame, check_threshold

if TYPE_CHECKING:
    import supervision


@dataclass(frozen=True, eq=False, repr=False)
class Result:
    """The detections and faces of one frame of a source, or of a still image."""

    frame: Frame
    """The frame as it was read."""
    detections: Detections
    """What was found in it, the boxes of faces and their features included."""
    canvas: np.ndarray = field(default=None)  # type: ignore[arg-type]
    """uint8 (H,W,3) BGR, the image to be looked at: with boxes drawn, or faces hidden. By default the frame's own."""
    candidates: Detections = field(default=None)  # type: ignore[assignment]
    """All that the model reported, below the threshold too, for ``at``. By default the same as ``detections``."""
    path: Path | None = None
    """The file of a still image; None for frames and arrays."""
    is_still: bool = False
    """True for an image that stands alone: its faces are grouped anew at each threshold, not tracked."""

    def __post_init__(self) -> None:
        if self.canvas is None:
            object.__setattr__(self, "canvas", self.frame.image)
        if self.candidates is None:
            object.__setattr__(self, "candidates", self.detections)

    def __repr__(self) -> str:
        """One line, without the pixels."""
        of = f"path={str(self.path)!r}" if self.path else f"frame={self.frame.index}, pts_s={self.frame.pts_s:.3f}"
        height, width = self.image.shape[:2]
        size = f"size_wh=({width}, {height})"
        return f"Result({of}, {size}, {counted(len(self.faces), 'face')}, {counted(len(self.detections), 'detection')})"

    @property
    def image(self) -> np.ndarray:
        """uint8 (H,W,3) BGR, read-only: the image as it was read."""
        return self.frame.image

    @cached_property
    def faces(self) -> tuple[Face, ...]:
        """The faces by id, with their features; none if the model has no class ``face``."""
        return self.detections.faces

    def at(self, threshold: float) -> "Result":
        """The same image with the detections of at least this score, 0..1; faces and features follow.

        What the model itself leaves out, by its ``min_score``, is never reported.

        Raises:
            ValueError: a threshold outside of 0..1.
        """
        check_threshold(threshold)
        detections = self.candidates.above(threshold)
        return replace(self, detections=assign_faces(detections) if self.is_still else detections)

    def draw(self, style: Style | None = None, *, labels: bool = True, hidden: Collection[int] = ()) -> np.ndarray:
        """Draw the detections.

        Args:
            style: what is drawn of them; by default the corners of each face, its features, and a tag a face.
            labels: False leaves out all tags.
            hidden: labels of the classes that are left out.

        Returns:
            A new image uint8 (H,W,3) BGR.
        """
        return drawn(self.image, self.detections, style, labels=labels, hidden=hidden)

    def save(self, path: str | Path, style: Style | None = None) -> None:
        """Write the drawn image; the format is that of the file's name.

        Args:
            path: of the file.
            style: what is drawn, as in ``draw``.

        Raises:
            SinkError: the format is unknown, the folder does not exist, or the disk is full.
        """
        write_image(Path(path), self.draw(style))

    def to_dict(self) -> dict[str, object]:
        """Plain JSON values, the line of ``--jsonl``; boxes are in pixels of the image."""
        source: dict[str, object] = (
            {"frame": self.frame.index, "pts_s": round(self.frame.pts_s, 6)}
            if self.path is None
            else {"image": str(self.path)}
        )
        faces = [face.to_dict() for face in self.faces]
        return source | {"detections": self.detections.to_dicts(), "faces": faces}

    def to_supervision(self) -> "supervision.Detections":
        """The same as ``supervision.Detections``: face ids are its ``tracker_id``, -1 for none.

        ``data`` holds ``class_name`` and ``part``, the name in ``PARTS`` or "".

        Raises:
            ImportError: the package ``supervision`` is not installed.
        """
        try:
            import supervision
        except ModuleNotFoundError as error:
            raise ImportError("to_supervision needs another package: pip install supervision") from error
        found = self.detections
        return supervision.Detections(
            xyxy=found.boxes,
            confidence=found.scores,
            class_id=found.labels,
            tracker_id=np.where(found.face_ids > 0, found.face_ids, -1),
            data={
                "class_name": np.array(found.names, dtype=str),
                "part": np.array([PARTS[part] if part >= 0 else "" for part in found.parts.tolist()], dtype=str),
            },
        )

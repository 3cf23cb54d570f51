"""An image of a data set and its labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from realtime.labelling.doubt import doubt_of
from realtime.results import Result
from realtime.score_levels import ScoreLevels
from realtime.structures import Box, Detections

MIN_SIDE_PX = 1.0
"""What is left of a box inside the image is at least so wide and high, or it is no label."""


@dataclass(frozen=True, slots=True)
class Label:
    """One object of an image."""

    class_id: int
    """Index into the names of the classes, from 0."""
    name: str
    score: float
    """0..1"""
    box: Box
    """xyxy in pixels, inside the image."""


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """One image, what was found in it, and how uncertain that is."""

    file: Path
    """Below the folder of the images."""
    source: str
    """The photo, or the video and the number of the frame, that it comes from."""
    group: str
    """The video that a frame comes from; empty for a photo."""
    size_wh: tuple[int, int]
    detections: Detections
    """The labels, inside the image, best first."""
    rejected: Detections
    """What was found below the threshold, down to where a look is worth it."""
    doubt: float
    """0..1, as ``doubt_of`` gives it."""
    is_doubtful: bool
    """Whether that is enough to deserve a look."""

    @classmethod
    def of(
        cls, result: Result, file: Path, source: str, group: str, threshold: float, levels: ScoreLevels
    ) -> "LabelledImage":
        """The image of a result, by the ``levels`` of the model."""
        height, width = result.image.shape[:2]
        scores = result.candidates.scores
        doubt = doubt_of(scores, threshold)
        below = result.candidates[(scores < threshold) & (scores >= levels.rejected * threshold)]
        return cls(
            file,
            source,
            group,
            (width, height),
            inside(result.detections, (width, height)),
            inside(below, (width, height)),
            doubt,
            doubt >= levels.doubt,
        )


def labels_of(detections: Detections) -> list[Label]:
    """The detections one by one, rounded to hundredths of a pixel."""
    rows = zip(
        detections.labels.tolist(), detections.names, detections.scores.tolist(), detections.boxes.tolist(), strict=True
    )
    labels = []
    for class_id, name, score, box in rows:
        x1, y1, x2, y2 = (round(value, 2) for value in box)
        labels.append(Label(class_id, name, round(score, 4), (x1, y1, x2, y2)))
    return labels


def inside(detections: Detections, size_wh: tuple[int, int]) -> Detections:
    """The detections clipped to an image; those that lie outside are left out."""
    boxes = np.clip(detections.boxes, 0, np.array(size_wh * 2, np.float32))
    sides = boxes[:, 2:] - boxes[:, :2]
    kept = (sides >= MIN_SIDE_PX).all(axis=1)
    found = detections[kept]
    return Detections(boxes[kept], found.labels, found.scores, found.class_names, found.face_ids, found.parts)


def by_doubt(images: Sequence[LabelledImage]) -> list[LabelledImage]:
    """The least certain first; of equal ones in their order."""
    return sorted(images, key=lambda image: -image.doubt)

"""WFLW's lists: a line for each face, several lines for a photo with several faces.

A line holds 196 coordinates (98 points), 4 of the face rectangle (unused), 6 attributes (unused: blurred or occluded
faces are kept) and the photo's path below ``WFLW_images``. Coordinates count pixels from 0; it is not documented
whether at a pixel's centre or corner; the centre is assumed, as for ``.pts`` files.
"""

from collections import defaultdict
from pathlib import Path

import numpy as np

from train.data.text_files import read_text
from train.errors import TrainError
from train.prepare.boxing import CLASS_NAMES, boxes_of_landmarks
from train.prepare.photo import Photo, Source, photo_name

POINTS = 98
FIELDS = 2 * POINTS + 4 + 6
TO_EDGE_PX = 0.5
"""Added to a coordinate with the first pixel's centre at 0, so that it is relative to the photo's edge."""


def read_wflw(file: Path, images: Path) -> Source:
    """Read one list file; ``images`` is the folder of its photos.

    Raises:
        TrainError: the file cannot be read or has no lines, or there is no such folder.
    """
    if not images.is_dir():
        raise TrainError(f"cannot read {images}: no such folder. --images is WFLW's folder WFLW_images")
    lines = read_text(file).splitlines()
    source = Source(CLASS_NAMES)
    faces: dict[str, list[tuple[np.ndarray, np.ndarray]]] = defaultdict(list)
    bad = set()
    for number, line in enumerate(lines, start=1):
        if line.strip():
            name = line.strip().split(maxsplit=FIELDS)[-1]
            try:
                faces[name].append(boxes_of_landmarks(parse_points(line)))
            except ValueError as error:
                source.problems.append(f"{file}:{number}: {error}")
                bad.add(name)  # a face without boxes would be trained as background
    if not faces:
        raise TrainError(f"{file}: the list is empty. Expected a line of 98 points for each face")
    for name in (name for name in faces if name not in bad):
        boxes, classes = (np.concatenate(arrays) for arrays in zip(*faces[name], strict=True))
        source.photos.append(Photo(images / name, photo_name(images / name, images), boxes, classes))
    return source


def parse_points(line: str) -> np.ndarray:
    """Parse the points of one line: (98,2) float64, in pixels from the photo's edge.

    Raises:
        ValueError: what was expected and what was found, without file and line.
    """
    fields = line.strip().split(maxsplit=FIELDS)
    if len(fields) != FIELDS + 1:
        raise ValueError(f"expected {FIELDS} numbers and the photo's path, found {len(fields)} fields")
    try:
        numbers = np.array(fields[:FIELDS], np.float64)
    except ValueError as error:
        raise ValueError(f"expected {FIELDS} numbers and the photo's path: {error}") from None
    if not np.isfinite(numbers).all():
        raise ValueError("expected finite numbers, found nan or inf")
    return numbers[: 2 * POINTS].reshape(POINTS, 2) + TO_EDGE_PX

"""68-point ``.pts`` files beside their photos: 300-W, Helen, AFW, LFPW.

The photo of a file:

- ``name.pts`` marks the photo ``name.*`` beside it;
- without one, ``name_1.pts``, ``name_2.pts`` … mark the photo ``name.*``: one face each;
- photos ``name_1.*``, ``name_2.*`` … beside each other with the same pixels are one photo with the faces of them all;
- a face that is marked twice on one photo (boxes with an IoU above 0.7) counts once.

Coordinates are MATLAB's: the centre of the first pixel is at 1, which is 0.5 px from the photo's edge.
"""

import math
import re
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np

from train.data.images import read_image
from train.data.text_files import read_text
from train.errors import TrainError
from train.prepare.boxing import CLASS_NAMES, boxes_of_landmarks
from train.prepare.photo import Photo, Source, content_hash, files_below, images_by_stem, photo_name

POINTS = 68
TO_EDGE_PX = 0.5
"""Subtracted from a coordinate with the first pixel's centre at 1, so that it is relative to the photo's edge."""
SAME_FACE_IOU = 0.7
COUNTER = re.compile(r"_\d{1,2}$")

Face = tuple[np.ndarray, np.ndarray]
"""Boxes (N,4) and classes (N,) of one face, the face's own box first."""


def read_pts(folder: Path) -> Source:
    """Read all ``.pts`` files below a folder.

    Raises:
        TrainError: there is no such folder, or no ``.pts`` file in it.
    """
    files = files_below(folder, {".pts"})
    if not files:
        raise TrainError(f"{folder}: no .pts files found. Give the folder that holds photos and their .pts files")
    source, images = Source(CLASS_NAMES), images_by_stem(folder)
    marks: dict[Path, list[Path]] = defaultdict(list)
    for file in files:
        try:
            marks[_image_of(file, images)].append(file)
        except TrainError as error:
            source.problems.append(str(error))
    for copies in _copies(sorted(marks)):
        found = [_face(file, source.problems) for image in copies for file in marks[image]]
        faces = [face for face in found if face is not None]
        if len(faces) == len(found):  # a face without boxes would be trained as background
            source.photos.append(_photo(copies[0], folder, faces))
    if unmarked := sum(map(len, images.values())) - len(marks):
        source.notes.append(f"{unmarked} images without a .pts file left out")
    return source


def read_points(path: Path) -> np.ndarray:
    """Read one ``.pts`` file.

    Returns:
        (68,2) float64, x and y in pixels from the photo's edge.

    Raises:
        TrainError: the file cannot be read or is malformed; the message names file and line.
    """
    lines = [line.strip() for line in read_text(path).splitlines()]
    if "{" not in lines or "}" not in lines:
        raise TrainError(f"{path}: expected the points between a line '{{' and a line '}}', found no such lines")
    first, end = lines.index("{") + 1, lines.index("}")
    points = [_point(f"{path}:{number}", line) for number, line in enumerate(lines[first:end], first + 1) if line]
    if len(points) != POINTS:
        raise TrainError(f"{path}: expected {POINTS} points, found {len(points)}")
    return np.array(points) - TO_EDGE_PX


def _face(file: Path, problems: list[str]) -> Face | None:
    """Boxes and classes of one file; None, and one more problem, if it is malformed."""
    try:
        return boxes_of_landmarks(read_points(file))
    except TrainError as error:
        problems.append(str(error))
    except ValueError as error:
        problems.append(f"{file}: {error}")
    return None


def _point(where: str, line: str) -> tuple[float, float]:
    try:
        x, y = (float(field) for field in line.split())
    except ValueError:
        raise TrainError(f"{where}: expected a point 'x y', found '{line[:60]}'") from None
    if not (math.isfinite(x) and math.isfinite(y)):
        raise TrainError(f"{where}: expected finite numbers, found '{line[:60]}'")
    return x, y


def _image_of(file: Path, images: dict[Path, list[Path]]) -> Path:
    own = file.with_name(file.stem)
    shared = file.with_name(COUNTER.sub("", file.stem))
    found = images.get(own) or images.get(shared) or []
    if not found:
        raise TrainError(f"{file}: no photo {' or '.join(sorted({f'{own.name}.*', f'{shared.name}.*'}))} beside it")
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise TrainError(f"{file}: more than one photo beside it: {names}. Keep one of them")
    return found[0]


def _copies(images: list[Path]) -> list[list[Path]]:
    """Group photos whose names differ by a counter alone and whose pixels are the same."""
    bases = {image: image.with_name(COUNTER.sub("", image.stem)) for image in images}
    shared = Counter(bases.values())
    groups: dict[tuple[Path, str], list[Path]] = defaultdict(list)
    for image, base in bases.items():
        groups[base, _pixels(image) if shared[base] > 1 else ""].append(image)
    return list(groups.values())


def _pixels(image: Path) -> str:
    """The hash of a photo's pixels; its path where it cannot be read, which the writer will report."""
    try:
        return content_hash(read_image(image))
    except TrainError:
        return str(image)


def _photo(image: Path, folder: Path, faces: list[Face]) -> Photo:
    distinct: list[Face] = []
    for face in faces:
        if all(_iou(face[0][0], other[0][0]) <= SAME_FACE_IOU for other in distinct):
            distinct.append(face)
    boxes, classes = (np.concatenate(arrays) for arrays in zip(*distinct, strict=True))
    return Photo(image, photo_name(image, folder), boxes, classes)


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    inter = np.prod(np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None))
    return float(inter / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - inter))

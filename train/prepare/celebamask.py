"""CelebAMask-HQ: one face a photo, a mask file for each visible part.

``CelebAMask-HQ-mask-anno/0/00017_l_eye.png`` (512 px) belongs to ``CelebA-HQ-img/17.jpg`` (1024 px); any ratio of the
sizes is accepted. A part without a mask gets no box. The mouth is the union of ``mouth``, ``u_lip`` and ``l_lip``. The
face comes from the ``skin``, which has neither ears nor neck but the whole forehead; ``boxing`` defines how the top is
cut.
"""

import re
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np

from train.data.images import read_image
from train.errors import TrainError
from train.prepare.boxing import CLASS_NAMES, EYE, EYEBROW, MOUTH, NOSE, boxes_of_extents
from train.prepare.photo import Photo, Source, files_below

IMAGES, MASKS = "CelebA-HQ-img", "CelebAMask-HQ-mask-anno"
PARTS = (
    (EYE, ("l_eye",)),
    (EYE, ("r_eye",)),
    (EYEBROW, ("l_brow",)),
    (EYEBROW, ("r_brow",)),
    (NOSE, ("nose",)),
    (MOUTH, ("mouth", "u_lip", "l_lip")),
)
FILE_NAME = re.compile(r"(\d+)_([a-z_]+)")
SET_ABOVE = 127
"""Grey level above which a pixel of a mask is set."""


def read_celebamask(root: Path) -> Source:
    """Read the data set whose folder holds ``CelebA-HQ-img`` and ``CelebAMask-HQ-mask-anno``.

    Raises:
        TrainError: one of the two folders is missing, or there are no masks.
    """
    masks: dict[int, dict[str, Path]] = defaultdict(dict)
    for file in files_below(root / MASKS, {".png"}):
        if match := FILE_NAME.fullmatch(file.stem):
            masks[int(match[1])][match[2]] = file
    if not masks:
        raise TrainError(f"{root / MASKS}: no masks found. Expected files such as 0/00000_skin.png")
    images = {path.stem: path for path in files_below(root / IMAGES, {".jpg", ".png"})}
    source = Source(CLASS_NAMES)
    for number, files in sorted(masks.items()):
        if str(number) not in images:
            source.problems.append(f"{root / IMAGES}: no photo {number}.jpg for the masks {number:05}_*.png")
            continue
        try:
            source.photos.append(_photo(images[str(number)], files))
        except (ValueError, TrainError) as error:
            source.problems.append(str(error))
    return source


def mask_extent(files: list[Path]) -> tuple[np.ndarray | None, tuple[int, int]]:
    """Extent of the union of masks, and their size.

    Returns:
        Extent (4,) float64 xyxy in pixels of the mask, from the outer edges of the pixels that are set (None if there
        is none), and (width, height).

    Raises:
        TrainError: a mask is unreadable.
        ValueError: the sizes differ.
    """
    union: np.ndarray | None = None
    for file in files:
        mask = read_image(file, cv2.IMREAD_GRAYSCALE)
        if union is not None and mask.shape != union.shape:
            raise ValueError(f"{file}: expected a mask of {_size(union)} like {files[0].name}, found {_size(mask)}")
        union = mask if union is None else np.maximum(union, mask)
    assert union is not None, "no files"
    x, y, w, h = cv2.boundingRect((union > SET_ABOVE).astype(np.uint8))
    return (np.array([x, y, x + w, y + h], np.float64) if w else None), (union.shape[1], union.shape[0])


def _photo(image: Path, files: dict[str, Path]) -> Photo:
    if "skin" not in files:
        raise ValueError(f"{image}: no mask of the skin beside {next(iter(files.values()))}")
    skin, mask_wh = mask_extent([files["skin"]])
    if skin is None:
        raise ValueError(f"{files['skin']}: the mask of the skin is empty")
    parts = []
    for part, names in PARTS:
        if there := [files[name] for name in names if name in files]:
            extent, part_wh = mask_extent(there)
            if part_wh != mask_wh:
                raise ValueError(f"{there[0]}: expected a mask of the skin's size {mask_wh}, found {part_wh}")
            if extent is not None:
                parts.append((part, extent))
    try:
        boxes, classes = boxes_of_extents(skin, parts)
    except ValueError as error:
        raise ValueError(f"{files['skin']}: {error}") from None
    height, width = read_image(image).shape[:2]
    scale = np.array([width / mask_wh[0], height / mask_wh[1]] * 2)
    return Photo(image, image.stem, boxes * scale, classes)


def _size(image: np.ndarray) -> str:
    return f"{image.shape[1]}x{image.shape[0]}"

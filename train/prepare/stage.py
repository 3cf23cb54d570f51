"""From a source's photos to images and labels in a staging folder."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from train.data.images import read_image
from train.errors import TrainError
from train.prepare.manifest import Row
from train.prepare.photo import Photo, Source, content_hash
from train.prepare.splits import group_of
from train.prepare.stored import jpeg_bytes, store


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """How a source is written."""

    out: Path
    prefix: str
    """Begins the name of every file; a source with another prefix cannot overwrite them."""
    val_share: float = 0.1
    seed: int = 0
    split: str | None = None
    """Split for all photos, instead of a draw."""
    crop_margin: float | None = None
    max_side_px: int | None = None
    skip_bad: bool = False
    """Leave out photos that have a problem instead of refusing the whole source."""


@dataclass(frozen=True, slots=True)
class Staged:
    """An image that is written, but not yet moved to its place."""

    image: Path
    labels: Path
    row: Row
    """Its row, without the split: ``file`` is only the file's name."""
    classes: np.ndarray
    """(N,) int64, ids of the data set."""
    outside: int
    """Boxes left out, because they lie outside the photo or are too small."""


def stage_photos(
    source: Source, options: WriteOptions, names: tuple[str, ...], rows: list[Row], folder: Path
) -> tuple[list[Staged], list[str]]:
    """Write all images and labels into a folder.

    Args:
        source: what to write.
        options: how to write it.
        names: class names of the data set, among them all of the source's.
        rows: those of the existing data set, whose names are not used again.
        folder: the staging folder.

    Returns:
        What was written, and all problems, those of the source first.
    """
    staged, problems = [], list(source.problems)
    taken = {Path(row.file).stem.lower(): row.source for row in rows}
    ids = np.array([names.index(name) for name in source.class_names], np.int64)
    for i, photo in enumerate(source.photos):
        stem = f"{options.prefix}_{photo.name.replace('/', '_')}"
        if other := taken.get(stem.lower()):
            problems.append(f"{photo.path}: {stem} exists, made from {other}. Choose another --prefix, or rename it")
            continue
        try:
            staged.append(_staged(photo, stem, ids[photo.classes], options, names, folder / str(i)))
        except TrainError as error:
            problems.append(str(error))
        else:
            taken[stem.lower()] = str(photo.path)
    return staged, problems


def _staged(
    photo: Photo, stem: str, classes: np.ndarray, options: WriteOptions, names: tuple[str, ...], target: Path
) -> Staged:
    image = read_image(photo.path)
    size_wh = (image.shape[1], image.shape[0])
    if photo.size_wh and photo.size_wh != size_wh:
        raise TrainError(
            f"{photo.path}: the photo is {_by(size_wh)} (EXIF rotation applied), its labels are for "
            f"{_by(photo.size_wh)}"
        )
    stored = store(image, photo.boxes, options.crop_margin, options.max_side_px)
    if len(classes) and not stored.kept.any():
        raise TrainError(f"{photo.path}: none of its {len(classes)} boxes is visible in the photo of {_by(size_wh)}")
    stored_file = target.with_suffix(".jpg" if stored.changed else photo.path.suffix.lower())
    if stored.changed:
        stored_file.write_bytes(jpeg_bytes(stored.image))
    else:
        shutil.copyfile(photo.path, stored_file)
    labels, kept = target.with_suffix(".txt"), classes[stored.kept]
    labels.write_text("".join(map(_line, kept, stored.boxes)), encoding="utf-8")
    row = Row(
        file=stem + stored_file.suffix,
        source=str(photo.path),
        group=group_of(options.prefix, photo.name),
        split="",
        faces=sum(names[class_id] == "face" for class_id in kept),
        unlabelled="negative" if not len(classes) else "cropped" if stored.cropped else "whole",
        pixels=content_hash(image),
    )
    return Staged(stored_file, labels, row, kept, len(classes) - len(kept))


def _line(class_id: int, box: np.ndarray) -> str:
    x1, y1, x2, y2 = box
    return f"{class_id} {(x1 + x2) / 2:.6f} {(y1 + y2) / 2:.6f} {x2 - x1:.6f} {y2 - y1:.6f}\n"


def _by(size_wh: tuple[int, int]) -> str:
    return f"{size_wh[0]}x{size_wh[1]}"

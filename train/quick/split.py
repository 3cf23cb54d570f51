"""The user's data set with a split to validate on, which is made where there is none that is of use."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from realtime.near_duplicates import local_contrast, near_duplicates
from train.data.data_yaml import DataConfig, MissingKeyError, load_data_config
from train.data.dataset import LabelledImage, load_split
from train.data.images import read_image
from train.errors import TrainError
from train.prepare.splits import TRAIN, VAL, assign_splits, group_of

VAL_SHARE = 0.2
SEED = 0


@dataclass(frozen=True, slots=True)
class QuickData:
    """What a quick run trains and validates on."""

    config: DataConfig
    made_because: str = ""
    """Why the split into train and val was made; empty for that of the user."""


def usable_data(data: DataConfig, folder: Path) -> QuickData:
    """The data set as it is, or with a split of its own below ``folder``, which is written there.

    One image in five is for val: copies and near-duplicates of an image, such as frames of a video, are in its split,
    and images with and without objects are divided alike.

    Raises:
        TrainError: 'train' is missing, a label is malformed, or there are too few images to divide.
    """
    reason = _useless_val(data)
    if not reason:
        return QuickData(data)
    images = load_split(data, TRAIN)
    if VAL in data.splits:
        known = {image.path for image in images}
        images += [image for image in load_split(data, VAL) if image.path not in known]
    splits = _divided(images)
    for split in (TRAIN, VAL):
        if not any(len(i.classes) for i, s in zip(images, splits, strict=True) if s == split):
            raise TrainError(
                f"{data.path}: {reason}, and {sum(len(i.classes) > 0 for i in images)} labelled images are too few to "
                "take some of them for it. Label more"
            )
    return QuickData(_write(folder, images, splits, data), reason)


def _useless_val(data: DataConfig) -> str:
    """Why the user's val cannot be used; empty if it can."""
    if isinstance(data.split_problems.get(VAL), MissingKeyError):
        return "there is no split 'val'"
    data.sources(VAL)  # raises if a part of it is not there
    val = load_split(data, VAL)
    if not any(len(image.classes) for image in val):
        return "split 'val' has no labelled box"
    if {i.path.resolve() for i in val} & {i.path.resolve() for i in load_split(data, TRAIN)}:
        return "split 'val' has images of 'train'"
    return ""


def _divided(images: Sequence[LabelledImage]) -> list[str | None]:
    """A split for each image, drawn from those with objects and those without by themselves."""
    keys = [[group_of("", image.path.name.removesuffix(image.path.suffix)), *more]
            for image, more in zip(images, _of_near_duplicates(images), strict=True)]  # fmt: skip
    labelled = [i for i, image in enumerate(images) if len(image.classes)]
    drawn = dict(zip(labelled, _assign([keys[i] for i in labelled], {}), strict=True))
    known = {key: split for i, split in drawn.items() if split for key in keys[i]}
    others = [i for i in range(len(images)) if i not in drawn]
    drawn |= dict(zip(others, _assign([keys[i] for i in others], known), strict=True))
    return [drawn[i] for i in range(len(images))]


def _assign(keys: list[list[str]], known: dict[str, str]) -> list[str | None]:
    return assign_splits(keys, known, val_share=VAL_SHARE, seed=SEED, only=None)


def _of_near_duplicates(images: Sequence[LabelledImage]) -> list[list[str]]:
    """For each image a key for each pair of near-duplicates that it is in."""
    contrasts = [local_contrast(read_image(image.path, cv2.IMREAD_GRAYSCALE)) for image in images]
    keys: list[list[str]] = [[] for _ in images]
    for i, contrast in enumerate(contrasts[:-1]):
        if not np.any(contrast):
            continue
        for _, offset, _ in near_duplicates([contrast], contrasts[i + 1 :]):
            for member in (i, i + 1 + offset):
                keys[member].append(f"pair {i}")
    return keys


def _write(folder: Path, images: Sequence[LabelledImage], splits: Sequence[str | None], data: DataConfig) -> DataConfig:
    """Write lists of the images and data.yaml; images whose copies are in both splits are in neither."""
    folder.mkdir(exist_ok=True)
    for split in (TRAIN, VAL):
        paths = [str(i.path.absolute()) for i, s in zip(images, splits, strict=True) if s == split]
        (folder / f"{split}.txt").write_text("".join(f"{path}\n" for path in paths), encoding="utf-8")
    # JSON is YAML too, and quotes names that YAML would take for something else.
    text = f"train: {TRAIN}.txt\nval: {VAL}.txt\nnames: {json.dumps(data.class_names, ensure_ascii=False)}\n"
    if data.key_points:
        text += f"kpt_shape: {data.key_points}\n" if data.key_points.count else "kpt_shape: null\n"
    (folder / "data.yaml").write_text(text, encoding="utf-8")
    return load_data_config(folder / "data.yaml")

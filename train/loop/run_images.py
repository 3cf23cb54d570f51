"""The images of a run, checked before the first step."""

from dataclasses import dataclass
from pathlib import Path

from train.data.data_yaml import DataConfig
from train.data.dataset import LabelledImage, load_split
from train.data.label_places import label_path, looked_for_labels
from train.errors import TrainError
from train.loop.options import FitOptions
from train.loop.run_log import data_hash
from train.models.checkpoint import Checkpoint


@dataclass(frozen=True, slots=True)
class RunImages:
    """What a run trains and validates on."""

    train: list[LabelledImage]
    val: list[LabelledImage]
    steps_per_epoch: int
    train_sha256: str
    """As ``data_hash`` gives it."""


def load_run_images(data: DataConfig, options: FitOptions) -> RunImages:
    """Read both splits of a run.

    Raises:
        TrainError: a split is missing or malformed, has no boxes, or is smaller than a batch.
    """
    data.sources("val")  # before the labels of train are read, which may take long
    train, val = load_split(data, "train"), load_split(data, "val")
    steps_per_epoch = len(train) // options.batch_size
    if not steps_per_epoch:
        raise TrainError(
            f"{data.path}: split 'train' has {len(train)} images, "
            f"fewer than one batch of {options.batch_size}. Use --batch-size {len(train)} or less"
        )
    if not any(len(image.classes) for image in train):
        raise TrainError(f"{data.path}: split 'train' has no labelled box. {_looked_for(train, val, data)}")
    if not any(len(image.classes) for image in val):
        reason = "has no labelled box, so no epoch can be chosen as the best"
        raise TrainError(f"{data.path}: split 'val' {reason}. {_looked_for(val, train, data)}")
    return RunImages(train, val, steps_per_epoch, data_hash(train))


def _looked_for(images: list[LabelledImage], others: list[LabelledImage], data: DataConfig) -> str:
    read = {label_path(image.path) for image in others}
    return looked_for_labels([image.path for image in images], data.path.parent, read)


def check_unchanged(images: RunImages, last: Checkpoint, data: DataConfig, path: Path) -> None:
    """Check that a run is resumed from ``last``, which is in the file ``path``, on the images that it began with.

    Raises:
        TrainError: there are more or fewer images, or others, or other labels.
    """
    remedy = f"Begin a new run from {path} with --weights"
    if len(images.train) != last.info["train_images"]:
        raise TrainError(
            f"the run was trained on {last.info['train_images']} images, but {data.path} now has "
            f"{len(images.train)}. {remedy}"
        )
    if images.train_sha256 != last.info["train_sha256"]:
        raise TrainError(f"{data.path}: images or labels of split 'train' have changed since the run began. {remedy}")

"""The steps of a quick run that need no command line: the options, the training, and what it came to."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from train.data.data_yaml import DataConfig
from train.data.dataset import LabelledImage, load_split
from train.distributed import World
from train.errors import TrainError
from train.evaluation.calibrate import EarlierCalibration, calibrated_if_possible
from train.evaluation.evaluate import evaluate
from train.evaluation.predict import Outcome, outcome, worst_first
from train.loop.options import FitOptions
from train.loop.run import Run, resumed_run
from train.models.averaging import average_weights
from train.models.checkpoint import Checkpoint, load_checkpoint
from train.models.class_rows import shared_names, with_rows_of
from train.quick.advice import what_would_help
from train.quick.card import Forgetting, Result
from train.quick.compare import Rated, agreement, rate, unlabelled

BATCH = 16
LR = 0.003
"""Peak learning rate where classes are known: three times that of ``fit``, since ``settled`` takes some back."""
CROWD, SMALL_SHARE = 0.05, 0.2
"""How often an example is a crowd, and how often a single image is made small, where classes are known: a third and
half of what ``fit`` takes, since minutes are better spent on faces of the size that the photos have."""
KEPT = 0.3
"""Share of the detector's own weights in what ``settled`` returns."""
START = "start.pt"
"""The detector as the training begins with it, in the folder of the run."""
MAX_SEARCHED = 400
"""Training images in which errors are searched, evenly chosen: more would take long."""


@dataclass(frozen=True, slots=True)
class Start:
    """The detector that a quick run begins with, and what it finds in the user's images."""

    name: str
    checkpoint: Checkpoint
    train_images: list[LabelledImage]
    val_images: list[LabelledImage]
    train: Rated
    val: Rated

    @property
    def size(self) -> int:
        """Side in pixels of the input."""
        return self.val.size

    @property
    def known(self) -> tuple[str, ...]:
        """The classes of the detector."""
        return self.checkpoint.config.class_names

    @property
    def rows(self) -> tuple[int | None, ...]:
        """For each class of the data set its index among those of the detector; None for a new one."""
        known = {new: self.known.index(old) for old, new in self.shared.items()}
        return tuple(known.get(name) for name in self.val.class_names)

    @property
    def calibration(self) -> EarlierCalibration | None:
        """That of the detector; None if it has none, or does not know any class of the data set."""
        own = self.checkpoint.config.calibration
        return EarlierCalibration(own, self.rows) if own and self.shared else None

    @property
    def shared(self) -> dict[str, str]:
        """Names in the data set by names of the detector, of the classes that it knows."""
        return shared_names(self.known, self.val.class_names)


def begin(name: str, checkpoint: Checkpoint, data: DataConfig, size: int, device: torch.device) -> Start:
    """See what the shipped detector finds in the user's images."""
    train, val = load_split(data, "train"), load_split(data, "val")
    searched = evenly(train, MAX_SEARCHED)
    rated = [rate(checkpoint, images, size=size, class_names=data.class_names, device=device)
             for images in (searched, val)]  # fmt: skip
    return Start(name, checkpoint, searched, val, *rated)


def evenly(images: Sequence[LabelledImage], count: int) -> list[LabelledImage]:
    """Up to ``count`` images from all over the sequence."""
    places = np.linspace(0, len(images) - 1, min(count, len(images))).round().astype(int)
    return [images[place] for place in places]


def build_run(start: Start, time: str, data: DataConfig, folder: Path, device: torch.device, *, resume: bool) -> Run:
    """The training run, new or resumed.

    Raises:
        TrainError: the data cannot be trained on, there is nothing to resume, or nothing can be written.
    """
    if resume:
        run = resumed_run(folder / "last.pt", data, device, World())
        if not (folder / START).exists():
            raise TrainError(f"{folder / START} is missing, with which the run began. Begin anew with another --out")
        return run
    images = len(load_split(data, "train"))
    recipe = {"lr": LR, "crowd": CROWD, "small_share": SMALL_SHARE} if start.shared else {}
    options = FitOptions.with_defaults(
        arch=start.name,
        weights=start.name,
        size=start.size,
        time=time,
        batch_size=min(BATCH, images),
        **recipe,
    )
    run = Run(options, data, folder, device, World())
    run.checkpoint(with_resume=False).save(folder / START)
    return run


def settled(run: Run, start: Start, device: torch.device) -> Checkpoint:
    """The best weights of a run, drawn back a part of the way to those of the detector that it began with.

    Wortsman et al., "Robust fine-tuning of zero-shot models" (2022): on the way from one to the other, most of what was
    learnt comes before much is forgotten. What predicts new classes has no beginning that is worth anything, and stays
    as it was trained, as does all if no class is known. Scores keep to what they meant in the beginning, unless val
    says otherwise.
    """
    best = load_checkpoint(run.out / "best.pt")
    if not start.shared:
        return best
    mean = average_weights([load_checkpoint(run.out / START), best], (KEPT, 1 - KEPT))
    new = [number for number, row in enumerate(start.rows) if row is None]
    mean = with_rows_of(mean, best.model, new, len(start.rows))
    config = replace(best.config, calibration=None)
    metrics = evaluate(
        replace(best, config=config, model=mean).build().to(device),
        run.images.val,
        size=config.input_size,
        class_names=config.class_names,
        device=device,
    )
    calibration, metrics = calibrated_if_possible(metrics, lambda _: None, start.calibration)
    info = best.info | {"metrics": metrics.as_dict(), "kept": KEPT}
    return Checkpoint(replace(config, calibration=calibration), mean, info)


def finish(
    start: Start,
    best: Checkpoint,
    warnings: Sequence[str],
    val_name: str,
    photos: list[LabelledImage],
    device: torch.device,
) -> tuple[Result, list[Outcome]]:
    """Compare the trained detector with the one that it began as.

    Args:
        start: that one, and the images.
        best: the trained one.
        warnings: about the data, which were known before.
        val_name: what the images of val are, for people.
        photos: those of the package, without labels.
        device: to run on.

    Returns:
        What came of it, and all images, the worst first.
    """
    names, size = best.config.class_names, best.config.input_size

    def rated(checkpoint: Checkpoint, images: Sequence[LabelledImage]) -> Rated:
        return rate(checkpoint, images, size=size, class_names=names, device=device)

    train, val = rated(best, start.train_images), rated(best, start.val_images)
    images = [*start.train_images, *start.val_images]
    outcomes = worst_first(
        outcome(image.path, found.labelled, predicted)
        for image, found, predicted in zip(
            images, [*train.found, *val.found], [*train.predicted, *val.predicted], strict=True
        )
    )
    forgetting = Forgetting(
        agreement(unlabelled(start.train) + unlabelled(start.val), train.predicted + val.predicted, names),
        len(images),
        agreement(rated(start.checkpoint, photos).predicted, rated(best, photos).predicted, names),
        len(photos),
        tuple(name for name in start.known if name not in start.shared) if start.shared else (),
    )
    new = tuple(name for name in names if name not in start.shared.values())
    after = val.metrics
    before = start.val.metrics if start.shared else None
    advice = what_would_help(after, outcomes, warnings)
    return Result(start.name, before, after, new, forgetting, outcomes, advice, val_name, best.info), outcomes

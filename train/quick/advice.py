"""What is wrong with a small data set before it is trained on, and what would help most afterwards."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from train.data.dataset import LabelledImage
from train.evaluation.metrics import Metrics
from train.evaluation.predict import Outcome
from train.models.class_rows import shared_names
from train.quick.compare import Rated, unlabelled

FEW_IMAGES = 50
"""Fewer images with objects than this seldom make a detector better."""
FEW_BOXES = 50
"""Likewise, of one class."""
MIN_UNLABELLED_IMAGES, MIN_UNLABELLED_SHARE = 3, 0.2
"""Images with a class that is not labelled in them, from which on training would unlearn it."""
WEAK_F1, WEAK_RECALL = 0.8, 0.7
MIN_LABELLED = 10
"""Labelled boxes from which on a rate says something."""
WORST_NAMED = 5


def warnings_of(
    train: Sequence[LabelledImage], class_names: Sequence[str], start: str, known: Sequence[str], found: Rated
) -> list[str]:
    """What to mend before the training, a sentence each.

    Args:
        train: the images to train on.
        class_names: of the data set.
        start: name of the detector to begin with.
        known: its classes.
        found: what it finds in ``train``.
    """
    labelled = sum(len(image.classes) > 0 for image in train)
    lines = []
    if labelled < FEW_IMAGES:
        lines.append(f"{labelled} labelled images to train on are too few for a reliable detector: label {FEW_IMAGES} "
                     "or more, 100 to 200 if you can, as varied as what it will see")  # fmt: skip
    counts = Counter(int(c) for image in train for c in image.classes)
    few = [f"{name} ({counts[i]})" for i, name in enumerate(class_names) if counts[i] < FEW_BOXES]
    if few:
        lines.append(f"few labelled boxes to train on: {', '.join(few)}; {FEW_BOXES} or more of a class are wanted")
    if labelled == len(train):
        lines.append("every image has objects: add some without any, from the same cameras, against false positives")
    lines += _unlabelled_classes(train, class_names, start, found)
    shared = shared_names(known, class_names)
    if shared and (lost := [name for name in known if name not in shared]):
        lines.append(f"not among your classes, and so no longer found: {', '.join(lost)}")
    return lines


def _unlabelled_classes(
    train: Sequence[LabelledImage], class_names: Sequence[str], start: str, found: Rated
) -> list[str]:
    """Classes that are labelled in some images and not in others in which the detector finds them."""
    finds, without = Counter[int](), Counter[int]()
    for image, predicted, free in zip(train, found.predicted, unlabelled(found), strict=True):
        finds.update(set(predicted.labels.tolist()))
        without.update(set(free.labels.tolist()) - set((image.classes + 1).tolist()))
    missing = [
        f"{class_names[label - 1]} in {count} of {finds[label]}"
        for label, count in sorted(without.items())
        if count >= max(MIN_UNLABELLED_IMAGES, MIN_UNLABELLED_SHARE * finds[label])
    ]
    if not missing:
        return []
    return [
        f"{start} finds classes in images without a label of them: {', '.join(missing)} images. Training would teach "
        "that these are background. Label them as well, or have that done first: realtime label PHOTOS --out draft"
    ]


def what_would_help(metrics: Metrics, worst: Sequence[Outcome], warnings: Sequence[str]) -> list[str]:
    """What would make the detector better, most first.

    Args:
        metrics: of the trained detector on val.
        worst: the images on which it does worst, in that order.
        warnings: those of ``warnings_of``, which come first.
    """
    lines = list(warnings)
    rated = [c for c in metrics.classes if c.labelled >= MIN_LABELLED]
    if rated and (weakest := min(rated, key=lambda c: c.f1)).f1 < WEAK_F1:
        what = "is missed" if weakest.recall <= weakest.precision else "is found where none is labelled"
        lines.append(f"{weakest.name} is the weakest class (F1 {weakest.f1:.2f}) and more often {what}: "
                     "add images like those in which it fails")  # fmt: skip
    small = [s for s in metrics.sizes if s.all.labelled >= MIN_LABELLED and s.all.recall < WEAK_RECALL]
    if small and small[0].below_px and not np.isnan(small[0].all.recall):
        lines.append(f"of objects that are {small[0].name} pixels high in the network's input, "
                     f"{small[0].all.recall:.0%} are found: come closer, or use --arch mobile")  # fmt: skip
    if any(outcome.errors for outcome in worst):
        lines.append("look at the worst images first: a label may be missing or in the wrong place")
    return lines


def error_text(outcome: Outcome, class_names: Sequence[str]) -> str:
    """Why an image is among the worst, such as ``missed 2 eye, nose; not labelled: face``."""
    missed = _counted(outcome.labelled.labels[outcome.missed], class_names)
    false = _counted(outcome.predicted.labels[outcome.false_positives], class_names)
    parts = [f"missed: {missed}"] * bool(missed) + [f"found but not labelled: {false}"] * bool(false)
    return "; ".join(parts) or "all found"


def _counted(labels: np.ndarray, class_names: Sequence[str]) -> str:
    counts = Counter(labels.tolist())
    return ", ".join(f"{n} {class_names[label - 1]}" if n > 1 else class_names[label - 1]
                     for label, n in sorted(counts.items()))  # fmt: skip

"""Predictions beside labels, image by image, the worst first, and images that show them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from torchvision.models.detection import FasterRCNN

from realtime.letterbox import Letterbox
from train.data.data_yaml import load_data_config
from train.data.dataset import LabelledImage
from train.data.geometry import transform_boxes
from train.data.images import images_of, read_image
from train.data.key_points import KeyPointShape
from train.data.label_places import label_path, shared_label_files
from train.data.labels import read_label_files
from train.errors import TrainError
from train.evaluation.drawing import ERROR_COLOUR, Colour, Mark, class_colour, draw_boxes, draw_line_of_text
from train.evaluation.evaluate import detect
from train.evaluation.matching import Boxes, match_image

PANEL_SIDES_PX = (640, 1280)
"""Longer side of a drawn photo: smaller ones are enlarged to the first, larger ones reduced to the second."""
STRIP_PX = 24
"""Height of the line of text above a photo."""
GAP_PX = 4
"""Between labels and predictions."""
GREY: Colour = (200, 200, 200)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One image, its labels and its detections above the threshold; boxes in network-input pixels."""

    path: Path
    labelled: Boxes
    predicted: Boxes
    partners: np.ndarray
    """(D,) int64: for each detection the index of the labelled box of its class that it matches, or -1."""
    ious: np.ndarray
    """(D,) float32: IoU of the match, or 0."""

    @property
    def missed(self) -> np.ndarray:
        """Indices of the labelled boxes that were not detected."""
        return np.setdiff1d(np.arange(len(self.labelled.labels)), self.partners)

    @property
    def false_positives(self) -> np.ndarray:
        """Indices of the detections that match no labelled box."""
        return np.flatnonzero(self.partners < 0)

    @property
    def errors(self) -> int:
        """Misses and false positives."""
        return len(self.missed) + len(self.false_positives)

    @property
    def error_key(self) -> tuple[int, float]:
        """Errors, then the sum of 1 - IoU of the matches."""
        return self.errors, float((1 - self.ious[self.partners >= 0]).sum())


def find_images(sources: Iterable[Path], labels: Path | None, class_names: tuple[str, ...]) -> list[LabelledImage]:
    """Read the labels of images.

    Args:
        sources: image files, folders of them, or .txt lists.
        labels: a ``data.yaml``, whose labels are where ``label_path`` says, or a folder with
            a label file of the same stem for each image. None: images without labels.
        class_names: those of the model; a ``data.yaml`` must have the same.

    Raises:
        TrainError: no images, other classes, a malformed label line, not one label file, or one for several images.
    """
    paths: list[Path] = []
    for source in sources:
        is_many = source.is_dir() or source.suffix == ".txt"
        paths += [image.path for image in images_of(source)] if is_many else [source]
    if not paths:
        raise TrainError(f"no images in {', '.join(map(str, sources))}: expected .jpg, .png, .webp files or the like")
    if labels is None:
        return [LabelledImage(path, np.zeros((0, 4), np.float32), np.zeros(0, np.int64)) for path in paths]
    key_points: KeyPointShape | None = None
    if labels.is_dir():
        files = [labels / f"{path.stem}.txt" for path in paths]
        _refuse_shared(paths, files)
    else:
        config = load_data_config(labels)
        if config.class_names != class_names:
            raise TrainError(
                f"--labels {labels} names {', '.join(config.class_names)}, but the model finds {', '.join(class_names)}"
            )
        files, key_points = [label_path(path) for path in paths], config.key_points
    if not any(file.exists() for file in files):
        raise TrainError(
            f"--labels {labels}: none of {len(paths)} images has a label file. Looked for files such as {files[0]}"
        )
    read = read_label_files(files, len(class_names), key_points)
    return [LabelledImage(path, *found) for path, found in zip(paths, read, strict=True)]


def _refuse_shared(images: list[Path], files: list[Path]) -> None:
    for shared in shared_label_files(images, files):
        first, second = shared.images[:2]
        raise TrainError(
            f"--labels {shared.file.parent}: {first} and {second} would both have the labels of {shared.file}. "
            "Name a data.yaml instead, or one folder of images"
        )


def predict(
    model: FasterRCNN, images: list[LabelledImage], *, size: int, device: torch.device, threshold: float
) -> list[Outcome]:
    """Run a model on images and compare what scores at least ``threshold`` with the labels, in the order of images."""
    found = detect(model, images, size=size, device=device)
    return [outcome(i.path, f.labelled, f.predicted.above(threshold)) for i, f in zip(images, found, strict=True)]


def outcome(path: Path, labelled: Boxes, predicted: Boxes) -> Outcome:
    """Match the detections of an image with its labels, at IoU 0.5 within a class, as the metrics do."""
    return Outcome(path, labelled, predicted, *match_image(labelled, predicted, same_class=True))


def worst_first(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """Sort by the number of misses and false positives, ties by the sum of 1 - IoU of the matches, both descending."""
    return sorted(outcomes, key=lambda o: o.error_key, reverse=True)


def draw_outcome(found: Outcome, class_names: Sequence[str], *, size: int, with_labels: bool) -> np.ndarray:
    """Draw an image with its predictions and, left of it, with its labels.

    A match is solid in the colour of its class, a miss dashed red, a false positive solid red; errors have captions.

    Args:
        found: the matched image; its file is read again.
        class_names: names of the labels 1, 2, ….
        size: side in pixels of the network's input.
        with_labels: False draws the predictions alone, each with its class and score.

    Returns:
        uint8 (H,W,3) RGB.
    """
    image = read_image(found.path)
    longer = max(image.shape[:2])
    scale = min(max(longer, PANEL_SIDES_PX[0]), PANEL_SIDES_PX[1]) / longer
    panel = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    _, transform = Letterbox((size, size))(image)
    to_panel = cv2.invertAffineTransform(transform.matrix) * scale
    predicted = _marks(found.predicted, to_panel, class_names)
    if not with_labels:
        marks = [
            replace(m, caption=f"{m.caption} {s:.2f}") for m, s in zip(predicted, found.predicted.scores, strict=True)
        ]
        return _with_strip(draw_boxes(panel, marks), [(f"{len(marks)} found", GREY)])
    labelled = _marks(found.labelled, to_panel, class_names)
    seen = np.union1d(found.labelled.labels, found.predicted.labels).tolist()
    key = [(class_names[label - 1], class_colour(label - 1)) for label in seen]
    truth = draw_boxes(panel, [replace(mark, caption="") for mark in labelled])
    compared = draw_boxes(panel, _compared(found, labelled, predicted))
    counts = f"predictions: {len(found.missed)} missed, {len(found.false_positives)} false"
    left, right = _with_strip(truth, [("labels:", GREY), *key]), _with_strip(compared, [(counts, GREY)])
    return np.concatenate([left, np.zeros((len(left), GAP_PX, 3), np.uint8), right], axis=1)


def _compared(found: Outcome, labelled: list[Mark], predicted: list[Mark]) -> list[Mark]:
    """Marks of matches, of misses and of false positives, in this order."""
    matches = [replace(predicted[i], caption="") for i in np.flatnonzero(found.partners >= 0)]
    misses = [
        replace(labelled[i], caption=f"missed {labelled[i].caption}", colour=ERROR_COLOUR, dashed=True)
        for i in found.missed
    ]
    false_positives = [
        replace(
            predicted[i],
            caption=f"false {predicted[i].caption} {found.predicted.scores[i]:.2f}",
            colour=ERROR_COLOUR,
        )
        for i in found.false_positives
    ]
    return matches + misses + false_positives


def _marks(found: Boxes, to_panel: np.ndarray, class_names: Sequence[str]) -> list[Mark]:
    """A mark for each box, in the colour of its class and named by it."""
    boxes = transform_boxes(found.boxes, to_panel).tolist()
    return [
        Mark(tuple(box), class_colour(label - 1), class_names[label - 1])
        for box, label in zip(boxes, found.labels.tolist(), strict=True)
    ]


def _with_strip(panel: np.ndarray, words: Sequence[tuple[str, Colour]]) -> np.ndarray:
    """Put a line of text on dark above an image."""
    strip = np.full((STRIP_PX, panel.shape[1], 3), 32, np.uint8)
    draw_line_of_text(strip, words, baseline_y=STRIP_PX - 8)
    return np.concatenate([strip, panel])

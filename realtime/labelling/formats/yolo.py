"""YOLO: a text file of relative boxes for each image, lists of the images for train and val, and data.yaml."""

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from realtime.labelling.labelled import LabelledImage, labels_of

VAL_EVERY = 5
"""One image in so many is for val."""


def write_yolo(folder: Path, images: Sequence[LabelledImage], class_names: tuple[str, ...]) -> None:
    """Write the labels, the lists and data.yaml, which ``realtime train`` reads as they are.

    Every fifth photo is for val, and the last fifth of each video: its frames resemble those beside them. Of fewer
    images it is the one of least doubt, which a single image is for both.
    """
    for image in images:
        path = folder / "labels" / image.file.with_suffix(".txt")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_lines(image), encoding="utf-8")
    val = _val_of(images)
    for name in ("train", "val"):
        files = [image.file for image in images if (image.file in val) == (name == "val") or len(images) == 1]
        (folder / f"{name}.txt").write_text("".join(f"images/{file.as_posix()}\n" for file in files), encoding="utf-8")
    # JSON is YAML too, and quotes names that YAML would take for something else.
    content = f"train: train.txt\nval: val.txt\nnames: {json.dumps(class_names, ensure_ascii=False)}\n"
    (folder / "data.yaml").write_text(content, encoding="utf-8")


def _lines(image: LabelledImage) -> str:
    width, height = image.size_wh
    lines = []
    for label in labels_of(image.detections):
        x1, y1, x2, y2 = label.box
        numbers = (x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height
        lines.append(" ".join([str(label.class_id), *(f"{number:.6f}" for number in numbers)]) + "\n")
    return "".join(lines)


def _val_of(images: Sequence[LabelledImage]) -> set[Path]:
    groups = defaultdict[str, list[Path]](list)
    for image in sorted(images, key=lambda image: image.file):
        groups[image.group].append(image.file)
    photos = groups.pop("", [])
    frames = [file for files in groups.values() for file in files[len(files) - len(files) // VAL_EVERY :]]
    val = {*photos[VAL_EVERY - 1 :: VAL_EVERY], *frames}
    return val or {image.file for image in images[-1:]}  # a split may not be empty

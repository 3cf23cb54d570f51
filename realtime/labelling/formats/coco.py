"""COCO's instances: one JSON file, boxes ``x y width height`` in pixels, and the score of each."""

import json
from collections.abc import Sequence
from pathlib import Path

from realtime.labelling.labelled import Label, LabelledImage, labels_of

FILE = "instances.json"


def write_coco(folder: Path, images: Sequence[LabelledImage], class_names: tuple[str, ...]) -> None:
    """Write ``instances.json``; its file names are relative to ``images``."""
    entries, annotations = list[dict[str, object]](), list[dict[str, object]]()
    for number, image in enumerate(images, start=1):
        width, height = image.size_wh
        entries.append({"id": number, "file_name": image.file.as_posix(), "width": width, "height": height})
        for label in labels_of(image.detections):
            annotations.append({"id": len(annotations) + 1, "image_id": number, **_annotation(label)})
    categories = [{"id": number, "name": name} for number, name in enumerate(class_names, start=1)]
    content = {"images": entries, "annotations": annotations, "categories": categories}
    (folder / FILE).write_text(json.dumps(content), encoding="utf-8")


def _annotation(label: Label) -> dict[str, object]:
    x1, y1, x2, y2 = label.box
    width, height = round(x2 - x1, 2), round(y2 - y1, 2)
    return {
        "category_id": label.class_id + 1,
        "bbox": [x1, y1, width, height],
        "area": round(width * height, 2),
        "iscrowd": 0,
        "score": label.score,
    }

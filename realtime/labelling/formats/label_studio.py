"""Label Studio: tasks with predictions, which its users accept or correct, and the labelling interface for them.

Boxes are percentages of the image. The format is that of Label Studio's documentation, "Import pre-annotated data".
"""

import json
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from realtime.drawing.colours import colour_of
from realtime.labelling.labelled import Label, LabelledImage, labels_of

FILE, INTERFACE = "tasks.json", "labels.xml"
LOCAL_FILES = "/data/local-files/?d="
"""Where Label Studio serves files below the folder that its LOCAL_FILES_DOCUMENT_ROOT names."""


def write_label_studio(folder: Path, images: Sequence[LabelledImage], class_names: tuple[str, ...]) -> None:
    """Write ``tasks.json``, for local files below this folder, and ``labels.xml``, the labelling interface."""
    tasks = [_task(image) for image in images]
    (folder / FILE).write_text(json.dumps(tasks), encoding="utf-8")
    view = ET.Element("View")
    ET.SubElement(view, "Image", name="image", value="$image")
    labels = ET.SubElement(view, "RectangleLabels", name="label", toName="image")
    for class_id, name in enumerate(class_names):
        blue, green, red = colour_of(class_id)
        ET.SubElement(labels, "Label", value=name, background=f"#{red:02x}{green:02x}{blue:02x}")
    ET.indent(view)
    ET.ElementTree(view).write(folder / INTERFACE, encoding="utf-8")


def _task(image: LabelledImage) -> dict[str, object]:
    found = labels_of(image.detections)
    regions = [_region(number, label, image.size_wh) for number, label in enumerate(found, start=1)]
    prediction = {"model_version": "realtime", "score": round(1 - image.doubt, 4), "result": regions}
    address = LOCAL_FILES + quote(f"images/{image.file.as_posix()}")
    return {"data": {"image": address}, "predictions": [prediction]}


def _region(number: int, label: Label, size_wh: tuple[int, int]) -> dict[str, object]:
    (x1, y1, x2, y2), (width, height) = label.box, size_wh
    return {
        "id": str(number),
        "type": "rectanglelabels",
        "from_name": "label",
        "to_name": "image",
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "score": label.score,
        "value": {
            "x": 100 * x1 / width,
            "y": 100 * y1 / height,
            "width": 100 * (x2 - x1) / width,
            "height": 100 * (y2 - y1) / height,
            "rotation": 0,
            "rectanglelabels": [label.name],
        },
    }

"""CVAT for images 1.1: one XML file, boxes by their corners in pixels.

The format is that of CVAT's documentation, "CVAT for image" under "XML annotation format".
"""

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path

from realtime.labelling.labelled import LabelledImage, labels_of

FILE = "annotations.xml"
CORNERS = ("xtl", "ytl", "xbr", "ybr")


def write_cvat(folder: Path, images: Sequence[LabelledImage], class_names: tuple[str, ...]) -> None:
    """Write ``annotations.xml``; the names in it are those that images uploaded from ``images`` have."""
    root = ET.Element("annotations")
    ET.SubElement(root, "version").text = "1.1"
    labels = ET.SubElement(ET.SubElement(ET.SubElement(root, "meta"), "task"), "labels")
    for name in class_names:
        ET.SubElement(ET.SubElement(labels, "label"), "name").text = name
    for number, image in enumerate(images):
        width, height = map(str, image.size_wh)
        names = {"id": str(number), "name": image.file.as_posix(), "width": width, "height": height}
        entry = ET.SubElement(root, "image", names)
        for label in labels_of(image.detections):
            corners = {corner: f"{value:.2f}" for corner, value in zip(CORNERS, label.box, strict=True)}
            ET.SubElement(entry, "box", {"label": label.name, "source": "auto", "occluded": "0", **corners})
    ET.indent(root)
    ET.ElementTree(root).write(folder / FILE, encoding="utf-8", xml_declaration=True)

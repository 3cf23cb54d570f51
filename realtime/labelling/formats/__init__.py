"""How labels are written, one module a format; each writes into the folder that holds ``images``."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from realtime.labelling.formats.coco import write_coco
from realtime.labelling.formats.cvat import write_cvat
from realtime.labelling.formats.label_studio import write_label_studio
from realtime.labelling.formats.yolo import write_yolo
from realtime.labelling.labelled import LabelledImage

Write = Callable[[Path, Sequence[LabelledImage], tuple[str, ...]], None]
"""Takes the folder, the images in the order in which they should be looked at, and the names of the classes."""

WRITERS: Mapping[str, Write] = {
    "yolo": write_yolo,
    "coco": write_coco,
    "label-studio": write_label_studio,
    "cvat": write_cvat,
}

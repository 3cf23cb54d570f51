"""Pascal VOC: one XML file for each photo, any classes; boxes count pixels from 1, the last one included.

Objects marked ``difficult`` are kept: an unlabelled visible object would be trained as background.
"""

import math
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np

from train.data.images import IMAGE_SUFFIXES
from train.errors import TrainError
from train.prepare.photo import Photo, Source, files_below, photo_name
from train.prepare.xml_file import parse_xml

CORNERS = ("xmin", "ymin", "xmax", "ymax")
Objects = list[tuple[str, list[float]]]
"""Class names and boxes xyxy."""


def read_voc(folder: Path, images: Path) -> Source:
    """Read all XML files below a folder; ``images`` is the folder of the photos.

    A photo is the ``filename`` in ``images``, or else the image there with the XML file's name: many tools leave an old
    ``filename``. The classes are the names of all objects, sorted.

    Raises:
        TrainError: one of the folders is missing, or there is no XML file.
    """
    if not images.is_dir():
        raise TrainError(f"cannot read {images}: no such folder. Name the folder of the photos with --images")
    files = files_below(folder, {".xml"})
    if not files:
        raise TrainError(f"{folder}: no XML files found. Give the folder of the annotations, often 'Annotations'")
    read, problems, difficult = [], [], 0
    for file in files:
        try:
            root = parse_xml(file)
            objects = [_object(entry) for entry in root.iter("object")]
            read.append((_image_of(file, root, folder, images), objects, _size(root)))
        except ValueError as error:
            problems.append(f"{file}: {error}")
        else:
            difficult += sum(entry.findtext("difficult", "").strip() == "1" for entry in root.iter("object"))
    names = tuple(sorted({name for _, objects, _ in read for name, _ in objects}))
    if not names and not problems:
        raise TrainError(f"{folder}: {len(files)} XML files, but no <object> in them: no class to learn")
    photos = [_photo(path, images, objects, names, size) for path, objects, size in read]
    return Source(names, photos, problems, [f"{difficult} objects marked difficult kept"] if difficult else [])


def _object(entry: ET.Element) -> tuple[str, list[float]]:
    name = entry.findtext("name", "").strip()
    if not name:
        raise ValueError("expected a <name> in each <object>, found none")
    texts = [entry.findtext(f"bndbox/{corner}", "").strip() for corner in CORNERS]
    try:
        x1, y1, x2, y2 = (float(text) for text in texts)
    except ValueError:
        raise ValueError(f"object '{name}': expected numbers {' '.join(CORNERS)} in <bndbox>, found {texts}") from None
    if not all(math.isfinite(v) for v in (x1, y1, x2, y2)) or x2 < x1 or y2 < y1:
        raise ValueError(f"object '{name}': expected xmin <= xmax and ymin <= ymax, found {' '.join(texts)}")
    return name, [x1 - 1, y1 - 1, x2, y2]


def _image_of(file: Path, root: ET.Element, folder: Path, images: Path) -> Path:
    inside = images / file.relative_to(folder).parent
    name = Path(root.findtext("filename", "").strip()).name
    for folder in (images, inside):
        if name and (folder / name).is_file():
            return folder / name
    suffixes = sorted(IMAGE_SUFFIXES | {s.upper() for s in IMAGE_SUFFIXES})
    for folder in (images, inside):
        paths = [folder / (file.stem + suffix) for suffix in suffixes]
        found = {path.resolve(): path for path in paths if path.is_file()}
        if len(found) > 1:
            names = ", ".join(path.name for path in found.values())
            raise ValueError(f"more than one photo of this name in {folder}: {names}. Keep one of them")
        if found:
            return next(iter(found.values()))
    raise ValueError(f"no photo '{name or file.stem}' in {images}. Name their folder with --images")


def _size(root: ET.Element) -> tuple[int, int] | None:
    width, height = (root.findtext(f"size/{side}", "").strip() for side in ("width", "height"))
    known = width.isdecimal() and height.isdecimal() and int(width) and int(height)
    return (int(width), int(height)) if known else None


def _photo(
    path: Path, images: Path, objects: Objects, names: tuple[str, ...], size_wh: tuple[int, int] | None
) -> Photo:
    boxes = np.array([box for _, box in objects], np.float64).reshape(-1, 4)
    classes = np.array([names.index(name) for name, _ in objects], np.int64)
    return Photo(path, photo_name(path, images), boxes, classes, size_wh)

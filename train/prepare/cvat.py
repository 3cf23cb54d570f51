"""CVAT for images 1.1: one XML file, any classes; boxes by their corners in pixels, rotated by degrees.

Polygons, polylines, points, ellipses and masks become the box around them. Photos without shapes are kept, as photos
without objects. The format is that of CVAT's documentation, "XML annotation format".
"""

import math
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np

from train.errors import TrainError
from train.prepare.photo import Photo, Source, photo_name
from train.prepare.rotated import upright_box
from train.prepare.xml_file import parse_xml

CORNERS = ("xtl", "ytl", "xbr", "ybr")
Objects = list[tuple[str, list[float]]]
"""Class names and boxes xyxy."""


def read_cvat(file: Path, images: Path) -> Source:
    """Read one ``annotations.xml``; the names of its images are relative to the folder ``images``.

    The classes are the labels of the task, in its order, or the names of all objects, sorted.

    Raises:
        TrainError: the file is not such XML, it is of a video, or it has no images or classes.
    """
    try:
        root = parse_xml(file)
    except ValueError as error:
        raise TrainError(f"{file}: {error}") from error
    if root.find("track") is not None:
        raise TrainError(f"{file}: it has tracks of a video. Export it as 'CVAT for images 1.1'")
    entries = root.findall("image")
    if not entries:
        raise TrainError(f"{file}: no <image> in it. Export the task as 'CVAT for images 1.1'")
    source, read = Source(()), list[tuple[ET.Element, Objects]]()
    for entry in entries:
        try:
            read.append((entry, _objects(entry)))
        except ValueError as error:
            source.problems.append(f"{file}: image {entry.get('name')}: {error}")
    names = [name.text.strip() for name in root.iterfind("meta//labels/label/name") if name.text and name.text.strip()]
    names = list(dict.fromkeys(names)) or sorted({name for _, objects in read for name, _ in objects})
    if not names and not source.problems:
        raise TrainError(f"{file}: no labels and no shapes in it: no class to learn")
    source.class_names = tuple(names)
    for entry, objects in read:
        try:
            source.photos.append(_photo(entry, images, objects, names))
        except ValueError as error:
            source.problems.append(f"{file}: image {entry.get('name')}: {error}")
    return source


def _objects(entry: ET.Element) -> Objects:
    found = []
    for shape in entry:
        name = (shape.get("label") or "").strip()
        if shape.tag == "tag":  # of the whole image
            continue
        if not name:
            raise ValueError(f"expected a label of each shape, found none of a <{shape.tag}>")
        try:
            box = _box(shape)
        except ValueError as error:
            raise ValueError(f"object '{name}': {error}") from None
        found.append((name, box))
    return found


def _box(shape: ET.Element) -> list[float]:
    match shape.tag:
        case "box":
            x1, y1, x2, y2 = _numbers([shape.get(corner) for corner in CORNERS])
            return _rotated(x1, y1, x2, y2, shape)
        case "ellipse":
            x, y, width, height = _numbers([shape.get(key) for key in ("cx", "cy", "rx", "ry")])
            return _rotated(x - width, y - height, x + width, y + height, shape)
        case "polygon" | "polyline" | "points":
            text = (shape.get("points") or "").replace(";", ",")
            numbers = _numbers(list(text.split(",")))
            points = np.array(numbers[: len(numbers) // 2 * 2]).reshape(-1, 2)
            return [*points.min(axis=0).tolist(), *points.max(axis=0).tolist()]
        case "mask":
            x, y, width, height = _numbers([shape.get(key) for key in ("left", "top", "width", "height")])
            return [x, y, x + width, y + height]
    raise ValueError(f"a shape <{shape.tag}>, which has no box")


def _numbers(texts: list[str | None]) -> list[float]:
    try:
        numbers = [float(text or "") for text in texts]
    except ValueError:
        numbers = []
    if not numbers or not all(map(math.isfinite, numbers)):
        raise ValueError(f"expected coordinates, found {' '.join(map(str, texts))[:60] or 'none'}")
    return numbers


def _rotated(x1: float, y1: float, x2: float, y2: float, shape: ET.Element) -> list[float]:
    (degrees,) = _numbers([shape.get("rotation") or "0"])
    return upright_box((x1, y1, x2, y2), degrees, ((x1 + x2) / 2, (y1 + y2) / 2))


def _photo(entry: ET.Element, images: Path, objects: Objects, names: list[str]) -> Photo:
    path = images / (entry.get("name") or "")
    if not path.is_file():
        raise ValueError(f"no such photo in {images}. Name their folder with --images")
    unknown = sorted({name for name, _ in objects if name not in names})
    if unknown:
        raise ValueError(f"label '{unknown[0]}' is not one of the task ({', '.join(names)})")
    size = [entry.get("width") or "", entry.get("height") or ""]
    return Photo(
        path,
        photo_name(path, images),
        np.array([box for _, box in objects], np.float64).reshape(-1, 4),
        np.array([names.index(name) for name, _ in objects], np.int64),
        (int(size[0]), int(size[1])) if all(map(str.isdecimal, size)) else None,
    )

"""Label Studio's JSON export: tasks with annotations, any classes.

Boxes are percentages of the image, rotated by degrees about their upper left corner. Ellipses and polygons become the
box around them. Of a task the newest annotation that was not cancelled counts. The format is that of Label Studio's
documentation, "Label Studio JSON format of annotated tasks".
"""

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np

from train.data.text_files import read_text
from train.errors import TrainError
from train.prepare.photo import Photo, Source, images_below, photo_name
from train.prepare.rotated import upright_box
from train.prepare.xml_file import parse_xml

Objects = list[tuple[str, list[float]]]
"""Class names and boxes xyxy in pixels."""
UPLOAD = re.compile(r"^[0-9a-f]{8}-")
"""What Label Studio puts before the name of an uploaded file."""


def read_label_studio(file: Path, images: Path, interface: Path | None) -> Source:
    """Read one JSON file.

    Args:
        file: the export.
        images: folder of the photos. A photo is found by its path below the served folder or below ``images``, or by
            its name, also behind the random digits of an upload.
        interface: the labelling interface, XML, whose labels are the classes in their order; without it they are the
            names of all objects, sorted.

    Raises:
        TrainError: a file is not what it should be, or there are no tasks or classes.
    """
    tasks, photos = _load(file), _Photos(images)
    source, read, unlabelled = Source(()), list[tuple[Path, Objects]](), 0
    for number, task in enumerate(tasks, start=1):
        try:
            annotation = _annotation(task)
            if annotation is None:
                unlabelled += 1
                continue
            read.append((photos.of(task), [_object(region) for region in _regions(annotation)]))
        except ValueError as error:
            source.problems.append(
                f"{file}: task {task.get('id', number) if isinstance(task, dict) else number}: {error}"
            )
    found = {name for _, objects in read for name, _ in objects}
    names = _labels(interface) if interface else sorted(found)
    if unknown := sorted(found.difference(names)):
        raise TrainError(f"{file}: label '{unknown[0]}' is not in {interface} ({', '.join(names)})")
    if not names and not source.problems:
        raise TrainError(f"{file}: no annotated boxes in {len(tasks)} tasks: no class to learn")
    source.class_names = tuple(names)
    source.photos = [_photo(path, images, objects, names) for path, objects in read]
    if unlabelled:
        source.notes.append(f"{unlabelled} tasks without annotation left out")
    return source


def _load(file: Path) -> list[Any]:
    try:
        content: Any = json.loads(read_text(file))
    except json.JSONDecodeError as error:
        raise TrainError(f"{file}:{error.lineno}: not valid JSON: {error.msg}") from error
    if not isinstance(content, list) or not content:
        raise TrainError(f"{file}: expected a list of tasks. Export the project as 'JSON'")
    if not any(isinstance(task, dict) and "annotations" in task for task in content):
        raise TrainError(f"{file}: expected tasks with 'annotations'. Export the project as 'JSON', not 'JSON-MIN'")
    return content


def _labels(interface: Path) -> list[str]:
    try:
        root = parse_xml(interface)
    except ValueError as error:
        raise TrainError(f"{interface}: {error}") from error
    names = [value for label in root.iter("Label") if (value := label.get("value"))]
    if not names:
        raise TrainError(f"{interface}: no <Label value=…> in it. Give the labelling interface of the project")
    return list(dict.fromkeys(names))


def _annotation(task: Any) -> dict[str, Any] | None:
    """The newest annotation of a task; None if it has none."""
    given = task.get("annotations") if isinstance(task, dict) else None
    if not isinstance(given, list) or not all(isinstance(one, dict) for one in given):
        raise ValueError(f"expected a mapping with a list 'annotations', found {str(task)[:60]}")
    valid = [one for one in given if not one.get("was_cancelled")]
    return max(valid, key=lambda one: str(one.get("updated_at") or ""), default=None)


class _Photos:
    """The photos below a folder, by their paths and names."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._by_name: dict[str, list[Path]] = {}
        for path in images_below(folder):
            self._by_name.setdefault(path.name, []).append(path)

    def of(self, task: dict[str, Any]) -> Path:
        """The photo of a task."""
        data = task.get("data")
        texts = {key: text for key, text in data.items() if isinstance(text, str)} if isinstance(data, dict) else {}
        if not texts:
            raise ValueError(f"expected 'data' that names the photo, found {str(data)[:60]}")
        address = urlsplit(texts.get("image") or next(iter(texts.values())))
        below = Path(parse_qs(address.query).get("d", [unquote(address.path)])[0].lstrip("/"))
        # The served folder may be this one, or one above or below it.
        for first in range(len(below.parts)):
            path = self._folder.joinpath(*below.parts[first:])
            if path.is_file():
                return path
        for name in (below.name, UPLOAD.sub("", below.name)):
            found = self._by_name.get(name, [])
            if len(found) == 1:
                return found[0]
            if found:
                raise ValueError(f"more than one photo '{name}' below {self._folder}")
        raise ValueError(f"no photo '{below.name}' below {self._folder}. Name its folder with --images")


def _regions(annotation: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What was drawn; answers to questions about the image are left out."""
    for region in annotation.get("result") or []:
        is_region = isinstance(region, dict) and isinstance(region.get("value"), dict)
        if not is_region:
            raise ValueError(f"expected a region with a 'value', found {str(region)[:60]}")
        if str(region.get("type")).endswith("labels"):
            yield region


def _object(region: dict[str, Any]) -> tuple[str, list[float]]:
    value, kind = region["value"], region["type"]
    names = value.get(kind)
    if not isinstance(names, list) or not names:
        raise ValueError(f"expected a label in '{kind}', found {names}")
    name = str(names[0])
    try:
        width, height = float(region["original_width"]), float(region["original_height"])
        box = _box(value, kind, width / 100, height / 100)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"object '{name}': expected a region with numbers, found {error}") from None
    if not all(map(math.isfinite, box)):
        raise ValueError(f"object '{name}': expected numbers, found {box}")
    return name, box


def _box(value: dict[str, Any], kind: str, x_scale: float, y_scale: float) -> list[float]:
    """Box xyxy in pixels of a region whose coordinates are scaled by ``x_scale`` and ``y_scale``."""
    if kind == "polygonlabels":
        points = np.array(value["points"], np.float64).reshape(-1, 2) * (x_scale, y_scale)
        return [*points.min(axis=0).tolist(), *points.max(axis=0).tolist()]
    x, y, degrees = value["x"] * x_scale, value["y"] * y_scale, float(value.get("rotation") or 0)
    if kind == "ellipselabels":
        across, down = value["radiusX"] * x_scale, value["radiusY"] * y_scale
        return upright_box((x - across, y - down, x + across, y + down), degrees, (x, y))
    if kind == "rectanglelabels":
        box = x, y, x + value["width"] * x_scale, y + value["height"] * y_scale
        return upright_box(box, degrees, (x, y))
    raise ValueError(f"'{kind}', which has no box")


def _photo(path: Path, images: Path, objects: Objects, names: list[str]) -> Photo:
    return Photo(
        path,
        photo_name(path, images),
        np.array([box for _, box in objects], np.float64).reshape(-1, 4),
        np.array([names.index(name) for name, _ in objects], np.int64),
    )

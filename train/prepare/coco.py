"""COCO's instances JSON: any classes; boxes ``x y width height`` in pixels from the photo's edge.

The classes are all ``categories`` in the order of their ids. Crowd regions (``iscrowd``) are ignored: their objects
have no individual boxes. Photos without annotations are kept, as photos without objects.
"""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from train.data.text_files import read_text
from train.errors import TrainError
from train.prepare.photo import Photo, Source, photo_name

Labels = dict[int | str, list[tuple[int, list[float]]]]
"""For each image id its class ids and boxes xyxy."""


def read_coco(file: Path, images: Path) -> Source:
    """Read one JSON file; its ``file_name`` entries are relative to the folder ``images``.

    Raises:
        TrainError: the file is not such JSON, its categories are malformed, or it names no images.
    """
    content = _load(file)
    class_ids = _class_ids(content["categories"], file)
    source = Source(tuple(class_ids.values()))
    order = {category: i for i, category in enumerate(class_ids)}
    entries: dict[int | str, dict[str, Any]] = {}
    for entry in content["images"]:
        try:
            entries[_image_id(entry, entries)] = entry
        except ValueError as error:
            source.problems.append(f"{file}: image {_id(entry)}: {error}")
    labels: Labels = {image: [] for image in entries}
    bad: list[Any] = []  # images with an object without a box, which would be trained as background
    crowds = 0
    for entry in content["annotations"]:
        try:
            crowds += not _add_label(entry, labels, order)
        except ValueError as error:
            source.problems.append(f"{file}: annotation {_id(entry)}: {error}")
            bad.append(entry.get("image_id") if isinstance(entry, dict) else None)
    source.photos = [_photo(images, entry, labels[image]) for image, entry in entries.items() if image not in bad]
    if not content["images"]:
        raise TrainError(f"{file}: 'images' is empty. Expected a mapping with 'file_name' and 'id' for each photo")
    if crowds:
        source.notes.append(f"{crowds} crowd regions ignored")
    return source


def _load(file: Path) -> dict[str, Any]:
    try:
        content: Any = json.loads(read_text(file))
    except json.JSONDecodeError as error:
        raise TrainError(f"{file}:{error.lineno}: not valid JSON: {error.msg}") from error
    found: dict[str, Any] = content if isinstance(content, dict) else {}
    for key in ("images", "annotations", "categories"):
        if not isinstance(found.get(key), list):
            raise TrainError(f"{file}: expected COCO instances with the lists 'images', 'annotations', 'categories', "
                             f"found no list '{key}'")  # fmt: skip
    return found


def _class_ids(categories: list[Any], file: Path) -> dict[int, str]:
    """Names by category id, in the order of the ids."""
    try:
        names = {int(category["id"]): str(category["name"]).strip() for category in categories}
    except (TypeError, KeyError, ValueError):
        raise TrainError(
            f"{file}: 'categories' must hold mappings with 'id' and 'name', found {_short(categories)}"
        ) from None
    if not names or len(set(names.values())) < len(categories) or not all(names.values()):
        raise TrainError(f"{file}: 'categories' must hold different names and ids, found {_short(categories)}")
    return dict(sorted(names.items()))


def _image_id(entry: Any, entries: dict[int | str, dict[str, Any]]) -> int | str:
    name, image = (entry.get("file_name"), entry.get("id")) if isinstance(entry, dict) else (None, None)
    if not isinstance(name, str) or not name or not isinstance(image, int | str):
        raise ValueError(f"expected a mapping with 'file_name' and 'id', found {_short(entry)}")
    if image in entries:
        raise ValueError(f"the id of {name} is already that of {entries[image]['file_name']}")
    return image


def _add_label(entry: Any, labels: Labels, order: dict[int, int]) -> bool:
    """Add an annotation to its image. False: it is a crowd region, which is not added."""
    fields = entry if isinstance(entry, dict) else {}
    if fields.get("iscrowd"):
        return False
    image, category, bbox = (fields.get(key) for key in ("image_id", "category_id", "bbox"))
    if not isinstance(image, int | str) or image not in labels:
        raise ValueError(f"'image_id' {_short(image)} is not the id of an image")
    if not isinstance(category, int) or category not in order:
        raise ValueError(f"'category_id' {_short(category)} is not in 'categories' ({', '.join(map(str, order))})")
    numbers = bbox if isinstance(bbox, list) and len(bbox) == 4 else []
    if not numbers or not all(isinstance(v, int | float) and math.isfinite(v) for v in numbers):
        raise ValueError(f"expected a 'bbox' of 4 numbers x y width height, found {_short(bbox)}")
    x, y, width, height = numbers
    if width <= 0 or height <= 0:
        raise ValueError(f"'bbox' has no area: width and height must be above 0, found {_short(bbox)}")
    labels[image].append((order[category], [x, y, x + width, y + height]))
    return True


def _photo(images: Path, entry: dict[str, Any], labels: list[tuple[int, list[float]]]) -> Photo:
    path, size = images / entry["file_name"], (entry.get("width"), entry.get("height"))
    return Photo(
        path,
        photo_name(path, images),
        np.array([box for _, box in labels], np.float64).reshape(-1, 4),
        np.array([class_id for class_id, _ in labels], np.int64),
        (size[0], size[1]) if isinstance(size[0], int) and isinstance(size[1], int) else None,
    )


def _id(entry: Any) -> str:
    return str(entry.get("id")) if isinstance(entry, dict) else "without id"


def _short(value: Any) -> str:
    return str(value)[:60]

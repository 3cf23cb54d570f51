"""The files of a prepared data set: ``data.yaml`` and ``manifest.csv``, with a row for each image."""

import csv
import io
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from train.data.data_yaml import load_data_config
from train.data.text_files import read_text
from train.errors import TrainError
from train.prepare.splits import TRAIN, VAL

DATA, MANIFEST = "data.yaml", "manifest.csv"


@dataclass(frozen=True, slots=True)
class Row:
    """One image of the data set."""

    file: str
    """Path below the data set's folder."""
    source: str
    """The photo that it was made from."""
    group: str
    split: str
    faces: int
    """Boxes of a class named ``face``."""
    unlabelled: str
    """How visible but unlabelled faces were handled: ``cropped`` (cropped around the labelled ones), ``whole`` (not at
    all), ``negative`` (a photo without objects)."""
    pixels: str
    """Hash of the photo's pixels."""


def read_existing(out: Path) -> tuple[tuple[str, ...] | None, list[Row]]:
    """Class names and rows of a data set to append to; None and no rows if the folder is missing or empty.

    Raises:
        TrainError: the folder contains something else, or its files are malformed.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None, []
    if not (out / DATA).is_file() or not (out / MANIFEST).is_file():
        raise TrainError(f"--out {out} exists, but is not a data set made by prepare: it has no {DATA} and {MANIFEST}. "
                         "Choose another --out")  # fmt: skip
    text = read_text(out / MANIFEST, errors="surrogateescape")
    try:
        rows = [_row(row) for row in csv.DictReader(io.StringIO(text))]
    except (TypeError, KeyError, ValueError, csv.Error) as error:
        columns = ",".join(field.name for field in fields(Row))
        raise TrainError(f"{out / MANIFEST}: malformed. Expected rows of {columns}") from error
    return load_data_config(out / DATA).class_names, rows


def _row(texts: dict[str, Any]) -> Row:
    return Row(**texts | {"faces": int(texts["faces"])})


def class_order(names: tuple[str, ...], existing: tuple[str, ...] | None, out: Path) -> tuple[str, ...]:
    """Class names to write: those of an existing data set, in its order, or else the source's.

    Raises:
        TrainError: the source has a class that the data set lacks.
    """
    if existing is None:
        return names
    if other := [name for name in names if name not in existing]:
        raise TrainError(f"--out {out} is a data set of {', '.join(existing)}, but the source has also "
                         f"{', '.join(other[:10])}. Choose another --out")  # fmt: skip
    return existing


def write_manifest(path: Path, rows: list[Row]) -> None:
    """Write ``manifest.csv``."""
    with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Row)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)


def write_data_yaml(path: Path, class_names: tuple[str, ...]) -> None:
    """Write ``data.yaml``."""
    content = {"names": dict(enumerate(class_names)), TRAIN: f"images/{TRAIN}", VAL: f"images/{VAL}"}
    path.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")

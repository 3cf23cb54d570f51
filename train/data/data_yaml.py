"""``data.yaml``: the names of the classes, and where the images of each split are."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from train.data.problems import OnProblem, raise_problem, read_error
from train.errors import TrainError

SPLITS = ("train", "val", "test")


@dataclass(frozen=True, slots=True)
class DataConfig:
    """A parsed ``data.yaml``."""

    path: Path
    class_names: tuple[str, ...]
    splits: dict[str, tuple[Path, ...]]
    """For each split its image folders and .txt lists."""


def load_data_config(path: Path, on_problem: OnProblem = raise_problem) -> DataConfig:
    """Read and check a ``data.yaml``.

    ``path`` inside it (optional) is the root of the splits, relative to the file's folder. ``names`` is a list or a
    mapping from id to name. Wrong splits go to ``on_problem`` and are left out.

    Raises:
        TrainError: the file cannot be read, or 'names' is missing or wrong.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise TrainError(f"cannot read {path}: {read_error(error)}") from error
    except yaml.YAMLError as error:
        raise TrainError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise TrainError(f"{path}: expected a mapping with 'names', 'train' and 'val', found {_kind(content)}")
    root = path.parent / str(content.get("path") or "")
    splits: dict[str, tuple[Path, ...]] = {}
    for split in SPLITS:
        if content.get(split):
            sources = tuple(_split_sources(content[split], split, root, path, on_problem))
            splits |= {split: sources} if sources else {}
        elif split != "test":
            on_problem(_missing(path, split))
    class_names = _class_names(content.get("names"), path)
    if "nc" in content and content["nc"] != len(class_names):
        raise TrainError(f"{path}: 'nc' is {content['nc']}, but 'names' has {len(class_names)} entries")
    return DataConfig(path, class_names, splits)


def _missing(path: Path, key: str) -> TrainError:
    return TrainError(f"{path}: key '{key}' is missing. A data set needs 'names', 'train' and 'val'")


def _class_names(names: Any, path: Path) -> tuple[str, ...]:
    if names is None:
        raise _missing(path, "names")
    if isinstance(names, dict):
        if set(names) != set(range(len(names))):
            raise TrainError(f"{path}: 'names' must map the ids 0 to {len(names) - 1}, found {list(names)[:10]}")
        names = [names[i] for i in range(len(names))]
    if not isinstance(names, list) or not names:
        raise TrainError(f"{path}: 'names' must be a list or a mapping of class names, found {_kind(names)}")
    if not all(isinstance(name, str | int) and str(name).strip() for name in names):
        raise TrainError(f"{path}: 'names' must hold non-empty class names, found {names[:10]}")
    stripped = tuple(str(name).strip() for name in names)
    if len(set(stripped)) != len(stripped):
        raise TrainError(f"{path}: 'names' holds a class name twice: {', '.join(stripped)}")
    return stripped


def _split_sources(value: Any, split: str, root: Path, path: Path, on_problem: OnProblem) -> Iterator[Path]:
    values = value if isinstance(value, list) else [value]
    if not all(isinstance(v, str) for v in values):
        expected = "must be a folder, a .txt list, or a list of these"
        on_problem(TrainError(f"{path}: '{split}' {expected}, found {_kind(value)}"))
        return
    for source in (root / v for v in values):
        if source.is_dir() or (source.suffix == ".txt" and source.is_file()):
            yield source
        else:
            what = "neither a folder of images nor a .txt list"
            on_problem(TrainError(f"{path}: '{split}' names {source}, which is {what}"))


def _kind(value: Any) -> str:
    return "nothing" if value is None else f"{type(value).__name__} {str(value)[:40]!r}"

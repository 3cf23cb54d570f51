"""``data.yaml``: the names of the classes, where the images of each split are, and what a label line holds."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from train.data.key_points import NO_KEY_POINTS, KeyPointShape
from train.data.text_files import read_text
from train.errors import TrainError

SPLITS = ("train", "val", "test")
OPTIONAL = "test"
"""The split that no training needs."""
YAML_KINDS = {
    "tag:yaml.org,2002:bool": "a boolean",
    "tag:yaml.org,2002:null": "nothing",
    "tag:yaml.org,2002:int": "a number",
    "tag:yaml.org,2002:float": "a number",
    "tag:yaml.org,2002:timestamp": "a date",
    "tag:yaml.org,2002:value": "a key of its own",
    "tag:yaml.org,2002:merge": "a merge of mappings",
}
"""What YAML makes of a text without quotes."""
DECIMAL = re.compile(r"0|[1-9]\d*")

OnSplitProblem = Callable[[str, TrainError], None]
"""Called with the name of a split and a problem of its entry."""


class MissingKeyError(TrainError):
    """The file does not name what it must."""


@dataclass(frozen=True, slots=True)
class DataConfig:
    """A parsed ``data.yaml``."""

    path: Path
    class_names: tuple[str, ...]
    splits: dict[str, tuple[Path, ...]]
    """For each split its image folders and .txt lists, those that are there."""
    split_problems: dict[str, TrainError] = field(default_factory=dict)
    """The first problem of each split that cannot be used as it is named."""
    key_points: KeyPointShape | None = None
    """``kpt_shape``; None: the file does not say whether there are key points."""

    def sources(self, split: str) -> tuple[Path, ...]:
        """Image folders and .txt lists of a split.

        Raises:
            TrainError: there is no such split, or a part of it is missing.
        """
        if split in self.split_problems:
            raise self.split_problems[split]
        if split not in self.splits:
            raise TrainError(f"{self.path}: there is no split '{split}', only {', '.join(self.splits)}")
        return self.splits[split]


def load_data_config(path: Path, on_split_problem: OnSplitProblem | None = None) -> DataConfig:
    """Read and check a ``data.yaml``.

    ``path`` inside it (optional) is the root of the splits, relative to the file's folder. ``names`` is a list or a
    mapping from id to name. A split that is wrong or missing is an error where it is used (``DataConfig.sources``);
    all such problems go to ``on_split_problem`` as well.

    Raises:
        TrainError: the file cannot be read, or 'names', 'nc' or 'kpt_shape' is missing or wrong.
    """
    text = read_text(path)
    try:
        content, nodes = yaml.safe_load(text), yaml.compose(text, yaml.SafeLoader)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: what looks like a date, but is none
        raise TrainError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise TrainError(f"{path}: expected a mapping with 'names', 'train' and 'val', found {_kind(content)}")
    assert isinstance(nodes, yaml.MappingNode)
    entries = {key.value: node for key, node in nodes.value}
    splits: dict[str, tuple[Path, ...]] = {}
    problems: dict[str, TrainError] = {}

    def add(split: str, problem: TrainError) -> None:
        problems.setdefault(split, problem)
        if on_split_problem:
            on_split_problem(split, problem)

    root = _Root.of(path, entries if content.get("path") is not None else {})
    for split in SPLITS:
        if content.get(split):
            sources = tuple(_split_sources(content[split], entries[split], split, root, add))
            splits |= {split: sources} if sources else {}
        elif split != OPTIONAL:
            add(split, _missing(path, split))
    class_names = _class_names(content.get("names"), entries.get("names"), path)
    if "nc" in content and _whole_number(content["nc"]) != len(class_names):
        raise TrainError(f"{path}: 'nc' is {content['nc']!r}, but 'names' has {len(class_names)} entries")
    key_points = _key_points(content["kpt_shape"], path) if "kpt_shape" in content else None
    return DataConfig(path, class_names, splits, problems, key_points)


def located(folder: Path, written: str) -> Path:
    r"""The path that a file in ``folder`` names, as written or, where there is nothing, without a leading ``../``.

    Roboflow's exports name ``../train/images`` for what is in ``train/images``; Ultralytics reads them so. Backslashes
    separate folders where nothing has the name with them.
    """
    path = folder / written
    if path.exists():
        return path
    slashed = written.replace("\\", "/")
    candidates = [folder / slashed, *([folder / slashed.removeprefix("../")] if slashed.startswith("../") else [])]
    return next((candidate for candidate in candidates if candidate.exists()), path)


def _missing(path: Path, key: str) -> MissingKeyError:
    return MissingKeyError(f"{path}: key '{key}' is missing. A data set needs 'names', 'train' and 'val'")


@dataclass(frozen=True, slots=True)
class _Root:
    """The folder that splits are relative to."""

    file: Path
    folder: Path
    remark: str = ""
    """For messages, if the folder is not there."""

    @classmethod
    def of(cls, path: Path, entries: dict[str, yaml.Node]) -> "_Root":
        if "path" not in entries:
            return cls(path, path.parent)
        folder = located(path.parent, str(entries["path"].value))
        missing = f". 'path' names {folder}, which is not a folder: correct it, or leave it out"
        return cls(path, folder, "" if folder.is_dir() else missing)


def _class_names(names: Any, node: yaml.Node | None, path: Path) -> tuple[str, ...]:
    if names is None or node is None:
        raise _missing(path, "names")
    if isinstance(names, dict):
        by_id = dict(zip(map(_whole_number, names), (value for _, value in node.value), strict=False))
        if len(names) != len(node.value) or set(by_id) != set(range(len(names))):
            raise TrainError(f"{path}: 'names' must map the ids 0 to {len(node.value) - 1}, found {list(names)[:10]}")
        nodes = [by_id[i] for i in range(len(names))]
    elif isinstance(names, list) and names:
        nodes = node.value
    else:
        raise TrainError(f"{path}: 'names' must be a list or a mapping of class names, found {_kind(names)}")
    if not all(isinstance(item, yaml.ScalarNode) for item in nodes):
        raise TrainError(f"{path}: 'names' must hold non-empty class names, found {_kind(names)}")
    stripped = tuple(_class_name(item, path) for item in nodes)
    if len(set(stripped)) != len(stripped):
        raise TrainError(f"{path}: 'names' holds a class name twice: {', '.join(stripped)}")
    return stripped


def _class_name(node: yaml.ScalarNode, path: Path) -> str:
    written = node.value
    is_text = node.tag == "tag:yaml.org,2002:str" or DECIMAL.fullmatch(written)
    if not is_text and written:
        kind, line = YAML_KINDS.get(node.tag, "no text"), node.start_mark.line + 1
        raise TrainError(f"{path}:{line}: YAML reads the class name {written} as {kind}. Put it in quotes: '{written}'")
    if not written.strip():
        raise TrainError(f"{path}: 'names' must hold non-empty class names, found an empty one")
    return str(written).strip()


def _whole_number(value: Any) -> int | None:
    """A number, or a text that is one; YAML's booleans, which Python counts among the numbers, are none."""
    if isinstance(value, str) and value.strip().isdecimal():
        return int(value)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return int(value) if is_number and value == value // 1 else None


def _key_points(value: Any, path: Path) -> KeyPointShape:
    if value is None:
        return NO_KEY_POINTS
    numbers = [_whole_number(item) for item in value] if isinstance(value, list) else []
    count, dims = numbers if len(numbers) == 2 else (None, None)
    if count is None or count < 0 or dims not in (2, 3):
        expected = "must be [points, 2] (x y) or [points, 3] (x y visibility), or null if labels have no key points"
        raise TrainError(f"{path}: 'kpt_shape' {expected}, found {_kind(value)}")
    return KeyPointShape(count, dims)


def _split_sources(value: Any, node: yaml.Node, split: str, root: _Root, add: OnSplitProblem) -> Iterator[Path]:
    nodes = node.value if isinstance(node, yaml.SequenceNode) else [node]
    if not all(isinstance(item, yaml.ScalarNode) and item.value for item in nodes):
        expected = "must be a folder, a .txt list, or a list of these"
        add(split, TrainError(f"{root.file}: '{split}' {expected}, found {_kind(value)}"))
        return
    for source in (
        located(root.folder, item.value.strip()) for item in nodes
    ):  # a path is text, whatever it looks like
        if source.is_dir() or (source.suffix == ".txt" and source.is_file()):
            yield source
        else:
            what = f"neither a folder of images nor a .txt list{root.remark}"
            add(split, TrainError(f"{root.file}: '{split}' names {source}, which is {what}"))


def _kind(value: Any) -> str:
    return "nothing" if value is None else f"{type(value).__name__} {str(value)[:40]!r}"

"""``train check``: a summary of a data set and all of its problems at once.

Every image is decoded in full, in threads: OpenCV releases the interpreter lock.
Two images are duplicates if their decoded pixels are equal, whatever their names and metadata.
"""

import hashlib
import os
import sys
from collections.abc import Callable, Hashable, Iterable, Iterator
from functools import partial
from itertools import combinations
from multiprocessing.pool import ThreadPool
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console
from rich.progress import track

from realtime.near_duplicates import local_contrast, near_duplicates
from train.data.augment import AugmentOptions, large_enough
from train.data.check_entries import Entry, Inspected
from train.data.check_labels import (
    kind_of,
    labels_without_image,
    lines_with_key_points,
    repeated_labels,
    shared_labels,
    unlabelled,
)
from train.data.check_report import Kind, Problem, Report, SplitSummary, summarise_class
from train.data.data_yaml import DataConfig, load_data_config
from train.data.dataset import split_images
from train.data.images import read_image
from train.data.key_points import BOX_NUMBERS
from train.data.label_places import label_path
from train.data.labels import read_label_lines
from train.errors import TrainError

CLIPPED_PX = 0.5
"""A box that reaches further than this outside its image gives a warning; less is rounding."""
AUGMENTATION = AugmentOptions()


def check_data(path: Path, size: int | None = None) -> Report:
    """Read a whole data set and report what is wrong, instead of stopping at the first problem.

    Args:
        path: its ``data.yaml``.
        size: side of the network's input in pixels; None leaves box sizes in pixels of the images.
    """
    problems: list[Problem] = []

    def add(split: str, problem: TrainError) -> None:
        problems.append(Problem(kind_of(split), str(problem)))

    try:
        config = load_data_config(path, add)
    except TrainError as error:  # nothing else can be checked without it
        problems.append(Problem(Kind.DATA, str(error)))
        return Report(path, size, (), tuple(problems))
    entries = [
        Entry(split, image, image.path.resolve())
        for split in config.splits
        for image in split_images(config, split, partial(add, split))
    ]
    files: dict[Path, Entry] = {}
    for entry in entries:
        files.setdefault(entry.file, entry)
    inspected = _inspect_all(files, partial(_inspect, config=config, size=size))
    summaries = tuple(_summary(config, split, entries, inspected, size) for split in config.splits)
    problems += _shared_sources(config)
    problems += _repeated_files(entries)
    readable = [entry for entry in files.values() if inspected[entry.file].digest]
    problems += _duplicate_images(readable, inspected)
    problems += _near_duplicates(readable, inspected)
    problems += (problem for one in inspected.values() for problem in one.problems)
    problems += lines_with_key_points(entries, inspected)
    problems += shared_labels(entries)
    problems += unlabelled(config, summaries, entries, inspected)
    problems += labels_without_image(config, (entry.image.path for entry in entries))
    return Report(path, size, summaries, tuple(problems))


def _inspect_all(files: dict[Path, Entry], inspect: Callable[[Path], Inspected]) -> dict[Path, Inspected]:
    paths = [entry.image.path for entry in files.values()]
    with ThreadPool(os.cpu_count()) as pool:
        found = track(
            pool.imap(inspect, paths),
            description="reading images",
            total=len(paths),
            console=Console(stderr=True),
            transient=True,
            disable=not sys.stderr.isatty(),
        )
        return dict(zip(files, found, strict=True))


def _inspect(path: Path, *, config: DataConfig, size: int | None) -> Inspected:
    label_file = label_path(path)
    problems: list[Problem] = []

    def add(error: TrainError) -> None:
        problems.append(Problem(Kind.LABEL, str(error)))

    labels = read_label_lines(label_file, len(config.class_names), add, config.key_points)
    long = [label for label in labels if label.numbers > BOX_NUMBERS]
    state = "labelled" if labels or problems else "empty" if label_file.exists() else "missing"
    problems += repeated_labels(label_file, labels)
    try:
        image = read_image(path)
    except TrainError as error:
        return Inspected([*problems, Problem(Kind.IMAGE, str(error))], state, long)
    height, width = image.shape[:2]
    scale = min(size / width, size / height) if size else 1.0
    boxes_px = np.array([label.box for label in labels]).reshape(-1, 4) * [width, height, width, height]
    clipped_px = boxes_px.clip(0, [width, height, width, height])
    sides_px = clipped_px[:, 2:] - clipped_px[:, :2]
    outside_px = np.abs(boxes_px - clipped_px).max(axis=1)
    large = large_enough(sides_px * scale, AUGMENTATION)
    for label, (w, h), outside, is_large in zip(labels, sides_px * scale, outside_px, large, strict=True):
        where = f"{label_file}:{label.line}"
        if outside > CLIPPED_PX:
            found = f"found one that reaches {outside:.1f} px outside, which is clipped"
            problems.append(Problem(Kind.CLIPPED_BOX, f"{where}: expected a box within the image, {found}"))
        if not is_large:
            problems.append(Problem(Kind.TINY_BOX, f"{where}: {_tiny(w, h, size)}"))
    digest = hashlib.blake2b(repr(image.shape).encode() + image.tobytes(), digest_size=16).digest()
    classes = np.array([label.class_id for label in labels], int)
    return Inspected(
        problems, state, long, digest, local_contrast(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)), classes, sides_px, scale
    )


def _tiny(width: float, height: float, size: int | None) -> str:
    min_side = AUGMENTATION.min_side_px
    where = f" at input size {size}" if size else ""
    return f"expected a box of {min_side:g}x{2 * min_side:g} px or more, found {width:.1f}x{height:.1f} px{where}"


def _repeats(entries: Iterable[Entry], key: Callable[[Entry], Hashable]) -> Iterator[tuple[Entry, Entry]]:
    """Entries that have the key of an earlier one, with it: that of their own split, else that of each other split."""
    seen: dict[Hashable, dict[str, Entry]] = {}
    for entry in entries:
        earlier = seen.setdefault(key(entry), {})
        if entry.split in earlier:
            yield entry, earlier[entry.split]
        else:
            yield from ((entry, other) for other in earlier.values())
            earlier[entry.split] = entry


def _repeated_files(entries: list[Entry]) -> Iterator[Problem]:
    for entry, other in _repeats(entries, lambda entry: entry.file):
        image, where = entry.image, other.image.where
        if entry.split == other.split:
            yield Problem(Kind.LISTED_TWICE, f"{image.where}: {image.path} is listed already, in {where}")
        else:
            message = f"{image.where}: {image.path} is in '{entry.split}', and by {where} in '{other.split}'"
            yield Problem(Kind.LEAK, message)


def _duplicate_images(entries: list[Entry], inspected: dict[Path, Inspected]) -> Iterator[Problem]:
    for entry, other in _repeats(entries, lambda entry: inspected[entry.file].digest):
        if entry.split == other.split:
            yield Problem(Kind.DUPLICATE_IMAGE, f"{entry.image.path}: same pixels as {other.image.path}")
        else:
            message = f"{entry.image.path}: in '{entry.split}', same pixels as {other.image.path} in '{other.split}'"
            yield Problem(Kind.LEAK, message)


def _near_duplicates(entries: list[Entry], inspected: dict[Path, Inspected]) -> Iterator[Problem]:
    """Images of later splits that are near-duplicates of one of an earlier split; duplicates are reported elsewhere."""
    splits = list(dict.fromkeys(entry.split for entry in entries))
    for earlier, later in combinations(splits, 2):
        known, queried = ([e for e in entries if e.split == split] for split in (earlier, later))
        for i, j, correlation in near_duplicates(
            *([inspected[e.file].contrast for e in group] for group in (queried, known))
        ):
            if inspected[queried[i].file].digest != inspected[known[j].file].digest:
                path, other = queried[i].image.path, known[j].image.path
                found = f"in '{later}', near-duplicate of {other} in '{earlier}' (correlation {correlation:.2f})"
                yield Problem(Kind.NEAR_DUPLICATE, f"{path}: {found}")


def _shared_sources(config: DataConfig) -> Iterator[Problem]:
    first: dict[Path, str] = {}
    for split, sources in config.splits.items():
        for source in sources:
            other = first.setdefault(source.resolve(), split)
            if other != split:
                message = f"'{split}' names {source}, which '{other}' names too. Give each split its own images"
                yield Problem(Kind.DATA, f"{config.path}: {message}")


def _summary(
    config: DataConfig, split: str, entries: list[Entry], inspected: dict[Path, Inspected], size: int | None
) -> SplitSummary:
    listed = [entry.file for entry in entries if entry.split == split]
    found = [inspected[file] for file in dict.fromkeys(listed)]
    readable = [one for one in found if one.digest]
    classes = [np.empty(0, np.int64), *(one.classes for one in readable)]
    sides = [np.empty((0, 2)), *(one.sides_px for one in readable)]
    scales = np.repeat([one.input_scale for one in readable], [len(one.classes) for one in readable])
    of_class, sides_px = np.concatenate(classes), np.concatenate(sides)
    return SplitSummary(
        name=split,
        images=len(found),
        listed=len(listed),
        unreadable=len(found) - len(readable),
        empty_label_file=sum(one.label_file == "empty" for one in readable),
        no_label_file=sum(one.label_file == "missing" for one in readable),
        classes=tuple(
            summarise_class(
                name,
                images=sum(i in one.classes for one in readable),
                sides_px=sides_px[of_class == i],
                input_sides_px=(sides_px * scales[:, None])[of_class == i] if size else None,
            )
            for i, name in enumerate(config.class_names)
        ),
    )

"""``train check``: a summary of a data set and all of its problems at once.

Every image is decoded in full, in threads: OpenCV and Pillow release the interpreter lock.
Two images are duplicates if their decoded pixels are equal, whatever their names and metadata.
"""

import hashlib
import os
import sys
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations
from multiprocessing.pool import ThreadPool
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError
from rich.console import Console
from rich.progress import track

from train.data.augment import AugmentOptions, large_enough
from train.data.check_report import Kind, Problem, Report, SplitSummary, summarise_class
from train.data.data_yaml import OPTIONAL, DataConfig, load_data_config
from train.data.dataset import split_images
from train.data.images import IMAGE_SUFFIXES, ListedImage, read_image
from train.data.key_points import BOX_NUMBERS
from train.data.label_places import label_path, labels_elsewhere, looked_for_labels, shared_label_files
from train.data.labels import Label, read_label_lines, refuse_key_points
from train.data.near_duplicates import local_contrast, near_duplicates
from train.errors import TrainError

CLIPPED_PX = 0.5
"""A box that reaches further than this outside its image gives a warning; less is rounding."""
AUGMENTATION = AugmentOptions()
Image.MAX_IMAGE_PIXELS = None  # the limit guards against hostile files, which these are not


@dataclass(frozen=True, slots=True)
class Entry:
    """An image of a split, and the file that it is once links are followed."""

    split: str
    image: ListedImage
    file: Path


@dataclass(frozen=True, slots=True)
class Inspected:
    """What one image file and its label file hold."""

    problems: list[Problem]
    label_file: str
    """``labelled``, ``empty`` or ``missing``."""
    long_labels: list[Label]
    """Lines that are longer than a box."""
    digest: bytes | None = None
    """Of the decoded pixels; None if the image cannot be read, which leaves the arrays empty."""
    contrast: np.ndarray = field(default_factory=lambda: np.empty(0, np.float16))
    """As ``local_contrast`` gives it, to find near-duplicates."""
    classes: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    """(N,) int64, zero-based."""
    sides_px: np.ndarray = field(default_factory=lambda: np.empty((0, 2)))
    """(N,2) float64: width and height of each box, clipped to the image, in its pixels."""
    input_scale: float = 1.0
    """Pixels of the network's input for one of the image; 1 if no input size is given."""


def check_data(path: Path, size: int | None = None) -> Report:
    """Read a whole data set and report what is wrong, instead of stopping at the first problem.

    Args:
        path: its ``data.yaml``.
        size: side of the network's input in pixels; None leaves box sizes in pixels of the images.
    """
    problems: list[Problem] = []

    def add(split: str, problem: TrainError) -> None:
        problems.append(Problem(_kind_of(split), str(problem)))

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
    problems += _key_points(entries, inspected)
    problems += _shared_labels(entries)
    problems += _unlabelled(config, summaries, entries, inspected)
    problems += _labels_without_image(config, (entry.image.path for entry in entries))
    return Report(path, size, summaries, tuple(problems))


def read_whole_image(path: Path) -> np.ndarray:
    """Read an image as training does, but refuse a JPEG whose end is missing, which OpenCV fills with grey.

    Returns:
        uint8 (H,W,3), RGB.

    Raises:
        TrainError: the file is missing, no image, or truncated.
    """
    try:
        with Image.open(path, formats=["JPEG"]) as image:
            image.draft("L", (1, 1))  # reads all of the file, but computes few pixels
            image.load()
    except UnidentifiedImageError:  # another format: OpenCV itself refuses those that are truncated
        pass
    except OSError as error:
        if error.errno is None:  # not of the system, but of the content
            reason = f"expected a whole JPEG, found: {error}. Copy it again or remove it"
            raise TrainError(f"cannot read image {path}: {reason}") from error
    return read_image(path)


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
    problems += _repeated_labels(label_file, labels)
    try:
        image = read_whole_image(path)
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
    return Inspected(problems, state, long, digest, local_contrast(image), classes, sides_px, scale)


def _tiny(width: float, height: float, size: int | None) -> str:
    min_side = AUGMENTATION.min_side_px
    where = f" at input size {size}" if size else ""
    return f"expected a box of {min_side:g}x{2 * min_side:g} px or more, found {width:.1f}x{height:.1f} px{where}"


def _repeated_labels(path: Path, labels: list[Label]) -> Iterator[Problem]:
    first: dict[Hashable, int] = {}
    for label in labels:
        line = first.setdefault((label.class_id, label.box), label.line)
        if line != label.line:
            message = f"{path}:{label.line}: expected a box of its own, found that of line {line} again"
            yield Problem(Kind.DUPLICATE_LABEL, message)


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


def _kind_of(split: str) -> Kind:
    """The kind of a problem of a whole split: training needs no test split."""
    return Kind.TEST_SPLIT if split == OPTIONAL else Kind.DATA


def _key_points(entries: list[Entry], inspected: dict[Path, Inspected]) -> list[Problem]:
    """Lines that may be key points, judged for each split by itself, as when it is loaded."""
    found: dict[str, None] = {}  # in order, each once: an image may be in two splits
    for split in dict.fromkeys(entry.split for entry in entries):
        files = {e.file: label_path(e.image.path) for e in entries if e.split == split}
        lines = [(label_file, inspected[file].long_labels) for file, label_file in files.items()]
        refuse_key_points(lines, lambda error: found.setdefault(str(error)))
    return [Problem(Kind.LABEL, message) for message in found]


def _shared_labels(entries: list[Entry]) -> Iterator[Problem]:
    for shared in shared_label_files([entry.image.path for entry in entries]):
        images = " and ".join(str(image) for image in shared.images)
        message = (
            f"{shared.file}: expected the labels of one image, found {images}: they can only belong to one of them"
        )
        yield Problem(Kind.SHARED_LABELS, message)


def _unlabelled(
    config: DataConfig, summaries: Iterable[SplitSummary], entries: list[Entry], inspected: dict[Path, Inspected]
) -> Iterator[Problem]:
    for summary in summaries:
        images = [entry for entry in entries if entry.split == summary.name]
        without = [e.image.path for e in images if inspected[e.file].label_file == "missing"]
        missing = [c.name for c in summary.classes if not c.boxes]
        if summary.images and len(missing) == len(summary.classes):
            where = f". {looked_for_labels(without, config.path.parent)}" if len(without) == len(images) else ""
            yield Problem(_kind_of(summary.name), f"{config.path}: split '{summary.name}' has no labelled box{where}")
        elif summary.images:
            yield from _labels_elsewhere(config, images, without)
            for name in missing:
                yield Problem(Kind.UNLABELLED_CLASS, f"{config.path}: no box of '{name}' in split '{summary.name}'")


def _labels_elsewhere(config: DataConfig, images: list[Entry], without: list[Path]) -> Iterator[Problem]:
    """Folders of a split of whose images none has a label file where it is read, but one in another place."""
    of_folder: dict[Path, list[Path]] = {}
    for path in without:
        of_folder.setdefault(path.parent, []).append(path)
    counts = Counter(entry.image.path.parent for entry in images)
    for folder, paths in of_folder.items():
        if len(paths) == counts[folder] and (elsewhere := labels_elsewhere(paths, config.path.parent)):
            yield Problem(Kind.LABELS_ELSEWHERE, f"{folder}: no image has a label file, but there is {elsewhere}")


def _labels_without_image(config: DataConfig, images: Iterable[Path]) -> Iterator[Problem]:
    lists = {source.resolve() for sources in config.splits.values() for source in sources}
    folders = {image.parent.resolve(): image.parent for image in images}
    for folder in sorted(folders.values()):
        stems = {path.stem for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES}
        for path in sorted(label_path(folder / "any").parent.glob("*.txt")):
            if path.stem not in stems and path.resolve() not in lists:
                yield Problem(Kind.NO_IMAGE, f"{path}: expected an image {folder / path.stem}.*, found none")


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

"""What ``train check`` finds in label files, and where it finds none."""

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator
from pathlib import Path

from realtime.file_names import is_hidden
from train.data.check_entries import Entry, Inspected
from train.data.check_report import Kind, Problem, SplitSummary
from train.data.data_yaml import OPTIONAL, DataConfig
from train.data.images import is_image
from train.data.label_places import label_path, labels_elsewhere, looked_for_labels, shared_label_files
from train.data.labels import Label, refuse_key_points


def repeated_labels(path: Path, labels: list[Label]) -> Iterator[Problem]:
    """Lines of a label file that repeat an earlier one."""
    first: dict[Hashable, int] = {}
    for label in labels:
        line = first.setdefault((label.class_id, label.box), label.line)
        if line != label.line:
            message = f"{path}:{label.line}: expected a box of its own, found that of line {line} again"
            yield Problem(Kind.DUPLICATE_LABEL, message)


def kind_of(split: str) -> Kind:
    """The kind of a problem of a whole split: training needs no test split."""
    return Kind.TEST_SPLIT if split == OPTIONAL else Kind.DATA


def lines_with_key_points(entries: list[Entry], inspected: dict[Path, Inspected]) -> list[Problem]:
    """Lines that may be key points, judged for each split by itself, as when it is loaded."""
    found: dict[str, None] = {}  # in order, each once: an image may be in two splits
    for split in dict.fromkeys(entry.split for entry in entries):
        files = {e.file: label_path(e.image.path) for e in entries if e.split == split}
        lines = [(label_file, inspected[file].long_labels) for file, label_file in files.items()]
        refuse_key_points(lines, lambda error: found.setdefault(str(error)))
    return [Problem(Kind.LABEL, message) for message in found]


def shared_labels(entries: list[Entry]) -> Iterator[Problem]:
    """Label files of several images."""
    for shared in shared_label_files([entry.image.path for entry in entries]):
        images = " and ".join(str(image) for image in shared.images)
        message = (
            f"{shared.file}: expected the labels of one image, found {images}: they can only belong to one of them"
        )
        yield Problem(Kind.SHARED_LABELS, message)


def unlabelled(
    config: DataConfig, summaries: Iterable[SplitSummary], entries: list[Entry], inspected: dict[Path, Inspected]
) -> Iterator[Problem]:
    """Splits without any box, classes without a box in a split, and folders whose labels are in another place."""
    read = {label_path(entry.image.path) for entry in entries}
    for summary in summaries:
        images = [entry for entry in entries if entry.split == summary.name]
        without = [e.image.path for e in images if inspected[e.file].label_file == "missing"]
        missing = [c.name for c in summary.classes if not c.boxes]
        if summary.images and len(missing) == len(summary.classes):
            is_bare = len(without) == len(images)
            where = f". {looked_for_labels(without, config.path.parent, read)}" if is_bare else ""
            yield Problem(kind_of(summary.name), f"{config.path}: split '{summary.name}' has no labelled box{where}")
        elif summary.images:
            yield from _labels_elsewhere(config, images, without, read)
            for name in missing:
                yield Problem(Kind.UNLABELLED_CLASS, f"{config.path}: no box of '{name}' in split '{summary.name}'")


def _labels_elsewhere(
    config: DataConfig, images: list[Entry], without: list[Path], read: set[Path]
) -> Iterator[Problem]:
    """Folders of a split of whose images none has a label file where it is read, but one in another place."""
    of_folder: dict[Path, list[Path]] = {}
    for path in without:
        of_folder.setdefault(path.parent, []).append(path)
    counts = Counter(entry.image.path.parent for entry in images)
    for folder, paths in of_folder.items():
        if len(paths) == counts[folder] and (elsewhere := labels_elsewhere(paths, config.path.parent, read)):
            yield Problem(Kind.LABELS_ELSEWHERE, f"{folder}: no image has a label file, but there is {elsewhere}")


def labels_without_image(config: DataConfig, images: Iterable[Path]) -> Iterator[Problem]:
    """Label files beside those of a split's images that belong to none."""
    lists = {source.resolve() for sources in config.splits.values() for source in sources}
    folders = {image.parent.resolve(): image.parent for image in images}
    for folder in sorted(folders.values()):
        stems = {path.stem for path in folder.iterdir() if is_image(path)}
        for path in sorted(label_path(folder / "any").parent.glob("*.txt")):
            if path.stem not in stems and not is_hidden(path.name) and path.resolve() not in lists:
                yield Problem(Kind.NO_IMAGE, f"{path}: expected an image {folder / path.stem}.*, found none")

"""Where the label file of an image is, and where else one may be that nobody reads."""

import functools
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

IMAGES, LABELS = "images", "labels"
SEARCHED_IMAGES = 20
"""Images whose labels are searched for elsewhere: some have none."""
ADVICE = {
    ".txt": f"Labels are read from '{LABELS}' in place of the images' folder '{IMAGES}', or from beside images in "
    "other folders",
    ".xml": "Convert it with 'realtime train prepare voc'",
}
"""What to do about a label file in another place or format, by suffix."""


@dataclass(frozen=True, slots=True)
class SharedLabels:
    """A label file of several images."""

    file: Path
    images: tuple[Path, ...]


def label_path(image: Path) -> Path:
    """Where the labels of an image are: the last folder ``images`` becomes ``labels``, the suffix ``.txt``."""
    parts = list(image.parts)
    for i in range(len(parts) - 2, -1, -1):
        if parts[i] == IMAGES:
            parts[i] = LABELS
            break
    return Path(*parts).with_suffix(".txt")


def shared_label_files(images: Sequence[Path], files: Sequence[Path] | None = None) -> list[SharedLabels]:
    """The label files that exist and belong to more than one image; links to one image are that image.

    Args:
        images: image files.
        files: their label files; by default those of ``label_path``.
    """
    resolve = functools.cache(Path.resolve)  # of folders, which are few
    groups: dict[Path, list[Path]] = {}
    names: dict[Path, Path] = {}
    for image, file in zip(images, files or map(label_path, images), strict=True):
        real = resolve(file.parent) / file.name
        groups.setdefault(real, []).append(image)
        names.setdefault(real, file)
    several = {real: list({image.resolve(): image for image in group}.values())
               for real, group in groups.items() if len(group) > 1}  # fmt: skip
    return [SharedLabels(names[real], tuple(group)) for real, group in several.items()
            if len(group) > 1 and real.exists()]  # fmt: skip


def looked_for_labels(images: Sequence[Path], root: Path, read: Collection[Path] = ()) -> str:
    """Where the labels of images without any were looked for, and where there are some, for the end of a message.

    Args are those of ``labels_elsewhere``.
    """
    elsewhere = labels_elsewhere(images, root, read)
    return f"Looked for labels such as {label_path(images[0])}" + (f", but found {elsewhere}" if elsewhere else "")


def labels_elsewhere(images: Sequence[Path], root: Path, read: Collection[Path] = ()) -> str:
    """A label file in another place than ``label_path``, and advice; empty if none is found.

    Args:
        images: images without labels.
        root: folder of the data set, above which nothing is searched.
        read: label files of other images of the data set.
    """
    for image in images[:SEARCHED_IMAGES]:
        for file in _other_places(image, root):
            if file.is_file() and file not in read and file != label_path(image):
                return f"{file}. {ADVICE[file.suffix]}"
    return ""


def _other_places(image: Path, root: Path) -> Iterator[Path]:
    """Beside the image, where its link leads, and in all folders beside those that it is in."""
    folders = [image.parent]
    for above in image.parents:
        if above == image.parent or not above.is_relative_to(root):
            continue
        below = image.parent.relative_to(above).parts[1:]
        siblings = sorted(path for path in above.iterdir() if path.is_dir())
        folders += [sibling.joinpath(*below) for sibling in siblings] + siblings
    real = image.resolve()
    for suffix in ADVICE:
        yield from ((folder / image.name).with_suffix(suffix) for folder in folders)
        yield label_path(real).with_suffix(suffix)

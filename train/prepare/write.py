"""Writing a source as a data set in YOLO format, or adding it to one.

Everything is written into a folder inside the data set's and moved to its place at the end: a run that fails or is
stopped leaves the data set as it was.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from train.data.label_places import label_path
from train.errors import TrainError
from train.folder_lock import FolderLock
from train.prepare.manifest import (
    DATA,
    MANIFEST,
    Row,
    class_order,
    read_existing,
    write_data_yaml,
    write_manifest,
)
from train.prepare.photo import Source, listed
from train.prepare.splits import TRAIN, VAL, assign_splits
from train.prepare.stage import Staged, WriteOptions, stage_photos

Placed = list[tuple[Staged, str]]
"""Images and their splits."""


def write_data_set(read: Callable[[], Source], options: WriteOptions, warn: Callable[[str], None]) -> str:
    """Write a source, which is read once the output folder has been checked.

    Args:
        read: reads the source.
        options: how to write it.
        warn: called with the problems of what ``skip_bad`` leaves out.

    Returns:
        A summary of one line.

    Raises:
        TrainError: the source has problems (they are listed) and ``skip_bad`` is off; nothing is left to write; or the
            output folder is another data set's.
    """
    if not options.prefix or Path(options.prefix).name != options.prefix:
        raise TrainError(f"--prefix '{options.prefix}': expected the beginning of a file name, without '/'")
    with FolderLock(options.out) as lock:
        return _write(read, options, warn, lock)


def _write(read: Callable[[], Source], options: WriteOptions, warn: Callable[[str], None], lock: FolderLock) -> str:
    existing_names, rows = read_existing(options.out)
    source = read()
    names = class_order(source.class_names, existing_names, options.out)
    is_new = not options.out.exists()
    options.out.mkdir(parents=True, exist_ok=True)
    if is_new:
        lock.acquire()
        existing_names, rows = read_existing(options.out)  # again: another process may have made it meanwhile
        names = class_order(source.class_names, existing_names, options.out)
    try:
        with TemporaryDirectory(prefix=".prepare-", dir=options.out) as folder:
            staged, problems = stage_photos(source, options, names, rows, Path(folder))
            if problems and not options.skip_bad:
                raise TrainError(
                    f"nothing written, {len(problems)} problems. Fix them, or leave these out with --skip-bad:"
                    + listed(problems)
                )
            if problems:
                warn(f"{len(problems)} problems, left out:{listed(problems)}")
            placed = _placed(staged, rows, options)
            _move(placed, options.out, names, rows, Path(folder))
    except OSError as error:
        if error.filename and not Path(str(error.filename)).is_relative_to(options.out):
            raise
        raise TrainError(f"cannot write to {options.out}: {error.strerror or error}") from error
    finally:
        if is_new and not any(options.out.iterdir()):
            options.out.rmdir()
    notes = [*source.notes, *_left_out(len(staged) - len(placed), placed, problems)]
    return "; ".join([f"wrote to {options.out}: {_counts(placed, names)}", *notes])


def _placed(staged: list[Staged], rows: list[Row], options: WriteOptions) -> Placed:
    if not staged:
        raise TrainError(f"nothing written to {options.out}: there are no photos to write")
    splits = assign_splits(
        [(item.row.group, item.row.pixels) for item in staged],
        {key: row.split for row in rows for key in (row.group, row.pixels)},
        val_share=options.val_share,
        seed=options.seed,
        only=options.split,
    )
    placed = [(item, split) for item, split in zip(staged, splits, strict=True) if split]
    if not placed:
        raise TrainError(f"nothing written to {options.out}: copies of all {len(staged)} photos are in another split")
    return placed


def _move(placed: Placed, out: Path, names: tuple[str, ...], rows: list[Row], staging: Path) -> None:
    """Move what is staged to its place: only renames, the manifest last."""
    new = [replace(item.row, file=f"images/{split}/{item.row.file}", split=split) for item, split in placed]
    write_manifest(staging / MANIFEST, rows + new)
    write_data_yaml(staging / DATA, names)
    for split in (TRAIN, VAL):
        for kind in ("images", "labels"):
            (out / kind / split).mkdir(parents=True, exist_ok=True)
    for (item, _), row in zip(placed, new, strict=True):
        item.labels.replace(label_path(out / row.file))
        item.image.replace(out / row.file)
    for name in (DATA, MANIFEST):
        (staging / name).replace(out / name)


def _counts(placed: Placed, names: tuple[str, ...]) -> str:
    parts = []
    for split in (TRAIN, VAL):
        items = [item for item, where in placed if where == split]
        counts = Counter(names[class_id] for item in items for class_id in item.classes)
        boxes = ", ".join(f"{counts[name]} {name}" for name in names if counts[name]) or "no boxes"
        parts.append(f"{split} {len(items)} images ({boxes})")
    return ", ".join(parts)


def _left_out(copies: int, placed: Placed, problems: list[str]) -> list[str]:
    counts = {
        "boxes outside their photo or too small left out": sum(item.outside for item, _ in placed),
        "photos left out, copies of which are in another split": copies,
        "problems left out": len(problems),
    }
    return [f"{count} {what}" for what, count in counts.items() if count]

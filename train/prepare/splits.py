"""Groups of copies of photos, and the assignment of groups to splits.

Photos are copies of each other if their pixels are the same, or if they have one group. The group is the prefix of the
source and the file's stem (not its folders) without, in any order and number, at its end:

- ``mirror``, ``flip``, ``copy``, ``crop``, ``aug`` (or ``mirrored`` …), a version ``v2``, after ``_``, ``-`` or `` ``;
- a number in brackets: `` (2)``;
- a counter of one or two digits after a photo number of four or more: ``2908549_1`` (Helen, AFW), not ``photo_1``;
- Roboflow's ``_jpg.rf.<hash>``.
"""

import random
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

TRAIN, VAL = "train", "val"
COPY_MARKS = re.compile(
    r"([ _-]+(mirror(ed)?|flip(ped)?|copy|crop(ped)?|aug(mented)?|v\d{1,2})| ?\(\d+\)|(?<=\d{4})_\d{1,2}"
    r"|[_.](jpe?g|png|bmp|webp)\.rf\.[0-9a-z]+)$",
    re.IGNORECASE,
)


def group_of(prefix: str, name: str) -> str:
    """Group of a photo of a source: ``helen``, ``trainset/2908549_1_mirror`` give ``helen_2908549``."""
    stem = PurePosixPath(name).name
    while (shorter := COPY_MARKS.sub("", stem)) not in {"", stem}:
        stem = shorter
    return f"{prefix}_{stem.lower()}"


def assign_splits(
    photos: Sequence[Iterable[str]], known: dict[str, str], *, val_share: float, seed: int, only: str | None
) -> list[str | None]:
    """Choose a split for each photo, the same for all that are linked by a key.

    Photos linked to one of the data set go to its split. A share of the others is drawn for val, at least one set of
    copies if there are two or more.

    Args:
        photos: the keys of each photo: its group and the hash of its pixels.
        known: splits by the keys of the photos of the data set.
        val_share: share of the unlinked photos for val, 0..1.
        seed: of the draw.
        only: put all photos in this split.

    Returns:
        For each photo its split; None if copies of it are in several splits.
    """
    chosen: dict[int, str | None] = {}
    free: list[list[int]] = []
    for members in _linked(photos):
        splits = {known[key] for i in members for key in photos[i] if key in known} | ({only} if only else set())
        if splits:
            chosen.update(dict.fromkeys(members, splits.pop() if len(splits) == 1 else None))
        else:
            free.append(members)
    for i in _drawn(free, val_share, seed):
        chosen[i] = VAL
    return [chosen.get(i, TRAIN) for i in range(len(photos))]


def _linked(photos: Sequence[Iterable[str]]) -> list[list[int]]:
    """Sets of photos that share keys, directly or through others, each in order."""
    parent = list(range(len(photos)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = i = parent[parent[i]]
        return i

    first: dict[str, int] = {}
    for i, keys in enumerate(photos):
        for key in keys:
            parent[root(i)] = root(first.setdefault(key, i))
    sets: dict[int, list[int]] = defaultdict(list)
    for i in range(len(photos)):
        sets[root(i)].append(i)
    return list(sets.values())


def _drawn(free: list[list[int]], val_share: float, seed: int) -> list[int]:
    """Photos for val: shuffled sets are added while they fit; if none does, the smallest."""
    if val_share <= 0 or len(free) < 2:
        return []
    target = round(val_share * sum(map(len, free)))
    drawn: list[int] = []
    for members in random.Random(seed).sample(free, len(free)):
        if len(drawn) + len(members) <= target:
            drawn += members
    return drawn or min(free, key=len)

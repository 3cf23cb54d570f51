"""Decoded images in memory, shared by all processes that read.

A training reads each image in every epoch, and again for mosaics and backgrounds. The first process that needs an image
decodes it; from then on all take it from memory.
"""

import mmap
import multiprocessing
import sys
from collections.abc import Callable, Iterable
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np

from train.data.images import read_image
from train.data.memory import available_bytes
from train.errors import TrainError

ReadImage = Callable[[Path], np.ndarray]
"""A function from a path to an image, uint8 (H,W,3) RGB."""
SHARE = {"auto": 0.5, "ram": 0.9}
"""Part of the memory that is left which the images may take."""
ALIGNMENT = 64


class Cache(StrEnum):
    """Where decoded images are kept."""

    AUTO = "auto"
    RAM = "ram"
    OFF = "off"


class ImageCache:
    """Decoded images in one block of memory, which processes that are forked later share."""

    def __init__(self, paths: Iterable[Path], capacity: int) -> None:
        """Make room for ``capacity`` bytes of the images of these files; memory is taken as it is filled.

        Raises:
            OSError: there is no such room.
        """
        self._index = {path: i for i, path in enumerate(dict.fromkeys(paths))}
        self._block = mmap.mmap(-1, capacity)
        self._pixels = np.frombuffer(self._block, np.uint8)
        # Of each image: where it begins, height, width; in the last row where the free room begins.
        self._table = np.frombuffer(mmap.mmap(-1, (len(self._index) + 1) * 3 * 8), np.int64).reshape(-1, 3)
        self._lock = multiprocessing.get_context("fork").Lock() if can_share() else _NoLock()

    def read(self, path: Path) -> np.ndarray:
        """As ``read_image``, from memory if the image is there; read-only.

        Raises:
            TrainError: the file cannot be read.
        """
        row = self._index.get(path)
        if row is None:
            return read_image(path)
        with self._lock:
            start, height, width = self._table[row].tolist()
        if not height:
            return self._keep(row, read_image(path))
        image = self._pixels[start : start + height * width * 3].reshape(height, width, 3)
        image.flags.writeable = False
        return image

    def held_bytes(self) -> int:
        """Bytes of the images that are in memory."""
        return int(self._table[-1, 0])

    def _keep(self, row: int, image: np.ndarray) -> np.ndarray:
        """Store an image if there is room, and another process has not done so meanwhile."""
        image.flags.writeable = False
        with self._lock:
            start = int(self._table[-1, 0])
            if not self._table[row, 1] and start + image.nbytes <= len(self._pixels):
                self._pixels[start : start + image.nbytes] = image.ravel()
                self._table[row] = start, image.shape[0], image.shape[1]
                self._table[-1, 0] = start + -(-image.nbytes // ALIGNMENT) * ALIGNMENT
        return image

    def __reduce__(self) -> Any:
        raise TypeError("images in memory are shared with forked processes alone")


class _NoLock:
    """Where nothing is shared."""

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


def can_share() -> bool:
    """Whether processes that read are forked, and so share memory with this one."""
    return sys.platform != "win32" and multiprocessing.get_start_method() == "fork"


def image_reader(paths: Iterable[Path], kept: Cache, *, workers: int, processes: int) -> ReadImage:
    """What the examples of a training read their images with.

    Args:
        paths: of the images.
        kept: whether decoded images stay in memory: ``auto`` in up to half of what is left and where that can be
            shared, ``ram`` in up to nine tenths.
        workers: processes that read, for each that trains.
        processes: those that train on this machine; each keeps images of its own.

    Raises:
        TrainError: ``ram``, where it cannot be.
    """
    if kept is Cache.OFF:
        return read_image
    left = available_bytes()
    is_shared = not workers or can_share()
    if kept is Cache.AUTO and (left is None or not is_shared):
        return read_image
    if not is_shared:
        raise TrainError(
            "--cache ram: reading processes are not forked here, and cannot share memory. "
            "Use --workers 0 or --cache off"
        )
    if left is None:
        raise TrainError("--cache ram: this system does not say how much memory is left. Use --cache off")
    capacity = int(left * SHARE[kept]) // processes // mmap.PAGESIZE * mmap.PAGESIZE
    try:
        return ImageCache(paths, capacity).read
    except (OSError, ValueError) as error:
        if kept is Cache.AUTO:
            return read_image
        raise TrainError(f"--cache ram: cannot get {capacity / 2**30:.1f} GB of memory: {error}") from error

"""Every feature as an image of its own."""

import re
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np

from realtime.atomic_files import partial_folder
from realtime.errors import SinkError
from realtime.results import Result
from realtime.sinks.base import ClosingSink, Ending
from realtime.structures import PARTS

NOT_IN_NAMES = r'[/\\:*?"<>|]'
"""What some system does not allow in the name of a file."""


NAME = re.compile(r"\d{6,}_(face\d{3,}|noface)_.*_\d+\.png")
"""What crops are named."""


class CropsSink(ClosingSink):
    """A folder of PNG files cut out of the undrawn frames; it appears under its name when it is whole.

    A name is made of the frame, the face and the feature, ``000012_face001_left_eye_0.png`` say, so that names sort.
    """

    needs_canvas = False
    is_slow = True

    def __init__(self, folder: Path) -> None:
        """Begin to write.

        Raises:
            SinkError: there is something of that name already, or it cannot be written beside it.
        """
        self._partial = partial_folder(folder)
        self._folder = folder

    def write(self, result: Result) -> None:
        """Write the crops of one frame.

        Raises:
            SinkError: the disk is full, say.
        """
        found = result.detections
        numbers: dict[str, int] = {}
        for row, class_name in enumerate(found.names):
            face_id, part = int(found.face_ids[row]), int(found.parts[row])
            owner, name = (f"face{face_id:03}", PARTS[part]) if part >= 0 else ("noface", class_name)
            crop = cut_out(result.image, found.boxes[row])
            stem = f"{result.frame.index:06}_{owner}_{re.sub(NOT_IN_NAMES, '-', name)}"
            numbers[stem] = numbers.get(stem, -1) + 1
            if crop.size:
                self._save(f"{stem}_{numbers[stem]}.png", crop)

    def take(self, folder: Path) -> None:
        """Move the crops of another folder into this one.

        Raises:
            SinkError: the disk is full, say.
        """
        try:
            for path in folder.iterdir():
                shutil.move(path, self._partial)
        except OSError as error:
            raise SinkError(f"cannot write crops to {self._folder}: {error.strerror}", value=self._folder) from error

    def _save(self, name: str, crop: np.ndarray) -> None:
        try:
            (self._partial / name).write_bytes(cv2.imencode(".png", crop)[1].tobytes())
        except OSError as error:
            raise SinkError(f"cannot write crops to {self._folder}: {error.strerror}", value=self._folder) from error

    def close(self, ending: Ending) -> None:
        """Put the folder in place, or remove what was written if the run failed. May be called twice."""
        if not self._partial.exists():
            return
        try:
            if ending is not Ending.FAILED:
                if self._folder.exists():
                    self._folder.rmdir()  # it is empty
                self._partial.rename(self._folder)
        except OSError as error:
            raise SinkError(f"cannot write crops to {self._folder}: {error.strerror}", value=self._folder) from error
        finally:
            shutil.rmtree(self._partial, ignore_errors=True)


def join_crops(parts: Iterable[Path], folder: Path) -> None:
    """Move the crops of several folders into one, which appears when it is whole.

    Raises:
        SinkError: as of ``CropsSink``.
    """
    sink, ending = CropsSink(folder), Ending.FAILED
    try:
        for part in parts:
            sink.take(part)
        ending = Ending.COMPLETE
    finally:
        sink.close(ending)


def remove_crops(folder: Path) -> None:
    """Remove the crops of an earlier run, and their folder if nothing else is in it."""
    with suppress(OSError):
        for path in list(folder.iterdir()):
            if NAME.fullmatch(path.name):
                path.unlink()
        folder.rmdir()


def cut_out(image: np.ndarray, box: np.ndarray) -> np.ndarray:
    """The part of ``image`` (H,W,3) in a box xyxy in pixels, in whole pixels; of no size if it lies outside."""
    height, width = image.shape[:2]
    x1, y1 = np.clip(np.floor(box[:2]), 0, (width, height)).astype(int)
    x2, y2 = np.clip(np.ceil(box[2:]), 0, (width, height)).astype(int)
    return image[y1:y2, x1:x2]

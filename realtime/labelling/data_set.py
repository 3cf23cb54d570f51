"""A data set that is written: its images, and at the end their labels."""

import csv
import shutil
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from realtime.atomic_files import partial_folder
from realtime.errors import SinkError, SourceError
from realtime.image_io import read_image, write_image
from realtime.inference.ordered_pool import OrderedPool
from realtime.labelling.formats import WRITERS
from realtime.labelling.labelled import LabelledImage, by_doubt
from realtime.labelling.review import write_review
from realtime.stills import StillDetector, detect_still

if TYPE_CHECKING:
    from collections.abc import Callable

    from realtime.labelling.inputs import Candidate, Candidates

COPIED = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})
"""Photos that every labelling tool shows; others are stored as JPEG."""
JPEG_QUALITY = 95
EXIF_BYTES = 2**16
"""EXIF data stands near the beginning of a file."""


class DataSet:
    """A folder that appears under its name when it is whole."""

    def __init__(self, folder: Path, class_names: tuple[str, ...]) -> None:
        """Begin to write.

        Raises:
            SinkError: there is something of that name already, or it cannot be written beside it.
        """
        self.images: list[LabelledImage] = []
        self._folder = folder
        self._class_names = class_names
        self._partial = partial_folder(folder)
        (self._partial / "images").mkdir()

    def label(
        self,
        candidates: "Candidates",
        detector: StillDetector,
        threshold: float,
        on_unreadable: "Callable[[SourceError], object]",
        is_stopped: "Callable[[], bool]" = lambda: False,
    ) -> Iterator[LabelledImage]:
        """Store each image, and give what was found in it, in order; several are processed at once.

        Args:
            candidates: photos and frames.
            detector: finds the boxes.
            threshold: minimum score of a label, 0..1.
            on_unreadable: called with what is wrong with a photo, which is left out.
            is_stopped: no further image is begun once it returns True.
        """
        levels = detector.metadata.levels

        def label_one(candidate: "Candidate") -> LabelledImage | SourceError:
            try:
                image = read_image(candidate.path) if candidate.frame is None else candidate.frame
            except SourceError as error:
                return error
            file = self._store(candidate, image)
            result = detect_still(detector, image, threshold, candidate.path)
            return LabelledImage.of(result, file, candidate.source, candidate.group, threshold, levels)

        pool = OrderedPool(label_one, detector.concurrency, name="detect")
        try:
            for labelled in pool.map(takewhile(lambda _: not is_stopped(), candidates)):
                if isinstance(labelled, SourceError):
                    on_unreadable(labelled)
                else:
                    self.images.append(labelled)
                    yield labelled
        finally:
            pool.close()

    def finish(self, label_format: str, *, review: bool) -> None:
        """Write the labels, the least certain images first, and put the folder in place.

        Args:
            label_format: a key of ``WRITERS``.
            review: write ``review.html`` too.

        Raises:
            SinkError: the disk is full, say.
        """
        images = by_doubt(self.images)
        try:
            WRITERS[label_format](self._partial, images, self._class_names)
            _write_table(self._partial / "images.csv", images)
            if review:
                write_review(self._partial / "review.html", images)
            if self._folder.exists():
                self._folder.rmdir()  # it is empty
            self._partial.rename(self._folder)
        except OSError as error:
            raise SinkError(f"cannot write to {self._folder}: {error.strerror}", value=self._folder) from error

    def close(self) -> None:
        """Remove what was written, unless ``finish`` has put it in place."""
        shutil.rmtree(self._partial, ignore_errors=True)

    def _store(self, candidate: "Candidate", image: np.ndarray) -> Path:
        """Write an image, a photo as it is if every tool shows it alike; return the name of its file."""
        suffix = candidate.path.suffix.lower()
        if candidate.frame is None and suffix in COPIED and _is_upright(candidate.path, image):
            file = Path(f"{candidate.name}{suffix}")
            try:
                shutil.copyfile(candidate.path, self._partial / "images" / file)
            except OSError as error:
                raise SinkError(f"cannot write to {self._folder}: {error.strerror}", value=self._folder) from error
            return file
        file = Path(f"{candidate.name}.jpg")
        write_image(self._partial / "images" / file, image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        return file


def _is_upright(path: Path, image: np.ndarray) -> bool:
    """Whether the stored pixels are those of ``image``, to which an EXIF orientation is applied: not all tools do."""
    with path.open("rb") as file:
        if b"Exif" not in file.read(EXIF_BYTES):
            return True
    return np.array_equal(image, read_image(path, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION))


def _write_table(path: Path, images: list[LabelledImage]) -> None:
    with path.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        table = csv.writer(file)
        table.writerow(("image", "doubt", "labels", "source"))
        for image in images:
            table.writerow((image.file.as_posix(), f"{image.doubt:.3f}", len(image.detections), image.source))

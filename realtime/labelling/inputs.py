"""The photos and frames that become a data set."""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from realtime.batch.inputs import Inputs
from realtime.batch.video_probe import is_video
from realtime.errors import SourceError, missing_file
from realtime.file_names import input_path
from realtime.image_io import is_image
from realtime.near_duplicates import SeenImages, local_contrast
from realtime.sources.video_file import VideoFileSource

NOT_IN_NAMES = re.compile(r"[^\w.()+-]+")
"""What is replaced in the names of images: not every tool that reads them takes it."""
MAX_NAME = 120
OnUnreadable = Callable[[SourceError], object]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A photo that is yet to be read, or a frame."""

    name: str
    """Of its file, without suffix; no other has it."""
    source: str
    """The photo, or the video and the number of the frame."""
    path: Path
    frame: np.ndarray | None = None
    """uint8 (H,W,3), BGR; None for a photo."""

    @property
    def group(self) -> str:
        """The video that a frame comes from; empty for a photo."""
        return "" if self.frame is None else str(self.path)


def find_inputs(paths: Iterable[Path], outputs: Iterable[Path | None] = ()) -> Inputs:
    """The photos and videos as given, and those in and below the folders.

    Raises:
        SourceError: a path that is not there, or a folder without photos and videos.
    """
    inputs = Inputs("media", lambda path: is_image(path) or is_video(path), outputs)
    for given in paths:
        path = input_path(given)
        if path.is_dir():
            if not inputs.add_folder(path):
                message = "; ".join([f"cannot label {path}: the folder holds no photos or videos", *inputs.notices])
                raise SourceError(message, value=path)
        elif path.exists():
            inputs.add_file(path)
        else:
            raise missing_file("cannot label", path)
    return inputs


class Candidates:
    """The photos and every n-th frame of the videos, in order; near-duplicates among the frames are left out."""

    def __init__(self, inputs: Inputs, every: int, on_unreadable: OnUnreadable, *, keep_duplicates: bool) -> None:
        """Begin to read.

        Args:
            inputs: photos and videos.
            every: of a video, take one frame in so many.
            on_unreadable: called with what is wrong with a video; the rest goes on.
            keep_duplicates: take near-duplicates too.
        """
        self.duplicates = 0
        """Frames that were left out."""
        self._inputs = inputs
        self._every = every
        self._on_unreadable = on_unreadable
        self._keep_duplicates = keep_duplicates
        self._taken: set[str] = set()

    def __iter__(self) -> Iterator[Candidate]:
        for path in self._inputs.files:
            place = self._inputs.places[path]
            if not is_image(path) and is_video(path):
                yield from self._frames(path, place)
            else:
                yield Candidate(self._name(place), str(path), path)

    def _frames(self, path: Path, place: Path) -> Iterator[Candidate]:
        kept = SeenImages()
        try:
            source = VideoFileSource(path)
        except SourceError as error:
            self._on_unreadable(error)
            return
        with source:
            while (frame := source.read()) is not None:
                if frame.index % self._every:
                    continue
                if self._is_duplicate(frame.image, kept):
                    self.duplicates += 1
                    continue
                name = self._name(place.with_name(f"{place.stem}-{frame.index:06}"))
                yield Candidate(name, f"{path} frame {frame.index}", path, frame.image)
            if source.errors:
                message = f"{path} is damaged: {source.errors}. What could be read is kept"
                self._on_unreadable(SourceError(message, value=path))

    def _is_duplicate(self, image: np.ndarray, kept: SeenImages) -> bool:
        """Whether an image resembles one of ``kept``, to which it is added if it does not."""
        if self._keep_duplicates:
            return False
        contrast = local_contrast(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY))
        if kept.has_near_duplicate(contrast):
            return True
        kept.add(contrast)
        return False

    def _name(self, place: Path) -> str:
        """A name of its own, also where case does not count: folders become part of it."""
        plain = NOT_IN_NAMES.sub("-", "-".join(place.with_suffix("").parts)).strip("-.")[:MAX_NAME] or "image"
        name, number = plain, 2
        while name.lower() in self._taken:
            name, number = f"{plain}-{number}", number + 1
        self._taken.add(name.lower())
        return name

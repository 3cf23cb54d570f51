"""Still images: detect, and write what was found."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import takewhile
from pathlib import Path

import numpy as np

from realtime.errors import SinkError, SourceError
from realtime.image_io import SUFFIXES, read_image, write_image
from realtime.inference.detector import OnnxDetector
from realtime.inference.ordered_pool import OrderedPool
from realtime.results import Result
from realtime.stills import detect_still
from realtime.structures import Detections


def find_images(paths: Iterable[Path]) -> list[Path]:
    """The files as given, and the pictures directly in the folders.

    Raises:
        SourceError: a path that is not there, or a folder without pictures.
    """
    found = []
    for path in paths:
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES)
            if not inside:
                raise SourceError(f"cannot read images from {path}: the folder holds none")
            found += inside
        elif path.exists():
            found.append(path)
        else:
            raise SourceError(f"cannot read image {path}: not found")
    return found


def detect_images(
    paths: Sequence[Path],
    detector: OnnxDetector,
    *,
    threshold: float,
    out: Path | None,
    on_unreadable: Callable[[SourceError], object],
    is_stopped: Callable[[], bool] = lambda: False,
    renderer: Callable[[np.ndarray, Detections], np.ndarray] | None = None,
) -> Iterator[Result]:
    """Detect in each image; with ``out``, a folder, write the drawn image there under the same name.

    ``detector.concurrency`` images are processed at once; none is started once ``is_stopped`` returns True. A file that
    is no image goes to ``on_unreadable``, and the rest goes on. ``renderer`` makes the image to write, uint8 (H,W,3)
    BGR, in place of drawing boxes; it is called in several threads.

    Raises:
        SinkError: ``out`` is no folder, or a drawn image would replace an original or another one.
    """
    targets = _targets(paths, out) if out else [None] * len(paths)

    def detect_one(job: tuple[Path, Path | None]) -> Result | SourceError:
        path, target = job
        try:
            image = read_image(path)
        except SourceError as error:
            return error
        result = detect_still(detector, image, threshold, path)
        if target is not None:
            write_image(target, renderer(image, result.detections) if renderer else result.draw())
        return result

    jobs = takewhile(lambda _: not is_stopped(), zip(paths, targets, strict=True))
    pool = OrderedPool(detect_one, detector.concurrency, name="detect")
    try:
        for found in pool.map(jobs):
            if isinstance(found, SourceError):
                on_unreadable(found)
            else:
                yield found
    finally:
        pool.close()


def _targets(paths: Sequence[Path], out: Path) -> list[Path]:
    """Where each drawn picture goes; checked before the first is written."""
    if not out.is_dir():
        raise SinkError(f"cannot write to {out}: folder does not exist")
    originals = {path.resolve() for path in paths}
    targets: list[Path] = []
    for path in paths:
        target = out / path.name
        if target.suffix.lower() not in SUFFIXES:
            raise SinkError(f"cannot write {target}: its name does not end as a picture's, such as .png")
        if target.resolve() in originals or target in targets:
            what = "another result" if target in targets else "an original"
            raise SinkError(f"cannot write {target}: it would replace {what}")
        targets.append(target)
    return targets

"""Still images: detect, and write what was found."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import takewhile
from pathlib import Path

import numpy as np

from realtime.batch.addresses import url_of
from realtime.batch.inputs import Inputs
from realtime.batch.output_folders import check_folder, make_folders
from realtime.errors import SinkError, SourceError, missing_file
from realtime.file_names import input_path
from realtime.image_io import can_write, is_image, read_image, write_image
from realtime.inference.ordered_pool import OrderedPool
from realtime.results import Result
from realtime.stills import StillDetector, detect_still
from realtime.structures import Detections

Renderer = Callable[[np.ndarray, Detections], np.ndarray]
"""Makes the image to write, uint8 (H,W,3) BGR, of an image and what was found in it."""


def find_images(paths: Iterable[Path], outputs: Iterable[Path | None] = ()) -> Inputs:
    """The files as given, and the images in and below the folders.

    Args:
        paths: of files and folders.
        outputs: what is written, which is no input.

    Raises:
        SourceError: a path that is not there, or a folder without images.
    """
    inputs = Inputs("image", is_image, outputs)
    given = [input_path(path) for path in paths]
    for path in given:
        if url_of(path):
            if not inputs.add_address(path, lambda found: can_write(found.suffix)):
                raise SourceError(f"cannot read images from {url_of(path)}: there are none", value=path)
        elif path.is_dir():
            if not inputs.add_folder(path):
                message = "; ".join([f"cannot read images from {path}: the folder holds none", *inputs.notices])
                raise SourceError(message, value=path)
        elif path.exists():
            inputs.add_file(path)
        else:
            raise missing_file("cannot read image", path)
    for path in inputs.files:
        if not path.suffix and path not in given:
            inputs.places[path] = inputs.places[path].with_name(f"{path.name}.png")
    return inputs


def detect_images(
    paths: Collection[Path],
    detector: StillDetector,
    *,
    threshold: float,
    out: Path | None,
    places: Mapping[Path, Path] | None = None,
    on_unreadable: Callable[[SourceError], object],
    is_stopped: Callable[[], bool] = lambda: False,
    renderer: Renderer | None = None,
) -> Iterator[Result]:
    """Detect in each image; with ``out``, a folder, write the drawn image there under the same name.

    ``places`` says where below ``out``, by default directly in it. Missing folders are created.

    ``detector.concurrency`` images are processed at once; none is started once ``is_stopped`` returns True. What is
    wrong with a file goes to ``on_unreadable``, and the rest goes on: one that is cut short has a result all the same,
    of the part that could be read. ``renderer`` makes the image to write, uint8 (H,W,3) BGR, in place of drawing boxes;
    it is called in several threads.

    Raises:
        SinkError: ``out`` is no folder, or a drawn image would replace an original or another one.
    """
    targets = targets_of(paths, places or {}, out) if out else [None] * len(paths)

    def detect_one(job: tuple[Path, Path | None]) -> tuple[Result | None, list[SourceError]]:
        return detect_image(*job, detector, threshold, renderer)

    jobs = takewhile(lambda _: not is_stopped(), zip(paths, targets, strict=True))
    pool = OrderedPool(detect_one, detector.concurrency, name="detect")
    try:
        for result, errors in pool.map(jobs):
            for error in errors:
                on_unreadable(error)
            if result is not None:
                yield result
    finally:
        pool.close()


def detect_image(
    path: Path, target: Path | None, detector: StillDetector, threshold: float, renderer: Renderer | None
) -> tuple[Result | None, list[SourceError]]:
    """Detect in one image, and write the drawn one to ``target``; what was found, and what is wrong with the file."""
    errors: list[SourceError] = []
    try:
        image = read_image(path, on_damage=errors.append)
    except SourceError as error:
        return None, [error]
    result = detect_still(detector, image, threshold, path)
    if target is not None:
        make_folders([target.parent])
        write_image(target, renderer(image, result.detections) if renderer else result.draw())
    return result, errors


def targets_of(paths: Collection[Path], places: Mapping[Path, Path], out: Path) -> list[Path]:
    """Where each drawn image goes; checked before the first is written.

    Raises:
        SinkError: ``out`` is no folder, or a drawn image would replace an original or another one.
    """
    check_folder(out)
    originals = {path.resolve() for path in paths}
    targets: dict[Path, None] = {}
    for path in paths:
        target = out / places.get(path, path.name)
        if not target.suffix:
            raise SinkError(f"cannot write {target}: its name does not end as an image's, such as .png", value=target)
        if not can_write(target.suffix):  # what can be read, but not written, such as .jfif
            target = target.with_name(f"{target.name}.png")
        if target.resolve() in originals or target in targets:
            what = "another result" if target in targets else "an original"
            raise SinkError(f"cannot write {target}: it would replace {what}", value=target)
        targets[target] = None
    return list(targets)

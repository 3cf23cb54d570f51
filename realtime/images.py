"""Still pictures: detect, and write what was found."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np

from realtime.detector import OnnxDetector
from realtime.errors import SinkError, SourceError
from realtime.render import draw
from realtime.structures import Detections

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})


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
    paths: Iterable[Path], detector: OnnxDetector, *, threshold: float, out: Path | None
) -> Iterator[tuple[Path, Detections]]:
    """Detect in each picture; with ``out``, a folder, write the drawn picture there under the same name.

    Raises:
        SourceError: a file is no picture.
        SinkError: ``out`` is no folder, or the drawn picture would replace its original or another one.
    """
    if out is not None and not out.is_dir():
        raise SinkError(f"cannot write to {out}: folder does not exist")
    written: set[Path] = set()
    for path in paths:
        image = read_image(path)
        detections = detector.detect(image).above(threshold)
        if out is not None:
            target = out / path.name
            if target in written or target.resolve() == path.resolve():
                raise SinkError(
                    f"cannot write {target}: it would replace "
                    + ("another result" if target in written else "its original")
                )
            _write_image(target, draw(image, detections, detector.metadata.class_names))
            written.add(target)
        yield path, detections


def read_image(path: Path) -> np.ndarray:
    """Read a picture, EXIF orientation applied: uint8 (H,W,3), BGR.

    Raises:
        SourceError: the file is no picture.
    """
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise SourceError(f"cannot read image {path}: not a readable picture")
    return image


def _write_image(path: Path, image: np.ndarray) -> None:
    try:
        ok, encoded = cv2.imencode(path.suffix, image)
        if not ok:
            raise SinkError(f"cannot write {path}: the encoder refused the picture")
        path.write_bytes(encoded.tobytes())
    except (OSError, cv2.error) as error:
        raise SinkError(f"cannot write {path}: {error}") from error

"""Reading and writing still images."""

from pathlib import Path

import cv2
import numpy as np

from realtime.atomic_files import partial_path
from realtime.errors import SinkError, SourceError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})


def read_image(path: Path) -> np.ndarray:
    """Read an image, EXIF orientation applied: uint8 (H,W,3), BGR.

    Raises:
        SourceError: the file is not an image.
    """
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise SourceError(f"cannot read image {path}: not a readable image")
    return image


def write_image(path: Path, image: np.ndarray) -> None:
    """Write an image uint8 (H,W,3), BGR, in the format that its name ends in; it appears when it is whole.

    Raises:
        SinkError: the disk is full, say.
    """
    partial = partial_path(path)
    try:
        if not cv2.imwrite(str(partial), image):
            raise SinkError(f"cannot write {path}: the disk is full, or the encoder refused the image")
        partial.replace(path)
    except (OSError, cv2.error) as error:
        raise SinkError(f"cannot write {path}: {error}") from error
    finally:
        partial.unlink(missing_ok=True)

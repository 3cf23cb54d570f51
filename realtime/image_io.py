"""Reading and writing still images. OpenCV is given bytes, never names: not every name is one that it can open."""

import os
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from realtime.atomic_files import partial_path
from realtime.errors import SinkError, SourceError, missing_file, one_line
from realtime.file_names import is_utf8
from realtime.image_limit import MAX_PIXELS, VARIABLE
from realtime.image_structure import JPEG_END, JPEG_START, PNG_START, is_cut_short
from realtime.library_messages import without_libjpeg

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
"""Ends of names that stand for an image whatever the file holds, so that a damaged one in a folder is reported."""
COMMON_STARTS = (b"BM", b"P", b"II*\0", b"II+\0", b"MM\0*", b"MM\0+")
"""First bytes that OpenCV takes for an image, but text and the raw files of cameras (TIFF) begin with too."""
PADDING = JPEG_END * 2**15
"""Put behind a JPEG that is cut short, as libjpeg does when it reads files; it fills the longest segment."""
MAX_BYTES = 2**31 - 1
"""OpenCV counts the bytes of a file in 32 bits."""


def is_image(path: Path) -> bool:
    """Whether a file that was found in a folder is an image: by its name, or because OpenCV recognises its content."""
    return path.suffix.lower() in SUFFIXES or (
        path.is_file()
        and _is_recognised(path)
        and (can_write(path.suffix) or not _first_bytes(path).startswith(COMMON_STARTS))
    )


def read_image(
    path: Path, flags: int = cv2.IMREAD_COLOR, *, on_damage: Callable[[SourceError], object] | None = None
) -> np.ndarray:
    """Read an image, EXIF orientation applied; of an animation, the first frame.

    Args:
        path: of the file, or a pipe.
        flags: of ``cv2.imread``, which say what is returned.
        on_damage: called if the file is cut short; what could be read of the image is returned then, the rest grey.
            None: such a file is refused.

    Returns:
        By default uint8 (H,W,3), BGR.

    Raises:
        SourceError: the file is missing, not an image, cut short, or too large to be decoded.
    """
    data = _read_bytes(path)
    image = None if data.startswith(PNG_START) and is_cut_short(data) else _decode(data, flags, path)
    if image is not None and not is_cut_short(data):
        return image
    if on_damage is not None and data.startswith(JPEG_START):
        with without_libjpeg():
            image = _decode(data + PADDING, flags, path)
        if image is not None:
            on_damage(SourceError(f"{path} is damaged: it is cut short. What could be read is kept", value=path))
            return image
    reason = "it is cut short" if is_cut_short(data) else _why_unreadable(path)
    raise SourceError(f"cannot read image {path}: {reason}", value=path)


def write_image(path: Path, image: np.ndarray, parameters: Sequence[int] = ()) -> None:
    """Write an image uint8 (H,W,3), BGR, in the format that its name ends in; it appears when it is whole.

    ``parameters`` are those of ``cv2.imwrite``.

    Raises:
        SinkError: the disk is full, say.
    """
    if not can_write(path.suffix):
        raise SinkError(f"cannot write {path}: its name does not end as an image's, such as .png", value=path)
    partial = partial_path(path)
    try:
        done, data = cv2.imencode(path.suffix, image, parameters)
        if not done:
            raise SinkError(f"cannot write {path}: the encoder refused the image", value=path)
        partial.write_bytes(data.tobytes())
        partial.replace(path)
    except OSError as error:
        raise SinkError(f"cannot write {path}: {error.strerror}", value=path) from error
    except cv2.error as error:
        raise SinkError(f"cannot write {path}: {one_line(error.err)}", value=path) from error
    finally:
        partial.unlink(missing_ok=True)


@cache
def can_write(suffix: str) -> bool:
    """Whether OpenCV has an encoder of colour images for names that end in ``suffix``."""
    try:
        return suffix.isascii() and bool(cv2.imencode(suffix, np.zeros((64, 64, 3), np.uint8))[0])
    except cv2.error:
        return False


def _read_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise missing_file("cannot read image", path) from error
    except OSError as error:
        raise SourceError(f"cannot read image {path}: {error.strerror}", value=path) from error
    except MemoryError as error:
        raise SourceError(f"cannot read image {path}: there is not enough memory for it", value=path) from error
    if len(data) > MAX_BYTES:
        raise SourceError(f"cannot read image {path}: it is larger than 2 GB", value=path)
    return data


def _decode(data: bytes, flags: int, path: Path) -> np.ndarray | None:
    if not data:
        return None
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        if "CV_IO_MAX_IMAGE" in error.err:
            limit = os.environ.get(VARIABLE, MAX_PIXELS)
            raise SourceError(
                f"cannot read image {path}: it is too large, the limit is {limit} pixels",
                value=path,
                remedy=f"make it smaller, or set the environment variable {VARIABLE}",
            ) from error
        reason = "there is not enough memory for it" if error.code == cv2.Error.StsNoMem else one_line(error.err)
        raise SourceError(f"cannot read image {path}: {reason}", value=path) from error


def _why_unreadable(path: Path) -> str:
    if path.is_file() and _is_recognised(path):
        return "it is damaged, cut short, or of a kind that OpenCV cannot decode"
    return "not a readable image"


def _is_recognised(path: Path) -> bool:
    """Whether the file begins as one of a format that OpenCV reads."""
    try:
        with path.open("rb") as file:
            # A name that OpenCV can be given, whatever the file's own is.
            return cv2.haveImageReader(str(path) if is_utf8(path) else f"/dev/fd/{file.fileno()}")
    except OSError:
        return False


def _first_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(max(map(len, COMMON_STARTS)))
    except OSError:
        return b""

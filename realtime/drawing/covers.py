"""What faces are hidden under. None of it can be undone: whatever is shown is made from a few blocks of mean colour."""

from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from realtime.drawing.cover_shapes import CoverShape
from realtime.errors import SourceError
from realtime.image_io import read_image

BLOCKS = 5
"""Blocks along the longer side of what is hidden, whatever its size: too few to recognize a face by. Of the face
itself, without its margin, there are three or four."""
MARGIN = 0.2
"""Margin that is hidden around a box, as a share of its longer side."""
IMAGE = "image:"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cover:
    """How a box is hidden."""

    how: str = "pixelate"
    """``pixelate``, ``blur``, ``solid``, or ``image:`` and the path of an image."""
    shape: CoverShape = CoverShape.BOX
    margin: float = MARGIN
    """Hidden around the box, as a share of its longer side."""
    _image: np.ndarray | None = field(default=None, init=False)
    """uint8 (H,W,4) BGRA."""

    def __post_init__(self) -> None:
        """
        Raises:
            ValueError: another way to hide, or a negative margin.
            SourceError: the image cannot be read.
        """  # noqa: D205
        object.__setattr__(self, "shape", CoverShape(self.shape))
        if not self.margin >= 0:
            raise ValueError(f"expected a margin of at least 0, found {self.margin}")
        if self.how.startswith(IMAGE) and self.how != IMAGE:
            object.__setattr__(self, "_image", _read(Path(self.how.removeprefix(IMAGE))))
        elif self.how not in ("pixelate", "blur", "solid"):
            raise ValueError(f"expected to hide with pixelate, blur, solid or image:FILE, found {self.how!r}")

    def put(self, canvas: np.ndarray, box: np.ndarray, extra: float = 0.0) -> None:
        """Hide a box (4,) xyxy in an image uint8 (H,W,3), in place; ``extra`` is added to the margin."""
        edge = (self.margin + extra) * float((box[2:] - box[:2]).max())
        height, width = canvas.shape[:2]
        outer = np.concatenate([np.floor(box[:2] - edge), np.ceil(box[2:] + edge)])
        # A box may reach far out of the image; of what cannot be seen, nothing depends on how far.
        x1, y1, x2, y2 = np.clip(outer, [-width, -height] * 2, [2 * width, 2 * height] * 2).astype(int).tolist()
        left, top, right, bottom = max(0, x1), max(0, y1), min(width, x2), min(height, y2)
        if left >= right or top >= bottom:
            return
        part = canvas[top:bottom, left:right]
        hidden = self._hidden(part, (x2 - x1, y2 - y1), (left - x1, top - y1))
        if self.shape is CoverShape.BOX:
            part[:] = hidden
        else:
            cv2.copyTo(hidden, _ellipse((x2 - x1, y2 - y1))[top - y1 : bottom - y1, left - x1 : right - x1], part)

    def _hidden(self, part: np.ndarray, size_wh: tuple[int, int], offset: tuple[int, int]) -> np.ndarray:
        """What is shown of ``part``, which lies at ``offset`` in the whole of ``size_wh``, in its place."""
        if self.how == "solid":
            return np.zeros_like(part)
        height, width = part.shape[:2]
        block_px = max(size_wh) / BLOCKS
        blocks_wh = max(1, round(width / block_px)), max(1, round(height / block_px))
        blocks = cv2.resize(part, blocks_wh, interpolation=cv2.INTER_AREA)
        smooth = cv2.INTER_LINEAR if self.how == "blur" else cv2.INTER_NEAREST
        coarse = cv2.resize(blocks, (width, height), interpolation=smooth)
        if self._image is None:
            return coarse
        x, y = offset
        over = cv2.resize(self._image, size_wh, interpolation=cv2.INTER_AREA)[y : y + height, x : x + width]
        opacity = over[..., 3:].astype(np.uint16)
        return ((over[..., :3] * opacity + coarse * (255 - opacity)) // 255).astype(np.uint8)


def _ellipse(size_wh: tuple[int, int]) -> np.ndarray:
    """Where the ellipse that is inscribed in a rectangle lies, uint8 (h,w), 0 or 255."""
    mask = np.zeros(size_wh[::-1], np.uint8)
    axes = (size_wh[0] + 1) // 2, (size_wh[1] + 1) // 2
    cv2.ellipse(mask, (size_wh[0] // 2, size_wh[1] // 2), axes, 0, 0, 360, 255, cv2.FILLED)
    return mask


def _read(path: Path) -> np.ndarray:
    """An image as uint8 (H,W,4) BGRA."""
    image = read_image(path, cv2.IMREAD_UNCHANGED)
    if image.dtype == np.uint16:
        image = (image >> 8).astype(np.uint8)
    if image.dtype != np.uint8 or (image.ndim == 3 and image.shape[2] not in (1, 3, 4)):
        message = f"cannot hide faces under {path}: expected 8 or 16 bits in one, three or four channels"
        raise SourceError(message, value=path)
    if image.ndim == 2 or image.shape[2] == 1:
        return cv2.cvtColor(image, cv2.COLOR_GRAY2BGRA)
    return image if image.shape[2] == 4 else cv2.cvtColor(image, cv2.COLOR_BGR2BGRA)

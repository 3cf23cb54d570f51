"""Close-ups of small faces, several in one input of the network."""

from dataclasses import dataclass, replace

import cv2
import numpy as np

from realtime.letterbox import PADDING_VALUE
from realtime.structures import Detections

COLUMNS = 2
"""Columns and rows of close-ups in an input: of 2x2, nine in ten faces show all their parts; of 3x3, seven in ten."""
SURROUNDINGS = 2.2
"""Side of a close-up in sides of the face: hair and shoulders tell a face from a wheel."""
MIRRORED_SURROUNDINGS = 3.0
"""Likewise where the close-up is mirrored: what is another picture to the network gives another opinion."""
MAX_ENLARGEMENT = 2.5


@dataclass(frozen=True, slots=True)
class CloseUps:
    """Up to four close-ups side by side."""

    image: np.ndarray
    """uint8 (H,W,3) BGR, of the size of the network's input."""
    cells: np.ndarray
    """(K,4) int64, where each lies in ``image``, xyxy px."""
    matrices: np.ndarray
    """(K,2,3) float64, from pixels of the frame to pixels of ``image`` as it is without mirror, without rotation."""
    is_mirrored: bool = False
    """Whether ``image`` as a whole is mirrored, left for right; cells and matrices are those without mirror."""

    @property
    def scales(self) -> np.ndarray:
        """(K,) float64, pixels of ``image`` in a pixel of the frame."""
        return self.matrices[:, 0, 0]

    @property
    def regions(self) -> np.ndarray:
        """(K,4) float64, what each shows, xyxy in pixels of the frame; it may reach beyond its edges."""
        shown: np.ndarray = (self.cells - np.tile(self.matrices[:, :, 2], 2)) / self.scales[:, None]
        return shown

    def split(self, found: Detections) -> list[Detections]:
        """What was found in each close-up, K of them, boxes in pixels of the frame; by the centres of the boxes."""
        if self.is_mirrored:
            found = found.with_boxes(mirrored(found.boxes, self.image.shape[1]))
        centres = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2
        parts = []
        for cell, matrix in zip(self.cells, self.matrices, strict=True):
            inside = ((cell[:2] <= centres) & (centres < cell[2:])).all(axis=1)
            part = found[inside]
            boxes = np.clip(part.boxes, np.tile(cell[:2], 2), np.tile(cell[2:], 2))
            boxes = (boxes - np.tile(matrix[:, 2], 2)) / matrix[0, 0]
            parts.append(part.with_boxes(boxes.astype(np.float32)))
        return parts


def mirrored(boxes: np.ndarray, width: int) -> np.ndarray:
    """Boxes (N,4) xyxy px where they are once an image of this width in pixels is mirrored, left for right."""
    x1, y1, x2, y2 = boxes.T
    return np.stack([width - x2, y1, width - x1, y2], axis=1)


def close_ups(
    image: np.ndarray, faces: np.ndarray, input_wh: tuple[int, int], *, are_mirrored: bool = False
) -> list[CloseUps]:
    """Cut close-ups of faces out of a frame and lay four at a time side by side.

    Args:
        image: uint8 (H,W,3) BGR.
        faces: (F,4) float, xyxy in pixels of ``image``.
        input_wh: width and height in pixels of the network's input.
        are_mirrored: mirror them, with wider surroundings, for a further opinion.

    Returns:
        As many as are needed; together they have F cells, in the order of ``faces``.
    """
    per_image = COLUMNS**2
    groups = [faces[i : i + per_image] for i in range(0, len(faces), per_image)]
    if not are_mirrored:
        return [_lay_out(image, group, input_wh, SURROUNDINGS) for group in groups]
    packs = [_lay_out(image, group, input_wh, MIRRORED_SURROUNDINGS) for group in groups]
    return [replace(pack, image=np.ascontiguousarray(pack.image[:, ::-1]), is_mirrored=True) for pack in packs]


def _lay_out(image: np.ndarray, faces: np.ndarray, input_wh: tuple[int, int], surroundings: float) -> CloseUps:
    canvas = np.full((input_wh[1], input_wh[0], 3), PADDING_VALUE, np.uint8)
    cell_wh = np.array(input_wh) // COLUMNS
    cells, matrices = [], []
    for i, face in enumerate(faces):
        corner = np.array([i % COLUMNS, i // COLUMNS]) * cell_wh
        side = float((face[2:] - face[:2]).max()) * surroundings
        scale = min(float(cell_wh.min()) / max(side, 1.0), MAX_ENLARGEMENT)
        shift = cell_wh / 2 - scale * (face[:2] + face[2:]) / 2
        x, y = corner
        _cut_out(image, scale, shift, canvas[y : y + cell_wh[1], x : x + cell_wh[0]])
        cells.append([*corner, *(corner + cell_wh)])
        matrices.append(np.column_stack([np.eye(2) * scale, shift + corner]))
    return CloseUps(canvas, np.array(cells), np.array(matrices))


def _cut_out(image: np.ndarray, scale: float, shift: np.ndarray, cell: np.ndarray) -> None:
    """Scale and shift an image into a cell, in place; what lies beyond the image stays as it is."""
    cell_wh = np.array(cell.shape[1::-1])
    size_wh = np.array(image.shape[1::-1])
    low = np.clip(np.floor(-shift / scale), 0, size_wh).astype(int)
    high = np.clip(np.ceil((cell_wh - shift) / scale), 0, size_wh).astype(int)
    if (high <= low).any():
        return
    part = image[low[1] : high[1], low[0] : high[0]]
    start = np.clip(np.round(scale * low + shift), 0, cell_wh - 1).astype(int)
    end = np.clip(np.round(scale * high + shift), start + 1, cell_wh).astype(int)
    wh = end - start
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    cell[start[1] : end[1], start[0] : end[0]] = cv2.resize(part, (int(wh[0]), int(wh[1])), interpolation=interpolation)

"""Near-duplicates: one photo in other colours, another size or quality, or mirrored.

Two images are compared by the correlation of their local contrast: grey, reduced, minus the local mean and divided by
the local deviation, which removes differences of colour and exposure.
"""

from collections.abc import Iterator, Sequence

import cv2
import numpy as np

SIDE_PX = 48
MEAN_SIGMA_PX, DEVIATION_SIGMA_PX = 3, 4
FLAT_LEVELS = 4
"""Grey levels of deviation below which a region counts as flat, so that noise is not amplified."""
MIN_CORRELATION = 0.92
"""Two images with at least this correlation are near-duplicates. Studio portraits of different people reach 0.87, the
copies found in real data sets 0.96 and more."""
CHUNK = 1024
CELL_PX = 4
"""Side of the squares whose means tell most images apart."""
ROUNDING = 1e-3
"""More than sums of float16 products differ by."""


def local_contrast(grey: np.ndarray) -> np.ndarray:
    """A descriptor of an image, for ``near_duplicates``.

    Args:
        grey: uint8 (H,W).

    Returns:
        (SIDE_PX,SIDE_PX) float16 with sum 0 and square sum 1; zeros for an image of one colour.
    """
    small = cv2.resize(grey, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA).astype(np.float32)
    small -= cv2.GaussianBlur(small, (0, 0), MEAN_SIGMA_PX)
    small /= np.sqrt(cv2.GaussianBlur(small * small, (0, 0), DEVIATION_SIGMA_PX)) + FLAT_LEVELS
    small -= small.mean()
    length = float(np.linalg.norm(small))
    return (small / length if length > 0 else small).astype(np.float16)


def near_duplicates(contrasts: Sequence[np.ndarray], others: Sequence[np.ndarray]) -> Iterator[tuple[int, int, float]]:
    """Find images with a near-duplicate among ``others``: index, index of the best match, correlation.

    Args:
        contrasts: descriptors of N images, each as ``local_contrast`` gives it.
        others: descriptors of the images to search.
    """
    if not contrasts or not others:
        return
    queries = np.stack(contrasts).astype(np.float32)
    rows = np.concatenate([queries.reshape(len(queries), -1), queries[:, :, ::-1].reshape(len(queries), -1)])
    best, where = np.full(len(queries), -1.0, np.float32), np.zeros(len(queries), np.int64)
    for start in range(0, len(others), CHUNK):
        columns = np.stack(others[start : start + CHUNK]).astype(np.float32).reshape(-1, SIDE_PX * SIDE_PX)
        correlation = (rows @ columns.T).reshape(2, len(queries), -1).max(axis=0)
        index = correlation.argmax(axis=1)
        value = correlation[np.arange(len(queries)), index]
        where = np.where(value > best, start + index, where)
        best = np.maximum(best, value)
    for i in np.flatnonzero(best >= MIN_CORRELATION):
        yield int(i), int(where[i]), float(best[i])


class SeenImages:
    """Images to which others are compared one by one. Finds what ``near_duplicates`` finds, in a sixteenth of the work.

    The means over cells are coordinates in an orthonormal basis of a part of the space of descriptors. By Cauchy and
    Schwarz, the correlation of two descriptors is at most that of these parts plus the product of the lengths of what
    is left. Only images for which this bound reaches ``MIN_CORRELATION`` are compared in full.
    """

    def __init__(self) -> None:
        self._contrasts: list[np.ndarray] = []
        self._bounds = np.empty((CHUNK, (SIDE_PX // CELL_PX) ** 2 + 1), np.float32)
        """Parts and lengths of the rest; as many rows as there are descriptors are in use."""

    def __len__(self) -> int:
        return len(self._contrasts)

    def add(self, contrast: np.ndarray) -> None:
        """Add the descriptor of an image, as ``local_contrast`` gives it."""
        count = len(self._contrasts)
        if count == len(self._bounds):
            self._bounds = np.concatenate([self._bounds, np.empty_like(self._bounds)])
        self._bounds[count] = _part_and_rest(contrast)
        self._contrasts.append(contrast)

    def has_near_duplicate(self, contrast: np.ndarray) -> bool:
        """Whether one of the images is a near-duplicate of that with this descriptor."""
        candidates = [self._contrasts[i] for i in self.candidates(contrast)]
        return any(near_duplicates([contrast], candidates))

    def candidates(self, contrast: np.ndarray) -> np.ndarray:
        """Indices, (K,) int64, of the images that may be near-duplicates."""
        queries = np.stack([_part_and_rest(contrast), _part_and_rest(contrast[:, ::-1])])
        bounds = (self._bounds[: len(self)] @ queries.T).max(axis=1)
        return np.flatnonzero(bounds >= MIN_CORRELATION - ROUNDING)


def _part_and_rest(contrast: np.ndarray) -> np.ndarray:
    """Coordinates of a descriptor's part in the basis of cells, and the length of what is left."""
    cells = SIDE_PX // CELL_PX
    whole = contrast.astype(np.float32)
    part = whole.reshape(cells, CELL_PX, cells, CELL_PX).sum(axis=(1, 3)).ravel() / CELL_PX
    rest = max(0.0, float((whole * whole).sum() - part @ part)) ** 0.5
    return np.append(part, np.float32(rest))

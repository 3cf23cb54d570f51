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

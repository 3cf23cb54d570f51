"""From landmarks and masks to boxes of face, eye, eyebrow, nose and mouth, by one rule.

The extent of the part plus a small pad (more vertically for the thin eyes and eyebrows); the face is the hull of all
points, its top raised to include part of the forehead.

By construction: a box always holds the part's points or mask; the hull of the 68 points reaches from the eyebrows to
the chin and from ear to ear, so its sides and bottom need no pad, only the top does;
the 68 points trace the *upper* edge of an eyebrow, so one that is too thin grows downwards.

By choice: every value in ``PADS``, ``LANDMARKS_WIDEN`` and ``FOREHEAD``. They are those of the data set that the
shipped detectors were trained on (measured on its labels that come from whole-pixel landmarks and from masks, to
0.01 px), so new labels can be mixed with that set. The 68 points mark neither the wings of the nose nor the ends of the
eyebrows; widening compensates for that. A 98-point (WFLW) markup is converted to the 68 points first: one face gives
(nearly) the same boxes in both.

Everything here is in pixels of the photo, with 0 at its upper left *edge*; boxes and extents are float64 xyxy.
"""

from dataclasses import dataclass

import numpy as np

CLASS_NAMES = ("face", "eye", "eyebrow", "nose", "mouth")
FACE, EYE, EYEBROW, NOSE, MOUTH = range(5)


@dataclass(frozen=True, slots=True)
class Pad:
    """Pad on each side of a part's extent, after its minimum height has been applied."""

    x_of_width: float
    y_of_height: float
    y_of_width: float = 0.0
    min_height: float = 0.0
    """Minimum height before padding, as a fraction of the width."""


PADS = {
    EYE: Pad(0.12, 0.10, 0.10, min_height=0.32),
    EYEBROW: Pad(0.10, 0.10, 0.07, min_height=0.27),
    NOSE: Pad(0.10, 0.08),
    MOUTH: Pad(0.10, 0.12, 0.02),
}
LANDMARKS_WIDEN = {EYEBROW: 1.12, NOSE: 1.30}
"""Factor of the width, about the centre, of parts whose landmarks do not reach their ends."""
FOREHEAD = 0.18
"""How far the top of a face is raised above the eyebrows, as a fraction of the distance from there to the chin."""
FOREHEAD_FROM_EYES = 0.35
"""As ``FOREHEAD``, but from the upper lid, for masks without an eyebrow; about the same top for an average face."""

PARTS_68 = ((EYEBROW, 17, 22), (EYEBROW, 22, 27), (NOSE, 27, 36), (EYE, 36, 42), (EYE, 42, 48), (MOUTH, 48, 68))
"""Class, first point and end of each part in the 68-point markup; 0 to 16 are the jaw."""
WFLW_68 = (
    *((i, i) for i in (*range(0, 33, 2), *range(33, 38), *range(42, 47), *range(51, 60))),
    *((60, 60), (61, 62), (62, 63), (64, 64), (65, 66), (66, 67)),
    *((68, 68), (69, 70), (70, 71), (72, 72), (73, 74), (74, 75)),
    *((i, i) for i in range(76, 96)),
)
"""For each of the 68 points the two of the 98 (WFLW) between which it lies. The 98 add jaw points, lower edges of the
eyebrows and pupils, and divide each lid into four parts instead of three."""


def boxes_of_landmarks(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Box one face.

    Args:
        points: (68,2) or (98,2), x and y in pixels.

    Returns:
        Boxes (N,4) float64 and classes (N,) int64, N = 7: the face, eyebrows, nose, eyes, mouth. A part of no width
        (one may be hidden in a full profile) is left out.

    Raises:
        ValueError: another number of points, or points that span no area.
    """
    if points.shape not in {(68, 2), (98, 2)}:
        raise ValueError(f"expected 68 or 98 points, found {len(points)}")
    points = points[np.array(WFLW_68)].mean(axis=1) if len(points) == 98 else points
    hull = extent_of(points)
    if hull[2] <= hull[0] or hull[3] <= hull[1]:
        raise ValueError("the points of the face span no area")
    parts = [(part, _widened(part, extent_of(points[first:end]))) for part, first, end in PARTS_68]
    return _boxed(raised(hull, FOREHEAD), parts)


def boxes_of_extents(skin: np.ndarray, parts: list[tuple[int, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Box one face from the extents of its masks.

    A mask of the skin holds the whole forehead, which landmarks do not see: the hull is that of the skin and the parts
    from the upper edge of the higher eyebrow down. Where hair hides both eyebrows, it begins at the highest eye
    (without eyes: at the nose, whose mask begins between the eyes) and is raised by more.

    Args:
        skin: extent (4,) of the skin.
        parts: class and extent (4,) of every other part that is visible.

    Returns:
        Boxes (N,4) float64 and classes (N,) int64, the face first.

    Raises:
        ValueError: without eyebrow, eye and nose, nothing separates the forehead from the face.
    """
    tops = {part: min(extent[1] for other, extent in parts if other == part) for part, _ in parts}
    upper = next((part for part in (EYEBROW, EYE, NOSE) if part in tops), None)
    if upper is None:
        raise ValueError(
            "neither an eyebrow, an eye nor a nose is visible: the forehead cannot be separated from the face"
        )
    corners = np.array([skin, *(extent for _, extent in parts)])
    hull = np.array([corners[:, 0].min(), tops[upper], corners[:, 2].max(), corners[:, 3].max()])
    return _boxed(raised(hull, FOREHEAD if upper == EYEBROW else FOREHEAD_FROM_EYES), parts)


def extent_of(points: np.ndarray) -> np.ndarray:
    """Extent (4,) of points (N,2)."""
    return np.concatenate([points.min(axis=0), points.max(axis=0)])


def raised(hull: np.ndarray, by: float) -> np.ndarray:
    """The hull (4,) with its top raised by a fraction of its height."""
    x1, y1, x2, y2 = hull
    return np.array([x1, y1 - by * (y2 - y1), x2, y2])


def padded(part: int, extent: np.ndarray) -> np.ndarray:
    """The box (4,) of a part by ``PADS``. An eye that is too thin grows both ways, an eyebrow downwards."""
    x1, y1, x2, y2 = extent
    pad, width = PADS[part], x2 - x1
    missing = max(0.0, pad.min_height * width - (y2 - y1))
    above = 0.0 if part == EYEBROW else missing / 2
    y1, y2 = y1 - above, y2 + missing - above
    pad_x, pad_y = pad.x_of_width * width, pad.y_of_height * (y2 - y1) + pad.y_of_width * width
    return np.array([x1 - pad_x, y1 - pad_y, x2 + pad_x, y2 + pad_y])


def _widened(part: int, extent: np.ndarray) -> np.ndarray:
    x1, y1, x2, y2 = extent
    margin = (LANDMARKS_WIDEN.get(part, 1.0) - 1) / 2 * (x2 - x1)
    return np.array([x1 - margin, y1, x2 + margin, y2])


def _boxed(face: np.ndarray, parts: list[tuple[int, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    boxes = np.array([face, *(padded(part, extent) for part, extent in parts)])
    classes = np.array([FACE, *(part for part, _ in parts)], np.int64)
    kept = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    return boxes[kept], classes[kept]

"""A synthetic face of average proportions, marked with 68 points (300-W) or 98 points (WFLW), and drawn.

Figures are in widths of the face, from the point between the ears.
"""

import cv2
import numpy as np


def landmarks_68(scale: float = 1.0, at: tuple[float, float] = (0.0, 0.0)) -> np.ndarray:
    """(68,2) float64: the face is ``scale`` px wide, ``at`` is the point between the ears."""
    lid = np.array([1, 2]) / 3
    return _placed([*_jaw(17), *_brows(), *_nose(), *_eye(-1, lid), *_eye(1, lid), *_mouth()], scale, at)


def landmarks_98(scale: float = 1.0, at: tuple[float, float] = (0.0, 0.0)) -> np.ndarray:
    """(98,2) float64: the same face in WFLW's markup."""
    lid = np.array([1, 2, 3]) / 4
    upper, lower = _brows(), [(x, y + 0.05) for x, y in _brows()]
    # Upper edge left to right, lower edge right to left without its outer end.
    brows = [*upper[:5], *lower[4:0:-1], *upper[5:], *lower[8:4:-1]]
    eyes = [_eye(side, lid) for side in (-1, 1)]
    pupils = [np.mean(eye, axis=0) for eye in eyes]
    return _placed([*_jaw(33), *brows, *_nose(), *eyes[0], *eyes[1], *_mouth(), *pupils], scale, at)


def draw_face(image: np.ndarray, points: np.ndarray) -> None:
    """Draw a face of 68 points into a uint8 (H,W,3) image."""
    for first, end, closed, colour in (
        (0, 17, False, 60), (17, 22, False, 90), (22, 27, False, 90), (27, 31, False, 160),
        (31, 36, False, 160), (36, 42, True, 40), (42, 48, True, 40), (48, 60, True, 120), (60, 68, True, 120),
    ):  # fmt: skip
        cv2.polylines(image, [np.round(points[first:end]).astype(np.int32)], closed, (colour,) * 3, 2)


def pts_text(points: np.ndarray) -> str:
    """A .pts file of points (N,2) in pixels from the photo's edge: MATLAB's pixel centres start at 1."""
    lines = "".join(f"{x + 0.5:.3f} {y + 0.5:.3f}\n" for x, y in points)
    return f"version: 1\nn_points:  {len(points)}\n{{\n{lines}}}\n"


def wflw_line(points: np.ndarray, name: str) -> str:
    """A line of a WFLW list for points (98,2) in pixels from the photo's edge."""
    numbers = " ".join(f"{v:.3f}" for v in (points - 0.5).ravel())
    return f"{numbers} 10 20 30 40 0 0 1 0 0 0 {name}\n"


def _placed(points: list, scale: float, at: tuple[float, float]) -> np.ndarray:
    return np.array(points, np.float64) * scale + at


def _jaw(count: int) -> list:
    turn = np.pi * np.linspace(0, 1, count)
    return [(-0.5 * np.cos(t), 0.81 * np.sin(t) ** 0.8) for t in turn]


def _brows() -> list:
    """Upper edges, left to right in the image."""
    along = np.linspace(0, 1, 5)
    return [_brow(-1, s) for s in along] + [_brow(1, s) for s in along[::-1]]


def _brow(side: int, s: float) -> tuple[float, float]:
    """``s`` runs from the outer end to the inner."""
    return side * (0.405 - 0.31 * s), -0.105 - 0.065 * np.sin(np.pi * s)


def _nose() -> list:
    bridge = [(0, y) for y in np.linspace(-0.023, 0.24, 4)]
    return [*bridge, *((x, 0.331 - 0.034 * (x / 0.097) ** 2) for x in np.linspace(-0.097, 0.097, 5))]


def _eye(side: int, lid: np.ndarray) -> list:
    """The left corner, the upper lid, the right corner, the lower lid from right to left."""
    centre, half = side * 0.2205, 0.085
    upper = [(centre - half + 2 * half * s, -0.011 - 0.044 * np.sin(np.pi * s)) for s in lid]
    lower = [(centre - half + 2 * half * s, -0.011 + 0.026 * np.sin(np.pi * s)) for s in lid[::-1]]
    return [(centre - half, -0.011), *upper, (centre + half, -0.011), *lower]


def _mouth() -> list:
    def ring(half: float, up: float, down: float, count: int) -> list:
        turn = np.pi * np.linspace(0, 1, count + 2)
        upper = [(-half * np.cos(t), 0.46 - up * np.sin(t)) for t in turn]
        return upper + [(half * np.cos(t), 0.46 + down * np.sin(t)) for t in turn[1:-1]]

    return [*ring(0.2, 0.055, 0.1, 5), *ring(0.17, 0.01, 0.035, 3)]

"""Affine maps of images and boxes. Images are uint8 (H,W,3) RGB; boxes are (N,4) float32 xyxy pixels."""

import math

import cv2
import numpy as np


def transform_boxes(boxes: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Map boxes (N,4) xyxy through an affine map (2,3).

    The result bounds the ellipse inscribed in the mapped box, not its corners: face parts are round, and the corners
    of a rotated box would bound a good deal of background. Without rotation both are the same.
    """
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2 @ matrix[:, :2].T + matrix[:, 2]
    halves = np.sqrt(((boxes[:, 2:] - boxes[:, :2]) / 2) ** 2 @ (matrix[:, :2] ** 2).T)
    return np.concatenate([centres - halves, centres + halves], axis=1).astype(np.float32)


def warp_onto(canvas: np.ndarray, image: np.ndarray, matrix: np.ndarray) -> None:
    """Draw ``image`` onto ``canvas`` (uint8 (H,W,3), changed in place) through the 2x3 map ``matrix``."""
    shrink = math.sqrt(abs(np.linalg.det(matrix[:, :2])))
    if shrink < 0.6:  # bilinear sampling would alias: average first
        factor = shrink * 1.2
        reduced_wh = max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor))
        reduced = cv2.resize(image, reduced_wh, interpolation=cv2.INTER_AREA)
        back = np.diag([image.shape[1] / reduced.shape[1], image.shape[0] / reduced.shape[0]])
        image, matrix = reduced, np.column_stack([matrix[:, :2] @ back, matrix[:, 2]])
    wh = canvas.shape[1], canvas.shape[0]
    cv2.warpAffine(
        image, about_pixel_centres(matrix), wh, dst=canvas, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_TRANSPARENT
    )


def about_pixel_centres(matrix: np.ndarray) -> np.ndarray:
    """The 2x3 map in OpenCV's coordinates (centre of pixel 0 at 0) from that of boxes (centre of pixel 0 at 0.5)."""
    return np.column_stack([matrix[:, :2], matrix[:, 2] + matrix[:, :2] @ [0.5, 0.5] - 0.5])


def outermost(boxes: np.ndarray) -> np.ndarray:
    """Those of boxes (N,4) xyxy whose centre is in no larger box: faces, not their parts. At least one."""
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    inside = ((boxes[:, None, :2] <= centres) & (centres <= boxes[:, None, 2:])).all(axis=2)
    in_larger = (inside & (areas[:, None] > areas)).any(axis=0)
    found: np.ndarray = boxes[~in_larger]
    return found

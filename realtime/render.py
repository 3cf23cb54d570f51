"""Drawing detections onto a picture."""

import cv2
import numpy as np

from realtime.structures import Detections

# Okabe and Ito's palette, told apart by the colour-blind too; BGR.
PALETTE_BGR = (
    (115, 158, 0), (233, 180, 86), (0, 159, 230), (167, 121, 204), (0, 94, 213), (66, 228, 240), (178, 114, 0),
)  # fmt: skip
FONT = cv2.FONT_HERSHEY_SIMPLEX


def draw(image: np.ndarray, detections: Detections, class_names: tuple[str, ...]) -> np.ndarray:
    """Draw boxes with name and score; lines and letters grow with the picture.

    Args:
        image: uint8 (H,W,3), BGR; left as it is.
        detections: boxes in pixels of ``image``.
        class_names: names by label.

    Returns:
        A new picture of the same shape.
    """
    canvas = image.copy()
    thickness = max(2, round(min(image.shape[:2]) / 300))
    font_scale = max(0.35, min(image.shape[:2]) / 1200)
    # Large boxes first and labels last, so that the small parts of a face stay readable.
    order = np.argsort(-np.prod(detections.boxes[:, 2:] - detections.boxes[:, :2], axis=1)).tolist()
    corners = np.rint(detections.boxes).astype(int).tolist()
    colours = [PALETTE_BGR[label % len(PALETTE_BGR)] for label in detections.labels.tolist()]
    for i in order:
        x1, y1, x2, y2 = corners[i]
        cv2.rectangle(canvas, (x1, y1), (x2, y2), (0, 0, 0), thickness + 1)  # dark rim: visible on light pictures
        cv2.rectangle(canvas, (x1, y1), (x2, y2), colours[i], thickness)
    for i in order:
        text = f"{class_names[detections.labels[i]]} {100 * detections.scores[i]:.0f}"
        _draw_label(canvas, text, (corners[i][0], corners[i][1]), colours[i], font_scale)
    return canvas


def draw_status(canvas: np.ndarray, text: str) -> None:
    """Write a line of status into the upper left corner of ``canvas``, in place."""
    _draw_label(canvas, text, (0, 0), (255, 255, 255), max(0.4, min(canvas.shape[:2]) / 900))


def _draw_label(
    canvas: np.ndarray, text: str, corner: tuple[int, int], colour: tuple[int, int, int], font_scale: float
) -> None:
    """Black text on a coloured ground above ``corner``, or below it where there is no room."""
    (width, height), baseline = cv2.getTextSize(text, FONT, font_scale, 1)
    x = max(0, min(corner[0], canvas.shape[1] - width))
    bottom = corner[1] if corner[1] >= height + baseline else corner[1] + height + baseline
    cv2.rectangle(canvas, (x, bottom - height - baseline), (x + width, bottom), colour, cv2.FILLED)
    cv2.putText(canvas, text, (x, bottom - baseline // 2 - 1), FONT, font_scale, (0, 0, 0), 1, cv2.LINE_AA)

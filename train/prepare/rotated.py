"""The upright box around a rotated one."""

import math

Box = tuple[float, float, float, float]
"""xyxy"""


def upright_box(box: Box, degrees: float, pivot: tuple[float, float]) -> list[float]:
    """The box around ``box`` when that is rotated.

    Args:
        box: xyxy.
        degrees: clockwise, as it is seen in an image.
        pivot: the point about which it is rotated, in the units of the box.

    Returns:
        xyxy.
    """
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    x1, y1, x2, y2 = box
    offsets = [(x - pivot[0], y - pivot[1]) for x in (x1, x2) for y in (y1, y2)]
    xs = [pivot[0] + dx * cos - dy * sin for dx, dy in offsets]
    ys = [pivot[1] + dx * sin + dy * cos for dx, dy in offsets]
    return [min(xs), min(ys), max(xs), max(ys)]

"""How detections are drawn: what the user may choose."""

from dataclasses import dataclass
from enum import StrEnum


class Shape(StrEnum):
    """What is drawn where something is found."""

    BOXES = "boxes"
    """A box around each face and each feature."""
    CORNERS = "corners"
    """The corners of a box around each face, thinner boxes around its features."""
    OUTLINE = "outline"
    """An ellipse in each box."""
    DOTS = "dots"
    """A dot at the centre of each feature, and the corners of a box around each face."""
    MINIMAL = "minimal"
    """The corners of a box around each face; features are not drawn."""


class Labels(StrEnum):
    """What is written beside it."""

    FULL = "full"
    """Name and score of each face and each feature."""
    FACE = "face"
    """One tag a face, with its number and score."""
    NONE = "none"


MIN_LINE_PX = 2
"""Video stores colours at half the resolution: a thinner line loses its colour."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """How detections are drawn. Sizes go by the image, and small faces get less than large ones."""

    shape: Shape = Shape.CORNERS
    labels: Labels = Labels.FACE
    line_px: int | None = None
    """Width of the lines in pixels, at least 2; None for one that suits the image."""
    font_scale: float = 1.0
    """Size of the letters, relative to the one that suits the image."""
    fill: bool = False
    """Tint features softly in their colours, in place of lines around them."""
    sides: bool = False
    """Write "left eye" and "right eye"; left and right are the person's own."""

    def __post_init__(self) -> None:
        if self.line_px is not None and self.line_px < MIN_LINE_PX:
            raise ValueError(f"expected lines of at least {MIN_LINE_PX} pixels, found {self.line_px}")
        if not 0 < self.font_scale <= 10:
            raise ValueError(f"expected a font scale above 0 and up to 10, found {self.font_scale}")
        # Their names will do.
        object.__setattr__(self, "shape", Shape(self.shape))
        object.__setattr__(self, "labels", Labels(self.labels))

"""The outline of what is hidden."""

from enum import StrEnum


class CoverShape(StrEnum):
    """The outline of what is hidden."""

    BOX = "box"
    ELLIPSE = "ellipse"
    """Inscribed in the box with its margin."""

"""What is to be drawn of each detection."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from realtime.drawing import text
from realtime.drawing.colours import Colour, colour_of
from realtime.structures import FACE, NO_FACE, NO_PART, PARTS, Box, Detections

FEATURES = frozenset(part.rpartition("_")[2] for part in PARTS[1:])
"""Names of their classes."""


@dataclass(frozen=True, slots=True)
class Mark:
    """One detection, ready to be drawn."""

    box: Box
    """xyxy in pixels."""
    name: str
    """Written as it is: pass foreign text through ``text.drawable`` first."""
    score: float
    """0..1"""
    colour: Colour
    face_id: int = NO_FACE
    """The face that it is, or belongs to; 0 for none."""
    part: int = NO_PART
    """Index into ``PARTS``; -1 for none."""
    whole_box: Box | None = None
    """The box of its face, of which a feature is a part; None for what is no feature."""
    is_stray: bool = False
    """A feature that belongs to no face, of a model that finds faces."""

    @property
    def is_feature(self) -> bool:
        """A part of a face, known or not."""
        return self.part > FACE or self.is_stray

    @property
    def side_px(self) -> float:
        """Shorter side, of the face for its features, by which it is decided how much can be drawn."""
        x1, y1, x2, y2 = self.whole_box or self.box
        return min(x2 - x1, y2 - y1)

    def scaled(self, factor: float) -> "Mark":
        """For an image scaled by ``factor``."""

        def scale(box: Box) -> Box:
            return box[0] * factor, box[1] * factor, box[2] * factor, box[3] * factor

        return replace(self, box=scale(self.box), whole_box=scale(self.whole_box) if self.whole_box else None)

    def mirrored(self, width: float) -> "Mark":
        """For the mirror image, ``width`` pixels wide; the name stays: a left eye is its owner's left."""

        def mirror(box: Box) -> Box:
            return width - box[2], box[1], width - box[0], box[3]

        return replace(self, box=mirror(self.box), whole_box=mirror(self.whole_box) if self.whole_box else None)


def feature_labels(class_names: Sequence[str]) -> frozenset[int]:
    """Labels of the parts of faces, for a model that finds faces too; names count in any case."""
    names = [name.lower() for name in class_names]
    return frozenset(names.index(kind) for kind in FEATURES if kind in names) if "face" in names else frozenset()


def marks_of(detections: Detections, hidden: Collection[int] = (), *, sides: bool = False) -> list[Mark]:
    """A mark for each detection, in the colour of its class; none for those of ``hidden`` labels.

    ``sides`` names features "left eye" and "right eye" where they belong to a face.
    """
    boxes: list[Box] = [(x1, y1, x2, y2) for x1, y1, x2, y2 in detections.boxes.tolist()]
    ids, parts = detections.face_ids.tolist(), detections.parts.tolist()
    faces = {face_id: box for face_id, box, part in zip(ids, boxes, parts, strict=True) if part == FACE}
    features = feature_labels(detections.class_names)
    rows = zip(boxes, detections.names, detections.scores.tolist(), detections.labels.tolist(), ids, parts, strict=True)
    return [
        Mark(
            box,
            PARTS[part].replace("_", " ") if sides and part > FACE else text.drawable(name),
            score,
            colour_of(label),
            face_id,
            part,
            faces.get(face_id) if part > FACE else None,
            is_stray=part == NO_PART and label in features,
        )
        for box, name, score, label, face_id, part in rows
        if label not in hidden
    ]

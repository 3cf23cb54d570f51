"""Which detections are the parts of which face."""

from realtime.structures import Result


def parts_of_faces(result: Result) -> dict[int, tuple[int, str]]:
    """Number of the face and name of the part, such as ``left_eye`` or ``face``, by position among the detections.

    Detections that belong to no face are left out.
    """
    named = {}
    for face in getattr(result, "faces", ()):
        named[_key(face.box)] = face.id, "face"
        named |= {_key(feature.box): (face.id, name) for name, feature in face.features.items()}
    boxes = [_key(box) for box in result.detections.boxes.tolist()]
    return {i: named[box] for i, box in enumerate(boxes) if box in named}


def _key(box: "tuple[float, ...] | list[float]") -> tuple[float, ...]:
    return tuple(round(value, 2) for value in box)

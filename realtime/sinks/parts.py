"""Which detections are the parts of which face."""

from collections.abc import Sequence

from realtime.structures import Result


def parts_of_faces(result: Result, class_names: Sequence[str]) -> dict[int, tuple[int, str]]:
    """Number of the face and name of the part, such as ``left_eye`` or ``face``, by position among the detections.

    Detections that belong to no face are left out.
    """
    named = {}
    for face in result.faces:
        named["face", face.box] = face.id, "face"
        named |= {(name.rpartition("_")[2], part.box): (face.id, name) for name, part in face.features.items()}
    found = result.detections
    kinds = [class_names[label].lower() for label in found.labels.tolist()]
    keys = list(zip(kinds, map(tuple, found.boxes.tolist()), strict=True))
    return {i: named[key] for i, key in enumerate(keys) if key in named}

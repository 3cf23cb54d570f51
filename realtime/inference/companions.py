"""Companions of a model: networks of files of their own, with other inputs."""

from enum import StrEnum
from pathlib import Path

from realtime.errors import ModelError, Remedy
from realtime.inference.onnx_file import read_metadata_props
from realtime.metadata import ModelMetadata

TRAINING = ("train_sha256", "images_seen", "epoch")
"""Entries of ``ModelMetadata.training`` by which weights are known."""


class Companion(StrEnum):
    """What a companion is for; its value is the end of its file's name."""

    WIDE = "wide"
    """Tiles, in an input of several times the pixels."""
    NARROW = "narrow"
    """Near faces that are followed live, in a smaller input."""


def companion_name(model: Path, kind: Companion) -> Path:
    """What the companion of a model is called: ``mine-wide.onnx`` beside ``mine.onnx``."""
    return model.with_name(f"{model.stem}-{kind}{model.suffix}")


def is_companion(model: Path) -> bool:
    """Whether a file has the name of a companion."""
    return model.stem.endswith(tuple(f"-{kind}" for kind in Companion))


def read_companion(path: Path, kind: Companion, model: Path, metadata: ModelMetadata) -> ModelMetadata:
    """The metadata of the companion of a model.

    It holds the same weights, or is a specialist.

    Args:
        path: the companion.
        kind: what it is for.
        model: the model, for messages.
        metadata: of the model.

    Raises:
        ModelError: it cannot be read, or holds other weights.
    """
    try:
        found = ModelMetadata.from_props(read_metadata_props(path), str(path))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read: {error}", value=path) from error
    if not is_specialist(found, kind, metadata) and _weights(found) != _weights(metadata):
        remedy = Remedy("export both together, or delete it", tool="export", target=str(path))
        raise ModelError(f"{path}: holds other weights than {model.name}", value=path, remedy=remedy)
    return found


def is_specialist(companion: ModelMetadata, kind: Companion, model: ModelMetadata) -> bool:
    """Whether a companion is a detector of its own: for tiles, and for the faces alone of a model of more classes.

    The model looks again at what it finds.
    """
    finds_faces = [name.lower() for name in companion.class_names] == ["face"]
    return kind is Companion.WIDE and finds_faces and set(companion.class_names) < set(model.class_names)


def _weights(metadata: ModelMetadata) -> tuple[object, ...]:
    return metadata.class_names, *(metadata.training.get(key) for key in TRAINING)

"""The wide companion of a model: the same weights in a file of its own, with a wider input, for tiles."""

from pathlib import Path

from realtime.errors import ModelError, Remedy
from realtime.inference.onnx_file import read_metadata_props
from realtime.metadata import ModelMetadata

SUFFIX = "-wide"
TRAINING = ("train_sha256", "images_seen", "epoch")
"""Entries of ``ModelMetadata.training`` by which weights are known."""


def wide_name(model: Path) -> Path:
    """What the companion of a model is called: ``mine-wide.onnx`` beside ``mine.onnx``."""
    return model.with_name(f"{model.stem}{SUFFIX}{model.suffix}")


def is_companion(model: Path) -> bool:
    """Whether a file has the name of a companion."""
    return model.stem.endswith(SUFFIX)


def read_wide(path: Path, model: Path, metadata: ModelMetadata) -> ModelMetadata:
    """The metadata of the companion of a model.

    Args:
        path: the companion.
        model: the model, for messages.
        metadata: of the model.

    Raises:
        ModelError: it cannot be read, or holds other weights.
    """
    try:
        found = ModelMetadata.from_props(read_metadata_props(path), str(path))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read: {error}", value=path) from error
    if _weights(found) != _weights(metadata):
        remedy = Remedy("export both together, or delete it", tool="export", target=str(path))
        raise ModelError(f"{path}: holds other weights than {model.name}", value=path, remedy=remedy)
    return found


def _weights(metadata: ModelMetadata) -> tuple[object, ...]:
    return metadata.class_names, *(metadata.training.get(key) for key in TRAINING)

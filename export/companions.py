"""Companions of a model: the same weights with other inputs, or for tiles those of a specialist.

The wide one has four times the pixels, for tiles of large images. A network of this size costs less for each pixel than
several small looks, since the work after the convolutions hardly grows. The narrow one has half the pixels, for faces
that are followed live: a face in a part of the frame needs few pixels and few proposals.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import onnx

from export.calibration import move, put_calibration, read_model
from export.static import Budget
from export.to_onnx import export_onnx
from export.verify import Differences
from realtime.errors import ModelError
from realtime.inference.companions import Companion, companion_name, is_specialist, read_companion
from realtime.inference.detector import companion_file
from realtime.metadata import ModelMetadata
from train.models.calibration import Calibration
from train.models.checkpoint import Checkpoint
from train.models.onnx_weights import read_onnx

WIDE_WH = (640, 384)
"""Width and height in pixels of the wide input."""
WIDE_BUDGET, WIDE_DETECTIONS = Budget(proposals=200), 200
"""A tile may show more faces than a near look. Twice as many proposals of nearly three times the candidates find one
more face in twenty in photos of crowds, in nearly twice the time; smaller tiles find more in that."""
MIN_GAIN = 2.0
"""The wide companion of a model whose input has more than this part of its pixels gains too little."""
NARROW_SHARE = 0.75
"""Of each side of the model's input, rounded down to whole ``STEP_PX``; ``pico`` is this of ``nano``."""
NARROW_BUDGET = Budget(proposals=48, pre_nms=96)
STEP_PX, MIN_SIDE_PX = 32, 128


def companion_inputs(model_wh: tuple[int, int]) -> dict[Companion, tuple[int, int]]:
    """Width and height in pixels of the inputs of those companions by which a model with this input gains."""
    return {kind: size_wh for kind in Companion if (size_wh := _input_of(kind, model_wh))}


def _input_of(kind: Companion, model_wh: tuple[int, int]) -> tuple[int, int] | None:
    width, height = model_wh
    if kind is Companion.WIDE:
        return WIDE_WH if width * height * MIN_GAIN <= WIDE_WH[0] * WIDE_WH[1] else None
    narrow_wh = (_narrower(width), _narrower(height))
    return narrow_wh if min(narrow_wh) >= MIN_SIDE_PX else None


def _narrower(side: int) -> int:
    return int(side * NARROW_SHARE) // STEP_PX * STEP_PX


def checkpoint_of_companion(kind: Companion, source: Path, checkpoint: Checkpoint) -> Checkpoint:
    """What the companion of an export of a model is made of.

    Args:
        kind: of the companion.
        source: the file of the model, a checkpoint or an ONNX file.
        checkpoint: that was read from it.

    Returns:
        The specialist beside an ONNX file that has one, else the model itself.

    Raises:
        ExportError: a file cannot be read.
        TrainError: the specialist has no float32 weights.
    """
    path = companion_file(source, kind) if source.suffix == ".onnx" else None
    if path is None or not is_specialist(read_model(path)[1], kind, read_model(source)[1]):
        return checkpoint
    return read_exported(path)[0]


def read_exported(path: Path) -> tuple[Checkpoint, ModelMetadata]:
    """A detector from an ONNX file, to be exported with the same least score, and the metadata of the file.

    Raises:
        ExportError: the file cannot be read, or is not of this project.
        TrainError: it has no float32 weights.
    """
    _, metadata = read_model(path)
    checkpoint = read_onnx(path)
    config = replace(checkpoint.config, model_options={"box_score_thresh": metadata.min_score})
    return replace(checkpoint, config=config), metadata


def export_companion(
    kind: Companion,
    checkpoint: Checkpoint,
    model: Path,
    *,
    size_wh: tuple[int, int],
    images: Sequence[Path],
    half: bool = False,
) -> tuple[Path, Differences]:
    """Write a companion of a model that was exported to ``model``, and verify it.

    Args:
        kind: which.
        checkpoint: of the companion, see ``checkpoint_of_companion``.
        model: ONNX file of the model; the companion is written beside it, with its name.
        size_wh: of the companion, see ``companion_inputs``.
        images: photos to verify on.
        half: layers with weights in float16.

    Returns:
        The file that was written, and how it differs from the checkpoint.

    Raises:
        ExportError: as ``export_onnx``.
    """
    out = companion_name(model, kind)
    try:
        read_companion(out, kind, model, read_model(model)[1])
    except ModelError:  # if the export fails, none is better than one of other weights, which the app refuses
        out.unlink(missing_ok=True)
    budget = NARROW_BUDGET
    if kind is Companion.WIDE:
        budget = WIDE_BUDGET
        options = checkpoint.config.model_options | {"box_detections_per_img": WIDE_DETECTIONS}
        checkpoint = replace(checkpoint, config=replace(checkpoint.config, model_options=options))
    return out, export_onnx(checkpoint, out, size_wh=size_wh, images=images, half=half, budget=budget)


def calibrate_companion(companion: Path, kind: Companion, model: Path) -> tuple[Path, bool]:
    """Write a companion of a model again with the calibration of the model, or as it is if it is a specialist.

    Args:
        companion: to be read.
        kind: which it is.
        model: ONNX file; the companion is written beside it.

    Returns:
        The file, and whether it was calibrated.

    Raises:
        ExportError: a file cannot be read or written.
    """
    out = companion_name(model, kind)
    _, metadata = read_model(model)
    proto, old = read_model(companion)
    if is_specialist(old, kind, metadata):
        move(companion, out)
        return out, False
    calibration = Calibration.from_dict(metadata.calibration) if metadata.calibration else None
    put_calibration(proto, calibration)
    updated = replace(old, calibration=metadata.calibration, threshold=metadata.threshold, training=metadata.training)
    onnx.helper.set_model_props(proto, updated.to_props())
    with tempfile.TemporaryDirectory() as folder:
        onnx.save(proto, new := Path(folder) / out.name)
        move(new, out)
    return out, True

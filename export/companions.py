"""Companions of a model: the same weights with other inputs.

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
from realtime.inference.companions import Companion, companion_name
from train.models.calibration import Calibration
from train.models.checkpoint import Checkpoint

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
        checkpoint: what the model was exported from.
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
    out.unlink(missing_ok=True)  # if this fails, none is better than one of other weights, which the app refuses
    budget = NARROW_BUDGET
    if kind is Companion.WIDE:
        budget = WIDE_BUDGET
        options = checkpoint.config.model_options | {"box_detections_per_img": WIDE_DETECTIONS}
        checkpoint = replace(checkpoint, config=replace(checkpoint.config, model_options=options))
    return out, export_onnx(checkpoint, out, size_wh=size_wh, images=images, half=half, budget=budget)


def calibrate_companion(companion: Path, kind: Companion, model: Path) -> Path:
    """Write a companion of a model again with the calibration of the model.

    Args:
        companion: to be read.
        kind: which it is.
        model: ONNX file; the companion is written beside it.

    Raises:
        ExportError: a file cannot be read or written.
    """
    _, metadata = read_model(model)
    proto, old = read_model(companion)
    calibration = Calibration.from_dict(metadata.calibration) if metadata.calibration else None
    put_calibration(proto, calibration)
    updated = replace(old, calibration=metadata.calibration, threshold=metadata.threshold, training=metadata.training)
    onnx.helper.set_model_props(proto, updated.to_props())
    out = companion_name(model, kind)
    with tempfile.TemporaryDirectory() as folder:
        onnx.save(proto, new := Path(folder) / out.name)
        move(new, out)
    return out

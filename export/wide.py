"""The wide companion of a model: the same weights with an input of four times the pixels, for tiles of large images.

A network of this size costs less for each pixel than several small looks, since the work after the convolutions hardly
grows.
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
from realtime.inference.wide import wide_name
from train.models.calibration import Calibration
from train.models.checkpoint import Checkpoint

WIDE_WH = (640, 384)
"""Width and height in pixels of its input."""
BUDGET, DETECTIONS = Budget(proposals=200), 200
"""A tile may show more faces than a near look. Twice as many proposals of nearly three times the candidates find one
more face in twenty in photos of crowds, in nearly twice the time; smaller tiles find more in that."""
LEAST_GAIN = 2.0
"""An input of more than this part of its pixels gains too little by a companion."""


def export_wide(
    checkpoint: Checkpoint, model: Path, *, images: Sequence[Path], half: bool = False
) -> tuple[Path, Differences]:
    """Write the companion of a model that was exported to ``model``, and verify it.

    Args:
        checkpoint: what the model was exported from.
        model: ONNX file of the model; the companion is written beside it, with its name.
        images: photos to verify on.
        half: layers with weights in float16.

    Returns:
        The file that was written, and how it differs from the checkpoint.

    Raises:
        ExportError: as ``export_onnx``.
    """
    options = checkpoint.config.model_options | {"box_detections_per_img": DETECTIONS}
    wide = replace(checkpoint, config=replace(checkpoint.config, model_options=options))
    out = wide_name(model)
    out.unlink(missing_ok=True)  # if this fails, none is better than one of other weights, which the app refuses
    return out, export_onnx(wide, out, size_wh=WIDE_WH, images=images, half=half, budget=BUDGET)


def is_of_use(input_wh: tuple[int, int]) -> bool:
    """Whether a model with an input of that width and height gains by a companion."""
    return input_wh[0] * input_wh[1] * LEAST_GAIN <= WIDE_WH[0] * WIDE_WH[1]


def calibrate_wide(companion: Path, model: Path) -> Path:
    """Write the companion of a model again with the calibration of the model.

    Args:
        companion: to be read.
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
    out = wide_name(model)
    with tempfile.TemporaryDirectory() as folder:
        onnx.save(proto, new := Path(folder) / out.name)
        move(new, out)
    return out

"""Checkpoint in, verified ONNX file out."""

import copy
import logging
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import torch

from export.calibration import put_calibration
from export.errors import ExportError
from export.short_tail import ShortFasterRCNN
from export.static import Budget, StaticFasterRCNN
from export.verify import (
    EXACT,
    FLOAT16_TOLERANCE,
    STEEPNESS,
    Differences,
    check_static,
    compare,
    network_input,
    reference_detections,
)
from realtime.letterbox import PADDING_VALUE
from realtime.metadata import INPUT_NAME, MAX_SIDE_PX, OUTPUT_NAMES, ModelMetadata
from train.models.architectures import SIZE_MULTIPLE_PX
from train.models.checkpoint import Checkpoint

OPSET = 18
EVERYTHING = Budget()


def export_onnx(
    checkpoint: Checkpoint,
    out: Path,
    *,
    size_wh: tuple[int, int],
    images: Sequence[Path],
    half: bool = False,
    batch: int = 1,
    budget: Budget = EVERYTHING,
    short_tail: bool = False,
) -> Differences:
    """Write ``out``: the detector as one fixed-shape graph, with its metadata, verified against the checkpoint.

    Args:
        checkpoint: what to export.
        out: ONNX file; replaced only once the new one has been verified.
        size_wh: width and height in pixels of the input.
        images: photos to verify on.
        half: layers with weights in float16, for GPUs; coordinates, order and suppression stay float32.
        batch: images in one run of the graph.
        budget: where the graph is to do less than the model.
        short_tail: as few operations as possible after the network, for GPUs; see ``export.short_tail``. As with a
            budget of rounds, the graph is then another function than the model, and verified against the same in torch.

    Raises:
        ExportError: the folder is missing, the size unsuitable, or the result differs.
        DivergedModelError: the model's training diverged.
    """
    width, height = size_wh
    if min(size_wh) < 2 * SIZE_MULTIPLE_PX or width % SIZE_MULTIPLE_PX or height % SIZE_MULTIPLE_PX:
        raise ExportError(f"--size {width}x{height}: both sides must be multiples of {SIZE_MULTIPLE_PX}, 64 or more")
    if max(size_wh) > MAX_SIDE_PX:
        raise ExportError(f"--size {width}x{height}: the app takes sides up to {MAX_SIDE_PX}")
    if batch * width * height > MAX_SIDE_PX**2:
        most = MAX_SIDE_PX**2 // (width * height)
        raise ExportError(f"--batch {batch}: of {width}x{height}, the app takes up to {most} in a run")
    if not out.parent.is_dir():
        raise ExportError(f"cannot write {out}: folder {out.parent} does not exist")
    if out.suffix != ".onnx" or out.is_dir():
        raise ExportError(f"cannot write {out}: use the name of a file that ends in .onnx")
    _check_folder(out)
    model = _with_proposals(checkpoint, budget).build()
    reference_detections(model, network_input(images[0], size_wh))  # a model that diverged is refused here
    make = ShortFasterRCNN if short_tail else StaticFasterRCNN
    static = make(model, (height, width), budget).eval()
    reference = copy.deepcopy(static) if short_tail or budget.rounds else model
    static.freeze(torch.from_numpy(network_input(path, size_wh)) for path in images)
    if half:
        static.to_float16()
    calibration = checkpoint.config.calibration
    metadata = ModelMetadata(
        class_names=checkpoint.config.class_names,
        input_wh=size_wh,
        max_detections=static.roi_heads.max_detections,
        threshold=checkpoint.threshold,
        min_score=static.roi_heads.min_score,
        architecture=checkpoint.config.arch,
        training=without_folders(checkpoint.info),
        padding_value=PADDING_VALUE,
        precision="float16" if half else "float32",
        batch=batch,
        calibration=calibration.as_dict() if calibration else None,
        is_exact=budget == EVERYTHING and not short_tail,
    )
    proto = trace(static, batch)
    put_calibration(proto, calibration)
    onnx.helper.set_model_props(proto, metadata.to_props())
    onnx.checker.check_model(proto, full_check=True)
    check_static(proto)
    tolerance = FLOAT16_TOLERANCE if half else EXACT
    if calibration:
        tolerance = replace(tolerance, score=STEEPNESS * tolerance.score)
    return _write_verified(proto, out, lambda path: compare(path, reference, images, metadata.class_names, tolerance))


def _with_proposals(checkpoint: Checkpoint, budget: Budget) -> Checkpoint:
    """The same weights in a model with fewer or more proposals."""
    options = {"rpn_post_nms_top_n_test": budget.proposals, "rpn_pre_nms_top_n_test": budget.pre_nms}
    chosen = {name: value for name, value in options.items() if value is not None}
    config = replace(checkpoint.config, model_options=checkpoint.config.model_options | chosen)
    return replace(checkpoint, config=config)


def trace(static: StaticFasterRCNN, batch: int = 1) -> onnx.ModelProto:
    """Export the module with torch's exporter, for so many images in one run."""
    height, width = static.input_hw
    example = torch.zeros(batch, height, width, 3, dtype=torch.uint8)
    with warnings.catch_warnings():  # the exporter warns about its own internals
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            static,
            (example,),
            dynamo=True,
            input_names=[INPUT_NAME],
            output_names=list(OUTPUT_NAMES),
            opset_version=OPSET,
            verbose=False,
        )
    if program is None:  # only with the exporter's option 'report'
        raise ExportError("torch's exporter returned nothing")
    proto: onnx.ModelProto = program.model_proto
    proto.producer_name = "facial-feature-rcnn"
    strip_origin(proto.graph)
    return proto


def without_folders(info: dict[str, Any]) -> dict[str, Any]:
    """How a model was trained, with only the name of the file of its initial weights."""
    options = info.get("options") or {}
    return info | {"options": options | {"weights": Path(options["weights"]).name}} if "weights" in options else info


def strip_origin(graph: onnx.GraphProto) -> None:
    """Remove the source location of each node: paths of the machine, and a fifth of a small file's size."""
    graph.ClearField("metadata_props")
    for part in (*graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")


def _write_verified(proto: onnx.ModelProto, out: Path, verify: Callable[[Path], Differences]) -> Differences:
    """Write beside ``out``, verify, then replace, so that the name never refers to an unverified file."""
    with tempfile.TemporaryDirectory(prefix=f".{out.stem[:20]}-", dir=out.parent) as folder:
        candidate = Path(folder) / out.name
        try:
            onnx.save(proto, candidate)
        except OSError as error:
            raise _not_written(out, error) from error
        differences = verify(candidate)
        try:
            candidate.replace(out)
        except OSError as error:
            raise _not_written(out, error) from error
    return differences


def _check_folder(out: Path) -> None:
    """Refuse a folder that nothing can be written into, before the work."""
    try:
        with tempfile.TemporaryFile(dir=out.parent):
            pass
    except OSError as error:
        raise _not_written(out, error) from error


def _not_written(out: Path, error: OSError) -> ExportError:
    """The user's file, not the temporary one that the system names."""
    return ExportError(f"cannot write {out}: {error.strerror or error}")

"""Calibrated scores in an ONNX file: eight small nodes after all others, which can be put in, replaced and taken out.

They are apart from the traced graph, so that a file is calibrated without its checkpoint, whatever its precision, batch
or tail; boxes and the choice of what is kept stay what they were, bit for bit.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch

from export.errors import ExportError
from export.score import score_onnx
from export.verify import IMAGES, check_static, network_input, run_batch
from realtime.errors import ModelError
from realtime.metadata import ModelMetadata
from train.data.data_yaml import DataConfig
from train.evaluation.calibrate import calibrated_metrics, calibration_table, fit_to_metrics, with_new_figures
from train.models.calibration import CALIBRATED_THRESHOLD, Calibration

PREFIX = "calibration/"
"""Of the names of nodes, of their values and of their constants."""
PLAIN_SCORES = "softmax_scores"
"""What the output ``scores`` is called where nodes follow it."""
MAX_DIFFERENCE = 1e-5
"""Of a calibrated score from torch's."""


def put_calibration(proto: onnx.ModelProto, calibration: Calibration | None) -> None:
    """Calibrate the scores of a graph, in place, instead of as they were before; None takes the calibration out."""
    graph = proto.graph
    _take_out(graph)
    if calibration is None:
        return
    _rename(graph, "scores", PLAIN_SCORES)
    constants = {"a": calibration.a, "b": calibration.b, "one": 1.0, "factors": list(calibration.factors)}
    graph.initializer.extend(
        onnx.numpy_helper.from_array(np.array(value, np.float32), PREFIX + name) for name, value in constants.items()
    )
    for operator, inputs, output in (
        ("Gather", ("factors", "labels"), "factor"),
        ("Pow", (PLAIN_SCORES, "a"), "powers"),
        ("Mul", ("factor", "powers"), "odds"),
        ("Sub", ("one", PLAIN_SCORES), "difference"),
        ("Relu", ("difference",), "rest"),  # a softmax may exceed 1 by a rounding error
        ("Pow", ("rest", "b"), "rest_powers"),
        ("Add", ("odds", "rest_powers"), "total"),
        ("Div", ("odds", "total"), "scores"),
    ):
        own = [name if name in ("labels", PLAIN_SCORES) else PREFIX + name for name in inputs]
        result = output if output == "scores" else PREFIX + output
        graph.node.append(onnx.helper.make_node(operator, own, [result], name=PREFIX + output))


def calibrate_onnx(path: Path, out: Path, data: Sequence[tuple[str, DataConfig]], split: str) -> str:
    """Write an ONNX file whose scores are calibrated on labelled images; the rest of it stays.

    Args:
        path: of this project, calibrated or not.
        out: file to write, perhaps the same.
        data: names of data sets, and the data sets.
        split: of each.

    Returns:
        A table of the gaps before and after.

    Raises:
        ExportError: the file cannot be read or written, or is not of this project.
        CalibrationError: too little was found in the images.
    """
    proto, metadata = read_model(path)
    with tempfile.TemporaryDirectory() as folder:
        plain, candidate = Path(folder) / path.name, Path(folder) / "calibrated.onnx"
        put_calibration(proto, None)
        _save(proto, _with(metadata, None), plain)
        scored = {name: score_onnx(plain, config, split)[0] for name, config in data}
        calibration = fit_to_metrics(list(scored.values()))
        after = {name: calibrated_metrics(metrics, calibration) for name, metrics in scored.items()}
        put_calibration(proto, calibration)
        figures = with_new_figures(metadata.training.get("metrics"), list(after.values()))
        training = metadata.training | ({"metrics": figures} if figures else {})
        _save(proto, _with(replace(metadata, training=training), calibration), candidate)
        _check(plain, candidate, calibration)
        move(candidate, out)
    return calibration_table(scored, after)


def read_model(path: Path) -> tuple[onnx.ModelProto, ModelMetadata]:
    """An ONNX file of this project.

    Raises:
        ExportError: it cannot be read, or is not of this project.
    """
    try:
        proto = onnx.load(path)
        return proto, ModelMetadata.from_props({p.key: p.value for p in proto.metadata_props}, str(path))
    except (OSError, ModelError) as error:
        reason = getattr(error, "strerror", None)
        raise ExportError(f"cannot read {path}: {reason}" if reason else str(error)) from error
    except Exception as error:  # protobuf's parser fails in many ways on other files
        raise ExportError(f"{path}: not a readable ONNX file") from error


def _with(metadata: ModelMetadata, calibration: Calibration | None) -> ModelMetadata:
    if calibration is None:
        return replace(metadata, calibration=None)
    return replace(metadata, calibration=calibration.as_dict(), threshold=CALIBRATED_THRESHOLD)


def _save(proto: onnx.ModelProto, metadata: ModelMetadata, path: Path) -> None:
    onnx.helper.set_model_props(proto, metadata.to_props())
    onnx.checker.check_model(proto, full_check=True)
    check_static(proto)
    onnx.save(proto, path)


def _check(plain: Path, calibrated: Path, calibration: Calibration) -> None:
    """Run both files on the package's photos.

    Raises:
        ExportError: boxes differ, or scores are not what torch makes of the plain ones.
    """
    before, after = (ort.InferenceSession(path, providers=["CPUExecutionProvider"]) for path in (plain, calibrated))
    height, width = before.get_inputs()[0].shape[1:3]
    for image in IMAGES:
        inputs = network_input(image, (width, height))
        (boxes, scores, labels), found = run_batch(before, inputs)[0], run_batch(after, inputs)[0]
        wanted = calibration(torch.from_numpy(scores), torch.from_numpy(labels)).numpy()
        same = np.array_equal(boxes, found[0]) and np.array_equal(labels, found[2])
        if not same or not np.allclose(wanted, found[1], rtol=0, atol=MAX_DIFFERENCE):
            raise ExportError(f"{image.name}: the calibrated graph differs: this is a bug of the export")


def _take_out(graph: onnx.GraphProto) -> None:
    for items in (graph.node, graph.initializer, graph.value_info):
        for item in [item for item in items if item.name.startswith(PREFIX)]:
            items.remove(item)
    _rename(graph, PLAIN_SCORES, "scores")


def _rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    """Rename a value wherever nodes give or take it; the graph's outputs keep their names."""
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [new if name == old else name for name in names]
    for value in graph.value_info:
        value.name = new if value.name == old else value.name


def move(file: Path, out: Path) -> None:
    """Put the content of a file in the place of another, all at once.

    Raises:
        ExportError: it cannot be written.
    """
    partial = out.with_name(out.name + ".partial")
    try:
        partial.write_bytes(file.read_bytes())
        partial.replace(out)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise ExportError(f"cannot write {out}: {error.strerror or error}") from error

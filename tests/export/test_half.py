"""``export onnx --half``: float16 where the weights are, float32 where boxes are."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto
from tiny_data import CLASS_NAMES, as_input, make_data_set, noise_image, write_image

from export.errors import ExportError
from export.static import StaticFasterRCNN
from export.verify import EXACT, FLOAT16_TOLERANCE, compare_image
from realtime.inference.detector import OnnxDetector
from realtime.inference.providers import Provider
from realtime.metadata import ModelMetadata
from train.models.architectures import ARCHITECTURES, ModelConfig
from train.models.checkpoint import Checkpoint

SIDE = 64
NO_METRICS = {"map50": 0.0, "map50_95": 0.0}


@pytest.fixture(scope="module")
def exported(lively_model, tmp_path_factory) -> Path:
    """A lively nano through the command line with ``--half``, verified on noise."""
    from typer.testing import CliRunner

    from export.cli import app

    folder = tmp_path_factory.mktemp("half")
    info = {"metrics": NO_METRICS | {"threshold": 0.5}, "options": {"size": SIDE}, "data": "data.yaml"}
    checkpoint = Checkpoint(ModelConfig("nano", CLASS_NAMES, SIDE), lively_model("nano").state_dict(), info)
    checkpoint.save(folder / "best.pt")
    for seed in (100, 106):  # of noise on which no order of two boxes hangs on a rounding error: one image in four
        write_image(folder / "photos" / f"{seed}.png", noise_image(SIDE, SIDE, seed=seed))
    path = folder / "model.onnx"
    arguments = ["onnx", folder / "best.pt", "--half", "-o", path, "--images", folder / "photos"]
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    assert f"input {SIDE}x{SIDE}, half precision; verified: " in result.output
    return path


def types_of(model: onnx.ModelProto) -> dict[str, int]:
    """Element type of every value of the graph."""
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    types = {v.name: v.type.tensor_type.elem_type for v in [*graph.value_info, *graph.input, *graph.output]}
    return types | {tensor.name: tensor.data_type for tensor in graph.initializer}


def test_layers_with_weights_are_float16_and_boxes_float32(exported):
    model = onnx.load(exported)
    types = types_of(model)

    seen = {}
    for node in model.graph.node:
        seen.setdefault(node.op_type, set()).add(types[node.input[0]])
    layers = [node for node in model.graph.node if node.op_type in ("Conv", "Gemm")]
    assert len(layers) > 50
    assert {types[name] for node in layers for name in node.input} == {TensorProto.FLOAT16}
    for step in ("RoiAlign", "TopK", "Exp", "Softmax", "MatMul"):  # the products are suppression and votes
        assert seen[step] == {TensorProto.FLOAT}, step
    assert {types[value.name] for value in model.graph.input} == {TensorProto.UINT8}
    assert {value.name: types[value.name] for value in model.graph.output} == {
        "boxes": TensorProto.FLOAT, "scores": TensorProto.FLOAT, "labels": TensorProto.INT64,
    }  # fmt: skip


def test_metadata_say_so_and_the_app_finds_what_torchvision_finds(exported, lively_model):
    image = noise_image(SIDE, SIDE, seed=100)
    with torch.inference_mode():
        expected = lively_model("nano")([as_input(image)])[0]

    detector = OnnxDetector(exported, provider=Provider.CPU)
    found = detector.detect(image[..., ::-1].copy())

    assert detector.metadata.precision == "float16"
    reference = expected["boxes"].numpy(), expected["scores"].numpy(), expected["labels"].numpy() - 1
    results = found.boxes, found.scores, found.labels
    assert compare_image(reference, results, "noise", CLASS_NAMES, FLOAT16_TOLERANCE).detections > 10
    with pytest.raises(ExportError):  # it is float16 that was computed with
        compare_image(reference, results, "noise", CLASS_NAMES, EXACT)


@pytest.mark.parametrize("arch", list(ARCHITECTURES))
def test_every_architecture_can_be_halved(lively_model, arch):
    model = lively_model(arch)
    static = StaticFasterRCNN(model, (SIDE, SIDE)).eval()
    static.to_float16()
    image = noise_image(SIDE, SIDE, seed=100)
    with torch.inference_mode():
        expected = model([as_input(image)])[0]
        boxes, scores, labels = static(torch.from_numpy(image[None, ..., ::-1].copy()))

    assert (boxes.dtype, scores.dtype, labels.dtype) == (torch.float32, torch.float32, torch.int64)
    assert {p.dtype for p in static.parameters()} == {torch.float16}
    assert {b.dtype for name, b in static.named_buffers() if "num_batches" not in name} == {torch.float32}
    best = int(expected["scores"].argmax())
    same = (labels == expected["labels"][best] - 1) & (
        (boxes - expected["boxes"][best]).abs().amax(1) < FLOAT16_TOLERANCE.box_px
    )
    assert (scores[same] - expected["scores"][best]).abs().min() < FLOAT16_TOLERANCE.score


def test_verify_allows_half_precision_a_little_more(export_cli, exported, tmp_path):
    data = make_data_set(tmp_path / "data", train=1, val=2)
    proto = onnx.load(exported)
    props = {prop.key: prop.value for prop in proto.metadata_props}
    training = json.loads(props["realtime.training"]) | {"metrics": {"map50": 0.9, "map50_95": 0.9}}
    onnx.helper.set_model_props(proto, props | {"realtime.training": json.dumps(training)})
    onnx.save(proto, tmp_path / "m.onnx")

    code, out, err = export_cli("verify", tmp_path / "m.onnx", data)

    assert code == 1
    assert "2 images" in out
    assert "at most 0.003 is allowed" in err


def rows(*found: tuple[list[float], float, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    boxes, scores, labels = zip(*found, strict=True)
    padding = 3 - len(found)
    return (
        np.array([*boxes, *[[0.0] * 4] * padding], np.float32),
        np.array([*scores, *[0.0] * padding], np.float32),
        np.array([*labels, *[0] * padding]),
    )


BEST = ([10.0, 10, 50, 50], 0.9, 0)
BESIDE = ([18.0, 10, 58, 50], 0.4, 0)
ELSEWHERE = ([10.0, 70, 50, 110], 0.4, 0)
OTHER_CLASS = ([18.0, 10, 58, 50], 0.4, 1)
LOW = ([10.0, 70, 50, 110], 0.2, 0)


@pytest.mark.parametrize("swapped", [False, True], ids=["alone", "missing"])
@pytest.mark.parametrize(
    ("extra", "tolerance", "passes"),
    [
        (BESIDE, FLOAT16_TOLERANCE, True),
        (LOW, FLOAT16_TOLERANCE, True),
        (LOW, EXACT, False),
        (BESIDE, EXACT, False),
        (ELSEWHERE, FLOAT16_TOLERANCE, False),
        (OTHER_CLASS, FLOAT16_TOLERANCE, False),
    ],
)
def test_only_low_scores_and_what_suppression_could_decide_either_way_may_differ(swapped, extra, tolerance, passes):
    fewer, more = rows(BEST), rows(BEST, extra)
    expected, found = (more, fewer) if swapped else (fewer, more)

    if passes:
        differences = compare_image(expected, found, "x.jpg", CLASS_NAMES, tolerance)
        assert (differences.detections, differences.contested) == (1, 1)
        assert str(differences).endswith("; 1 more kept by only one of the two")
    else:
        with pytest.raises(ExportError, match=r"is missing from|is found only by the ONNX graph"):
            compare_image(expected, found, "x.jpg", CLASS_NAMES, tolerance)


@pytest.mark.parametrize(("moved_px", "score"), [(3.0, 0.9), (0.0, 0.85)])
def test_half_precision_has_bounds_too(moved_px, score):
    other = rows(([x + moved_px for x in BEST[0]], score, 0))

    with pytest.raises(ExportError, match=r"of score 0\.900"):
        compare_image(rows(BEST), other, "x.jpg", CLASS_NAMES, FLOAT16_TOLERANCE)


def test_metadata_of_the_file_are_read_by_the_app(exported):
    props = {prop.key: prop.value for prop in onnx.load(exported).metadata_props}
    assert ModelMetadata.from_props(props, "m.onnx").precision == "float16"

import copy
import errno
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, helper
from tiny_data import CLASS_NAMES, as_input, make_data_set, noise_image, write_image
from typer.testing import CliRunner

import export.to_onnx
from export.cli import app
from export.errors import ExportError
from export.to_onnx import export_onnx
from export.verify import IMAGES, check_static, compare, network_input
from realtime.inference.detector import OnnxDetector
from realtime.inference.providers import Provider
from realtime.letterbox import Letterbox
from realtime.metadata import OUTPUT_NAMES, ModelMetadata
from train.cli import app as train_app
from train.models.checkpoint import Checkpoint, load_checkpoint

RECIPE = (
    "--arch nano --weights none --size 64 --epochs 12 --batch-size 4 --lr 0.05 --warmup-steps 4 --schedule cosine "
    "--ema 0.5 --workers 0 --device cpu"
)


@pytest.fixture(scope="session")
def checkpoint_path(tmp_path_factory) -> Path:
    """A nano that has seen a few coloured shapes."""
    folder = tmp_path_factory.mktemp("trained")
    data = make_data_set(folder / "data", train=8, val=2)
    result = CliRunner().invoke(train_app, ["fit", str(data), "--out", str(folder / "run"), *RECIPE.split()])
    assert result.exit_code == 0, result.output
    return folder / "run" / "last.pt"


@pytest.fixture(scope="session")
def checkpoint(checkpoint_path) -> Checkpoint:
    return load_checkpoint(checkpoint_path)


@pytest.fixture(scope="session")
def exported(checkpoint_path, tmp_path_factory) -> Path:
    """That nano through the command line, verified on the photos of the package; not to be changed."""
    path = tmp_path_factory.mktemp("exported") / "model.onnx"
    result = CliRunner().invoke(app, ["onnx", str(checkpoint_path), "--out", str(path)])
    assert result.exit_code == 0, result.output
    detections = re.fullmatch(
        rf"{path}: [\d.]+ MB, input 64x64; verified: (\d+) detections on {len(IMAGES)} images, "
        r"largest difference \S+ in score and \S+ px in boxes\n",
        result.output,
    )
    assert detections, result.output
    assert int(detections[1]) > 0
    return path


def test_the_file_names_no_folder_of_the_machine(checkpoint, tmp_path, grey):
    options = checkpoint.info["options"] | {"weights": "/home/someone/runs/first/best.pt"}
    begun_with_a_file = replace(checkpoint, info=checkpoint.info | {"options": options})
    path = tmp_path / "model.onnx"

    export_onnx(begun_with_a_file, path, size_wh=(64, 64), images=[grey / "grey.png"])

    content = path.read_bytes()
    assert b'"weights": "best.pt"' in content
    assert b"/home/someone" not in content
    assert str(Path(export.to_onnx.__file__).parent).encode() not in content


@pytest.fixture(scope="session")
def shy(checkpoint) -> Checkpoint:
    """The same weights, but nothing is ever certain enough."""
    config = replace(checkpoint.config, model_options={"box_score_thresh": 0.99})
    return replace(checkpoint, config=config)


@pytest.fixture
def grey(tmp_path) -> Path:
    """A folder with one image of nothing."""
    return write_image(tmp_path / "grey" / "grey.png", np.full((48, 64, 3), 128, np.uint8)).parent


@pytest.fixture
def no_trace(monkeypatch) -> None:
    """Tracing takes long: what is wrong must be found before it."""

    def trace(*_):
        raise AssertionError("traced")

    monkeypatch.setattr(export.to_onnx, "trace", trace)


def names_in(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_graph_has_no_control_flow_and_no_data_dependent_shapes(exported):
    graph = onnx.load(exported).graph

    operators = {node.op_type for node in graph.node}
    assert not operators & {
        "If", "Loop", "Scan", "SequenceMap", "NonZero", "NonMaxSuppression", "Unique", "Compress",
    }  # fmt: skip
    assert {"RoiAlign", "TopK", "Conv"} <= operators
    assert sum(node.op_type == "RoiAlign" for node in graph.node) == 1
    assert not [a.name for node in graph.node for a in node.attribute if a.type == onnx.AttributeProto.GRAPH]


def test_all_values_have_fixed_shapes(exported):
    model = onnx.shape_inference.infer_shapes(onnx.load(exported), strict_mode=True, data_prop=True)

    values = {v.name: v for v in [*model.graph.value_info, *model.graph.input, *model.graph.output]}
    for name in (name for node in model.graph.node for name in node.output if name):
        dims = values[name].type.tensor_type.shape.dim
        assert values[name].type.tensor_type.HasField("shape"), name
        assert all(dim.HasField("dim_value") and dim.dim_value > 0 for dim in dims), name


def test_the_app_reads_the_metadata(exported, checkpoint):
    session = ort.InferenceSession(exported, providers=["CPUExecutionProvider"])

    metadata = ModelMetadata.from_props(session.get_modelmeta().custom_metadata_map, str(exported))

    metadata.check_graph(session.get_inputs(), session.get_outputs(), str(exported))
    assert [o.name for o in session.get_outputs()] == list(OUTPUT_NAMES) == ["boxes", "scores", "labels"]
    assert metadata.class_names == CLASS_NAMES
    assert metadata.input_wh == (64, 64)
    assert metadata.max_detections == 100
    assert metadata.min_score == 0.05
    assert metadata.architecture == "nano"
    assert metadata.training == checkpoint.info
    assert metadata.threshold == checkpoint.info["metrics"]["threshold"]


def test_the_app_finds_what_the_checkpoint_finds(exported, checkpoint):
    image = noise_image(120, 80, seed=1)
    boxed, transform = Letterbox((64, 64))(image)
    matrix = transform.matrix
    with torch.inference_mode():
        expected = checkpoint.build()([as_input(boxed[0])])[0]

    found = OnnxDetector(exported, provider=Provider.CPU).detect(image[..., ::-1].copy())

    scale, shift = matrix[[0, 1, 0, 1], [0, 1, 0, 1]], matrix[[0, 1, 0, 1], 2]
    boxes = ((expected["boxes"].numpy() - shift) / scale).clip(0, [80, 120, 80, 120])
    inside = np.flatnonzero((boxes[:, 2:] > boxes[:, :2]).all(axis=1))  # nothing is left of those beside the image
    best, wanted = slice(0, 5), inside[:5]
    np.testing.assert_allclose(found.scores[best], expected["scores"][wanted], atol=1e-3)
    np.testing.assert_allclose(found.boxes[best], boxes[wanted], atol=0.2)
    np.testing.assert_array_equal(found.labels[best], expected["labels"][wanted] - 1)


def test_photos_of_the_package_include_some_without_a_face():
    assert {"astronaut.jpg", "astronaut_close.jpg", "chelsea.jpg", "rocket.jpg"} <= {p.name for p in IMAGES}


def test_export_at_another_size_of_a_model_that_finds_nothing(shy, tmp_path, grey):
    path = tmp_path / "model.onnx"

    differences = export_onnx(shy, path, size_wh=(96, 64), images=[grey / "grey.png", *IMAGES])

    assert (differences.images, differences.detections) == (1 + len(IMAGES), 0)
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape == [1, 64, 96, 3]
    metadata = ModelMetadata.from_props(session.get_modelmeta().custom_metadata_map, str(path))
    assert (metadata.input_wh, metadata.min_score) == ((96, 64), 0.99)
    for output in session.run(None, {"image": network_input(grey / "grey.png", (96, 64))}):
        assert not output.any()


def damage_nothing(_model) -> None:
    pass


def raise_a_class(model) -> None:
    model.roi_heads.box_predictor.cls_score.bias[1] += 0.02


def shift_boxes(model) -> None:
    model.roi_heads.box_predictor.bbox_pred.bias += 0.2


def find_nothing(model) -> None:
    model.roi_heads.score_thresh = 0.99


def swap_classes(model) -> None:
    for tensor in (model.roi_heads.box_predictor.cls_score.weight, model.roi_heads.box_predictor.cls_score.bias):
        tensor[[1, 2]] = tensor[[2, 1]]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_nothing, None),
        (raise_a_class, "of score .* is missing from the ONNX graph's results"),
        (shift_boxes, "is missing from the ONNX graph's results"),
        (swap_classes, "is missing from the ONNX graph's results"),
        (find_nothing, "is found only by the ONNX graph"),
    ],
)
def test_verification_notices_other_weights(exported, checkpoint, damage, message):
    model = checkpoint.build()
    with torch.no_grad():
        damage(model)

    if message is None:
        assert compare(exported, model, IMAGES, CLASS_NAMES).detections > 0
        return
    with pytest.raises(ExportError, match=message) as error:
        compare(exported, model, IMAGES, CLASS_NAMES)
    assert str(error.value).startswith("astronaut.jpg: '")
    assert "\n" not in str(error.value)


def test_failed_verification_leaves_the_old_file(exported, checkpoint, tmp_path, monkeypatch):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"the old file")
    state = copy.deepcopy(checkpoint.model)
    state["roi_heads.box_predictor.cls_score.bias"][1] += 1
    monkeypatch.setattr(export.to_onnx, "trace", lambda *_: onnx.load(exported))

    with pytest.raises(ExportError, match="the ONNX graph"):
        export_onnx(replace(checkpoint, model=state), path, size_wh=(64, 64), images=IMAGES)

    assert path.read_bytes() == b"the old file"
    assert names_in(tmp_path) == ["model.onnx"]


def test_verified_file_replaces_the_old_one(exported, checkpoint, tmp_path, monkeypatch):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"the old file")
    monkeypatch.setattr(export.to_onnx, "trace", lambda *_: onnx.load(exported))

    export_onnx(checkpoint, path, size_wh=(64, 64), images=IMAGES[:1])

    onnx.checker.check_model(onnx.load(path))
    assert names_in(tmp_path) == ["model.onnx"]


def a_model(nodes, shape, outputs) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, kind, None) for name, kind in outputs],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])


FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            a_model([helper.make_node("NonZero", ["x"], ["y"])], [3], [("y", INT64)]),
            "operators of data-dependent shape or control flow: NonZero",
        ),
        (
            a_model(
                [helper.make_node("Relu", ["x"], ["h"]), helper.make_node("Relu", ["h"], ["y"])],
                ["n", 3], [("y", FLOAT)],
            ),
            "2 values of unknown shape, the first is 'h'",
        ),
        (
            a_model(
                [helper.make_node("Cast", ["x"], ["s"], to=INT64), helper.make_node("Expand", ["x", "s"], ["y"])],
                [1], [("y", FLOAT)],
            ),
            "1 values of unknown shape, the first is 'y'",
        ),
    ],
    ids=["NonZero", "dynamic input", "shape from data"],
)  # fmt: skip
def test_graphs_that_are_not_static_are_refused(model, message):
    with pytest.raises(ExportError, match=message):
        check_static(model)


def test_static_graph_is_accepted():
    check_static(a_model([helper.make_node("Relu", ["x"], ["y"])], [2, 3], [("y", FLOAT)]))


@pytest.mark.usefixtures("no_trace")
@pytest.mark.parametrize(
    ("size", "message"),
    [
        ("256", "--size 256: expected WIDTHxHEIGHT, such as 256x256"),
        ("256x", "--size 256x: expected WIDTHxHEIGHT"),
        ("256X256", "--size 256X256: expected WIDTHxHEIGHT"),
        ("64x64px", "--size 64x64px: expected WIDTHxHEIGHT"),
        ("wide", "--size wide: expected WIDTHxHEIGHT"),
        ("100x64", "--size 100x64: both sides must be multiples of 32, 64 or more"),
        ("64x100", "--size 64x100: both sides must be multiples of 32, 64 or more"),
        ("32x64", "--size 32x64: both sides must be multiples of 32, 64 or more"),
        ("0x0", "--size 0x0: both sides must be multiples of 32, 64 or more"),
        ("64x8224", "--size 64x8224: "),  # more than the app takes
    ],
)
def test_bad_size_is_named_in_one_line(export_cli, checkpoint_path, tmp_path, grey, size, message):
    out = tmp_path / "model.onnx"

    code, printed, err = export_cli("onnx", checkpoint_path, "-o", out, "--size", size, "--images", grey)

    assert (code, printed) == (1, "")
    assert err.startswith(f"error: {message}")
    assert err.count("\n") == 1
    assert not out.exists()


@pytest.mark.usefixtures("no_trace")
def test_missing_folders_and_files_are_named_in_one_line(export_cli, checkpoint_path, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    nowhere = tmp_path / "nowhere"
    for arguments, message in (
        (
            (checkpoint_path, "-o", nowhere / "model.onnx"),
            f"cannot write {nowhere}/model.onnx: folder {nowhere} does not exist",
        ),
        ((nowhere / "best.pt", "-o", tmp_path / "model.onnx"), f"cannot read {nowhere}/best.pt: not found"),
        ((checkpoint_path, "--images", empty), f"--images {empty}: no .jpg or .png files there"),
        ((checkpoint_path, "--images", nowhere), f"--images {nowhere}: no .jpg or .png files there"),
    ):
        assert export_cli("onnx", *arguments) == (1, "", f"error: {message}\n")
    assert names_in(tmp_path) == ["empty"]


def test_out_that_is_a_folder_is_refused_in_one_line(export_cli, exported, checkpoint_path, tmp_path, monkeypatch):
    monkeypatch.setattr(export.to_onnx, "trace", lambda *_: onnx.load(exported))
    folder = tmp_path / "models"
    folder.mkdir()

    code, _, err = export_cli("onnx", checkpoint_path, "-o", folder)

    assert code == 1
    assert err.startswith("error: ")
    assert str(folder) in err
    assert err.count("\n") == 1


@pytest.mark.usefixtures("no_trace")
@pytest.mark.usefixtures("no_trace")
def test_a_folder_that_cannot_be_written_is_named_before_the_work(export_cli, checkpoint_path):
    """And no temporary file."""
    code, _, err = export_cli("onnx", checkpoint_path, "--out", "/proc/model.onnx")

    assert code == 1
    assert re.fullmatch(r"error: cannot write /proc/model\.onnx: [A-Z][a-z ]+\n", err)


def test_a_full_disk_names_the_file_of_the_user(exported, checkpoint, tmp_path, monkeypatch):
    def save(_proto, path):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(onnx, "save", save)
    monkeypatch.setattr(export.to_onnx, "trace", lambda *_: onnx.load(exported))
    with pytest.raises(ExportError) as error:
        export_onnx(checkpoint, tmp_path / "m.onnx", size_wh=(64, 64), images=IMAGES[:1])

    assert str(error.value) == f"cannot write {tmp_path}/m.onnx: No space left on device"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("no_trace")
@pytest.mark.parametrize(
    ("value", "found"), [(np.nan, "weights are not finite"), (1e30, "outputs are not finite, or above")]
)
def test_a_checkpoint_that_diverged_is_refused_before_the_work(export_cli, checkpoint, tmp_path, value, found):
    weights = {name: torch.full_like(v, value) if "bbox_pred" in name else v for name, v in checkpoint.model.items()}
    replace(checkpoint, model=weights).save(tmp_path / "bad.pt")

    code, _, err = export_cli("onnx", tmp_path / "bad.pt", "--out", tmp_path / "model.onnx")

    assert code == 1
    assert found in err
    assert err.endswith("its training diverged. Use an earlier checkpoint\n")


def test_photo_that_cannot_be_read_is_named(export_cli, checkpoint_path, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"no image")

    code, _, err = export_cli("onnx", checkpoint_path, "-o", tmp_path / "m.onnx", "--images", tmp_path / "photos")

    assert code == 1
    assert err == f"error: cannot read image {tmp_path}/photos/a.jpg: not a readable image\n"


def test_debug_shows_the_traceback(tmp_path, monkeypatch):
    from export.cli import run_cli
    from train.errors import TrainError

    monkeypatch.setattr("sys.argv", ["export", "--debug", "onnx", str(tmp_path / "no.pt")])

    with pytest.raises(TrainError, match="not found"):
        run_cli()


def test_a_model_of_the_longest_name_is_written(tmp_path):
    out = tmp_path / f"{'n' * 250}.onnx"
    differences = export.to_onnx._write_verified(onnx.ModelProto(), out, lambda candidate: candidate.name)
    assert differences == out.name
    assert [path.name for path in tmp_path.iterdir()] == [out.name]

import json
from pathlib import Path

import onnx
import pytest
import torch
from tiny_data import CLASS_NAMES, make_data_set

from export.static import Budget
from export.to_onnx import export_onnx
from realtime.inference.onnx_file import read_metadata_props
from realtime.metadata import ModelMetadata
from train.data.data_yaml import load_data_config
from train.data.dataset import load_split
from train.evaluation.evaluate import evaluate
from train.loop.options import FitOptions
from train.models.architectures import ModelConfig
from train.models.checkpoint import Checkpoint


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return make_data_set(tmp_path_factory.mktemp("data"), train=2, val=6)


@pytest.fixture(scope="module")
def exported(lively_model, data, tmp_path_factory) -> Path:
    """An ONNX file whose metadata have the metrics of its checkpoint on ``data``."""
    model = lively_model("nano")
    config = load_data_config(data)
    images = load_split(config, "val")
    metrics = evaluate(model, images, size=64, class_names=CLASS_NAMES, device=torch.device("cpu"))
    info = {"metrics": metrics.as_dict(), "options": {"size": FitOptions(size=64).size}, "data": "data.yaml"}
    checkpoint = Checkpoint(ModelConfig("nano", CLASS_NAMES, 64), model.state_dict(), info)
    path = tmp_path_factory.mktemp("exported") / "model.onnx"
    export_onnx(checkpoint, path, size_wh=(64, 64), images=[image.path for image in images])
    return path


def change_training(path: Path, out: Path, **changes: object) -> Path:
    """A copy of an ONNX file with other training metadata."""
    proto = onnx.load(path)
    props = {prop.key: prop.value for prop in proto.metadata_props}
    props["realtime.training"] = json.dumps(json.loads(props["realtime.training"]) | changes)
    onnx.helper.set_model_props(proto, props)
    onnx.save(proto, out)
    return out


def test_verify_scores_the_file_as_its_checkpoint(export_cli, exported, data):
    code, out, err = export_cli("verify", exported, data)

    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert [line.split("  ")[0] for line in lines[1:4]] == [*CLASS_NAMES, "mean"]
    assert lines[4].startswith("6 images, ")
    assert lines[-1] in (
        f"against its checkpoint: mAP50 {a}, mAP50-95 {b}"
        for a in ("+0.0000", "-0.0000")
        for b in ("+0.0000", "-0.0000")
    )


def test_verify_fails_if_the_checkpoint_scored_otherwise(export_cli, exported, data, tmp_path):
    path = change_training(exported, tmp_path / "m.onnx", metrics={"map50": 0.9, "map50_95": 0.5})

    code, _, err = export_cli("verify", path, data)

    assert code == 1
    assert "at most 0.002 is allowed. Is this the validation data of its training (data.yaml)?" in err


@pytest.mark.parametrize(("cost", "expected"), [(0.015, 0), (0.025, 1)])
def test_verify_lets_a_file_that_computes_less_differ_within_bounds(
    export_cli, exported, data, tmp_path, cost, expected
):
    scored = ModelMetadata.from_props(read_metadata_props(exported), "m").training["metrics"]
    metrics = {name: scored[name] + cost for name in ("map50", "map50_95")}
    path = change_training(exported, tmp_path / "m.onnx", metrics=metrics)
    proto = onnx.load(path)
    proto.metadata_props.add(key="realtime.is_exact", value="false")
    onnx.save(proto, path)

    code, out, err = export_cli("verify", path, data)

    assert code == expected
    assert err.endswith("is a bug of the export\n") if expected else "against its checkpoint: mAP50 -" in out


@pytest.mark.parametrize(
    ("options", "is_exact"),
    [({}, True), ({"short_tail": True}, False), ({"budget": Budget(proposals=40)}, False), ({"batch": 2}, True)],
)
def test_a_file_says_whether_it_computes_all_that_the_model_does(lively_model, data, tmp_path, options, is_exact):
    checkpoint = Checkpoint(ModelConfig("nano", CLASS_NAMES, 64), lively_model("nano").state_dict(), {})
    path = tmp_path / "m.onnx"
    images = [image.path for image in load_split(load_data_config(data), "val")]
    export_onnx(checkpoint, path, size_wh=(64, 64), images=images, **options)
    assert ModelMetadata.from_props(read_metadata_props(path), "m").is_exact is is_exact


def test_verify_at_another_size_says_that_nothing_was_compared(export_cli, exported, data, tmp_path):
    path = change_training(exported, tmp_path / "m.onnx", options={"size": 96})

    code, out, _ = export_cli("verify", path, data)

    assert code == 0
    assert out.splitlines()[-1] == "not compared with the checkpoint, which was scored at 96x96"


def test_verify_names_what_cannot_be_scored(export_cli, exported, data, tmp_path):
    bare = onnx.load(exported)
    del bare.metadata_props[:]
    onnx.save(bare, tmp_path / "bare.onnx")
    (tmp_path / "text.onnx").write_text("no model")
    no_metrics = change_training(exported, tmp_path / "untold.onnx", metrics=None)
    others = make_data_set(tmp_path / "others", names=("cat", "dog"))

    for arguments, message in (
        ((tmp_path / "bare.onnx", data), "bare.onnx: this ONNX file has no metadata of this app"),
        ((tmp_path / "text.onnx", data), f"{tmp_path}/text.onnx: not a readable ONNX model"),
        ((no_metrics, data), "this model's metadata has no metrics to compare with"),
        ((exported, others), "but"),
        ((exported, data, "--split", "test"), "there is no split 'test', only train, val"),
    ):
        code, _, err = export_cli("verify", *arguments)
        assert code == 1
        assert err.startswith("error: ")
        assert message in err
        assert err.count("\n") == 1

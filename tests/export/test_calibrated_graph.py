"""Calibrated scores in ONNX files: as in torch, put in and taken out without a trace."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from tiny_data import CLASS_NAMES, make_data_set, noise_image

import train.evaluation.calibrate
from export.calibration import put_calibration
from export.score import score_onnx
from export.to_onnx import export_onnx
from export.verify import run_batch
from realtime.inference.detector import OnnxDetector, find_model, shipped_models
from realtime.inference.providers import Provider
from realtime.metadata import ModelMetadata
from realtime.score_levels import CALIBRATED, UNCALIBRATED
from train.data.data_yaml import load_data_config
from train.data.dataset import load_split
from train.evaluation.evaluate import detect
from train.models.architectures import ModelConfig
from train.models.calibration import Calibration
from train.models.checkpoint import Checkpoint
from train.models.onnx_weights import read_onnx
from train.models.weights import initial_model

KNOWN = Calibration(0.7, 1.6, (0.2, 0.5))


@pytest.fixture(scope="module")
def data(lively_model, tmp_path_factory) -> Path:
    """A data set in which half of what the lively model detects is labelled."""
    data = make_data_set(tmp_path_factory.mktemp("data"), train=1, val=6)
    images = load_split(load_data_config(data), "val")
    found = detect(lively_model("nano"), images, size=64, device=torch.device("cpu"))
    for image, each in zip(images, found, strict=True):
        lines = []
        for box, label in zip(each.predicted.boxes[::2] / 64, each.predicted.labels[::2], strict=True):
            x1, y1, x2, y2 = box.tolist()
            lines.append(f"{label - 1} {(x1 + x2) / 2} {(y1 + y2) / 2} {x2 - x1} {y2 - y1}\n")
        (data.parent / "labels" / "val" / f"{image.path.stem}.txt").write_text("".join(lines))
    return data


def export_lively(lively_model, data: Path, out: Path, calibration: Calibration | None, **options) -> Path:
    model = lively_model("nano")
    images = [image.path for image in load_split(load_data_config(data), "val")]
    config = ModelConfig("nano", CLASS_NAMES, 64, calibration=calibration)
    checkpoint = Checkpoint(config, model.state_dict(), {"metrics": {"threshold": 0.3, "map50": 2, "map50_95": 2}})
    export_onnx(checkpoint, out, size_wh=(64, 64), images=images, **options)
    return out


@pytest.fixture(scope="module")
def plain(lively_model, data, tmp_path_factory) -> Path:
    return export_lively(lively_model, data, tmp_path_factory.mktemp("plain") / "model.onnx", None)


@pytest.fixture(scope="module")
def calibrated(lively_model, data, tmp_path_factory) -> Path:
    """Verified against the calibrated model in torch as it was exported."""
    return export_lively(lively_model, data, tmp_path_factory.mktemp("calibrated") / "model.onnx", KNOWN)


def metadata_of(path: Path) -> ModelMetadata:
    return ModelMetadata.from_props({p.key: p.value for p in onnx.load(path).metadata_props}, path.name)


def outputs(model: Path | onnx.ModelProto, images: np.ndarray) -> list[tuple[np.ndarray, ...]]:
    source = model if isinstance(model, Path) else model.SerializeToString()
    return run_batch(ort.InferenceSession(source, providers=["CPUExecutionProvider"]), images)


def noise(count: int) -> np.ndarray:
    return np.stack([noise_image(64, 64, seed) for seed in range(count)])


def test_an_exported_checkpoint_is_calibrated_in_the_graph(plain, calibrated):
    (boxes, scores, labels), found = outputs(plain, noise(1))[0], outputs(calibrated, noise(1))[0]

    assert np.array_equal(found[0], boxes)
    assert np.array_equal(found[2], labels)
    wanted = KNOWN(torch.from_numpy(scores), torch.from_numpy(labels)).numpy()
    assert found[1] == pytest.approx(wanted, abs=1e-6)
    assert ((found[1] == 0) == (scores == 0)).all()  # rows that are not used
    assert (found[1] != scores).any()


def test_metadata_say_that_scores_are_calibrated(plain, calibrated):
    old, new = metadata_of(plain), metadata_of(calibrated)

    assert (old.calibration, old.threshold, old.levels) == (None, 0.3, UNCALIBRATED)
    assert not any("calibration" in prop.key for prop in onnx.load(plain).metadata_props)
    assert (new.calibration, new.threshold, new.levels) == (KNOWN.as_dict(), 0.5, CALIBRATED)


def test_a_shipped_file_gives_back_its_calibration_and_training_begins_without():
    metadata = OnnxDetector(find_model("pico"), provider=Provider.CPU).metadata

    loaded = read_onnx(find_model("pico"))

    assert loaded.threshold == 0.5
    assert loaded.config.calibration.as_dict() == metadata.calibration
    assert loaded.build().roi_heads.calibration == loaded.config.calibration
    start = initial_model(ModelConfig("pico", metadata.class_names, 192), "pico")
    assert start.config.calibration is None
    assert start.model.roi_heads.calibration is None
    assert not start.reinitialized


def test_what_was_put_in_can_be_taken_out(plain):
    proto = onnx.load(plain)
    before = proto.SerializeToString(deterministic=True)
    put_calibration(proto, KNOWN)
    once = proto.SerializeToString(deterministic=True)
    put_calibration(proto, Calibration(1.0, 1.0, (1.0, 1.0)))
    put_calibration(proto, KNOWN)
    assert proto.SerializeToString(deterministic=True) == once != before

    put_calibration(proto, None)

    assert proto.SerializeToString(deterministic=True) == before


def test_a_short_tail_for_several_images_is_verified_calibrated(lively_model, data, tmp_path):
    path = export_lively(lively_model, data, tmp_path / "model.onnx", KNOWN, short_tail=True, batch=2)

    assert metadata_of(path).calibration == KNOWN.as_dict()
    proto = onnx.load(path)
    put_calibration(proto, None)
    for (boxes, scores, labels), found in zip(outputs(proto, noise(2)), outputs(path, noise(2)), strict=True):
        wanted = KNOWN(torch.from_numpy(scores), torch.from_numpy(labels)).numpy()
        assert found[1] == pytest.approx(wanted, abs=1e-6)
        assert np.array_equal(found[0], boxes)
        assert ((found[1] == 0) == (scores == 0)).all()


def test_the_command_calibrates_a_file(plain, data, tmp_path, export_cli):
    out = tmp_path / "calibrated.onnx"
    code, printed, err = export_cli("calibrate", plain, data, "-o", out)

    assert (code, err) == (0, "")
    assert printed.splitlines()[-1] == f"{out}: scores calibrated, default threshold 0.5"
    before, after = metadata_of(plain), metadata_of(out)
    assert after == replace(before, threshold=0.5, calibration=after.calibration)
    assert after.calibration
    gaps = [gap_of(path, data) for path in (plain, out)]
    assert gaps[1] < gaps[0]

    # Again, in place: the same, since what is there is replaced.
    again = tmp_path / "again.onnx"
    again.write_bytes(out.read_bytes())
    assert export_cli("calibrate", again, data)[0] == 0
    assert metadata_of(again).calibration == after.calibration
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again.onnx", "calibrated.onnx"]


def gap_of(path: Path, data: Path) -> float:
    return score_onnx(path, load_data_config(data), "val")[0].score_gap


def test_the_command_says_what_is_wrong(plain, data, tmp_path, export_cli, monkeypatch):
    def refusal(*arguments: object) -> str:
        code, _, err = export_cli("calibrate", *arguments)
        assert code == 1
        return err

    assert refusal("nano", data) == "error: nano comes with the app: name the file to write with --out\n"
    assert refusal(tmp_path / "no.onnx", data).startswith(f"error: cannot read {tmp_path}/no.onnx: No such file")
    (tmp_path / "text.onnx").write_text("no model")
    assert refusal(tmp_path / "text.onnx", data) == f"error: {tmp_path}/text.onnx: not a readable ONNX file\n"
    assert refusal(plain, data, "-o", tmp_path / "no" / "m.onnx").startswith("error: cannot write ")
    monkeypatch.setattr(train.evaluation.calibrate, "MIN_EACH", 10_000)
    content = plain.read_bytes()
    assert "it takes 10000 of each" in refusal(plain, data)
    assert plain.read_bytes() == content


def test_the_shipped_models_are_calibrated():
    for name in shipped_models():
        metadata = OnnxDetector(find_model(name), provider=Provider.CPU).metadata
        assert metadata.threshold == 0.5
        assert metadata.calibration
        assert metadata.training["metrics"]["threshold"] == 0.5
        assert metadata.training["metrics"]["score_gap"] <= 0.08
        assert json.dumps(metadata.training)

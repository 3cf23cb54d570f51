"""Weights that come back out of an ONNX file compute what the file computes."""

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from tiny_data import CLASS_NAMES, as_input, noise_image, write_image
from torch import nn
from torchvision.models.detection import FasterRCNN

from export.static import StaticFasterRCNN
from export.to_onnx import export_onnx, trace
from export.verify import IMAGES, Tolerance, compare, network_input
from realtime.inference.detector import find_model, shipped_models
from realtime.metadata import ModelMetadata
from train.errors import TrainError
from train.models.architectures import ModelConfig, build_model
from train.models.checkpoint import Checkpoint
from train.models.onnx_weights import read_onnx, restore_norms
from train.models.weights import initial_model, shipped_path

SHIPPED = [find_model(name) for name in shipped_models()]
SAME = Tolerance(score=1e-3, box_px=0.01)


def make_distinct(model: FasterRCNN) -> FasterRCNN:
    """Move every parameter a little, as a training step does: the exporter stores equal tensors once."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.01 * torch.randn(parameter.shape, generator=generator))
        for name, buffer in model.named_buffers():
            if name.endswith(("bn1.bias", "bn2.bias", "bn3.bias", "downsample.1.bias")):  # of frozen norms
                buffer.add_(0.01 * torch.randn(buffer.shape, generator=generator))
    return model


@pytest.fixture(scope="session")
def trained(lively_model) -> FasterRCNN:
    """A nano that behaves like a trained one; not to be changed."""
    return make_distinct(copy.deepcopy(lively_model("nano")))


@pytest.fixture(scope="session")
def exported(trained, tmp_path_factory) -> Path:
    """That nano as an ONNX file of 64 px; not to be changed."""
    folder = tmp_path_factory.mktemp("folded")
    path = folder / "nano.onnx"
    checkpoint = Checkpoint(ModelConfig("nano", CLASS_NAMES, 64), trained.state_dict(), {"epoch": 7})
    photos = [write_image(folder / f"{seed}.png", noise_image(64, 64, seed)) for seed in range(5, 8)]
    export_onnx(checkpoint, path, size_wh=(64, 64), images=photos)
    return path


def letterboxed(side_px: int) -> torch.Tensor:
    """The photos of the package as training sees images: float32 (B,3,S,S) RGB in 0..1."""
    return torch.stack([as_input(network_input(path, (side_px, side_px))[0, ..., ::-1].copy()) for path in IMAGES])


def test_all_three_models_are_shipped():
    assert [path.stem for path in SHIPPED] == ["mobile", "nano", "pico"]
    assert [shipped_path(path.stem) for path in SHIPPED] == SHIPPED
    assert shipped_path("resnet50") is None
    assert shipped_path("../models/nano") is None


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_model_read_back_computes_the_same_before_and_after_its_norms_are_restored(path):
    checkpoint = read_onnx(path)
    names = checkpoint.config.class_names
    model = checkpoint.build()

    before = compare(path, model, IMAGES, names, SAME)
    restore_norms(model, letterboxed(checkpoint.config.input_size))
    after = compare(path, model, IMAGES, names, SAME)

    assert checkpoint.config.arch == path.stem
    assert 0 < checkpoint.threshold < 1
    assert before.detections == after.detections > 5
    assert max(before.box_px, after.box_px) <= 0.01


def test_exported_model_read_back_has_the_weights_that_are_not_folded(exported, trained):
    original = trained.state_dict()

    checkpoint = read_onnx(exported)

    assert checkpoint.config == ModelConfig("nano", CLASS_NAMES, 64)
    assert checkpoint.info == {"epoch": 7}
    for name in ("rpn.head.cls_logits.weight", "rpn.head.bbox_pred.bias", "roi_heads.box_head.fc6.weight"):
        torch.testing.assert_close(checkpoint.model[name], original[name])
    predictor = "roi_heads.box_predictor.bbox_pred.weight"
    torch.testing.assert_close(
        checkpoint.model[predictor][4:], original[predictor][4:]
    )  # those of the background are lost


@pytest.mark.parametrize("restored", [False, True])
def test_exported_model_read_back_computes_the_same(exported, restored):
    model = read_onnx(exported).build()
    inputs = torch.stack([as_input(noise_image(64, 64, seed)) for seed in range(4)])
    if restored:
        restore_norms(model, inputs)

    reference = read_onnx(exported).build()
    differences = compare(exported, model, sorted(exported.parent.glob("*.png")), CLASS_NAMES, SAME)

    assert differences.detections > 5
    assert differences.box_px <= 0.01
    with torch.inference_mode():
        for level, expected in zip(model.backbone(inputs).values(), reference.backbone(inputs).values(), strict=True):
            torch.testing.assert_close(level, expected, atol=1e-4, rtol=1e-3)


def test_restored_norms_leave_training_near_what_evaluation_computes(exported):
    """What they are for: normalised by the batch, features stay what they are."""
    inputs = 2 * torch.rand(8, 3, 64, 64, generator=torch.Generator().manual_seed(0)) - 1

    def change(model: nn.Module) -> float:
        with torch.no_grad():
            expected = model.eval().backbone(inputs)
            found = model.train().backbone(inputs)
        return max(float((found[k] - expected[k]).std() / expected[k].std()) for k in expected)

    folded, restored = read_onnx(exported).build(), read_onnx(exported).build()
    restored.transform.image_mean, restored.transform.image_std = [0.0] * 3, [1.0] * 3  # the inputs as they are
    restore_norms(restored, inputs)

    assert change(restored) < 0.01
    assert change(folded) > 0.5


def test_restored_filters_have_the_norm_of_a_random_start(exported):
    model = read_onnx(exported).build()
    restore_norms(model, torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)))

    conv = model.backbone.body["0"][0]
    fan_out = conv.out_channels * 9
    expected = (2 / fan_out * conv.weight[0].numel()) ** 0.5
    torch.testing.assert_close(
        conv.weight.flatten(1).norm(dim=1), torch.full((conv.out_channels,), expected), atol=1e-4, rtol=1e-4
    )


def test_norms_that_are_no_identities_are_restored_too(trained):
    """New channels of a widened model have norms of their own."""
    reference, model = trained, copy.deepcopy(trained)
    inputs = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))

    restore_norms(model, inputs)

    with torch.inference_mode():
        for level, expected in zip(model.backbone(inputs).values(), reference.backbone(inputs).values(), strict=True):
            torch.testing.assert_close(level, expected, atol=1e-3, rtol=1e-3)


@pytest.mark.slow
def test_frozen_norms_of_resnet50_come_back_frozen(tmp_path):
    torch.manual_seed(0)
    model = make_distinct(build_model(ModelConfig("resnet50", CLASS_NAMES, 64, frozen_norm=True)).eval())
    static = StaticFasterRCNN(model, (64, 64)).eval()
    static.freeze([])
    proto = trace(static)
    metadata = ModelMetadata(CLASS_NAMES, (64, 64), 100, 0.5, 0.05, "resnet50", {})
    onnx.helper.set_model_props(proto, metadata.to_props())
    onnx.save(proto, tmp_path / "resnet50.onnx")
    inputs = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))

    start = initial_model(ModelConfig("resnet50", CLASS_NAMES, 64), str(tmp_path / "resnet50.onnx"))
    restore_norms(start.model, inputs)  # nothing to do

    assert start.config.frozen_norm
    assert start.reinitialized == ()
    with torch.inference_mode():
        for level, expected in zip(start.model.backbone(inputs).values(), model.backbone(inputs).values(), strict=True):
            torch.testing.assert_close(level, expected, atol=1e-3, rtol=1e-3)


def test_shipped_model_is_a_start_for_other_classes_and_a_wider_architecture():
    start = initial_model(ModelConfig("nano", ("cat", "dog"), 64), "nano")
    wider = initial_model(ModelConfig("mobile", ("face", "eye", "eyebrow", "nose", "mouth"), 64), "nano")

    assert start.is_folded
    assert start.reinitialized == ("roi_heads.box_predictor.cls_score", "roi_heads.box_predictor.bbox_pred")
    assert wider.reinitialized == ()


def with_props(source: Path, path: Path, **changes: object) -> Path:
    """A copy of an ONNX file with other metadata."""
    proto = onnx.load(source)
    metadata = ModelMetadata.from_props({p.key: p.value for p in proto.metadata_props}, "source")
    onnx.helper.set_model_props(proto, replace(metadata, **changes).to_props())
    onnx.save(proto, path)
    return path


def foreign(path: Path) -> Path:
    graph = onnx.helper.make_graph([], "nothing", [], [])
    onnx.save(onnx.helper.make_model(graph), path)
    return path


def without_a_weight(source: Path, path: Path) -> Path:
    proto = onnx.load(source)
    kept = [t for t in proto.graph.initializer if t.name != "roi_heads.box_head.fc7.weight"]
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(kept)
    onnx.save(proto, path)
    return path


def damaged(path: Path) -> Path:
    path.write_bytes(np.arange(200, dtype=np.uint8).tobytes())
    return path


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda source, path: with_props(source, path, precision="float16"), "has float16 weights. Continue training"),
        (lambda _source, path: foreign(path), "no metadata of this app"),
        (lambda _source, path: path, "not found"),
        (lambda _source, path: path.mkdir() or path, "Is a directory"),
        (lambda _source, path: damaged(path), "not a readable ONNX file"),
        (lambda source, path: with_props(source, path, architecture="giga"), "unknown architecture 'giga'"),
        (lambda source, path: with_props(source, path, architecture="mobile"), "exported by another version"),
        (without_a_weight, "the weight 'roi_heads.box_head.fc7.weight' is missing"),
    ],
    ids=["float16", "foreign", "missing", "folder", "damaged", "architecture", "shape", "weight"],
)
def test_file_that_cannot_be_trained_on_is_refused_in_one_line(exported, tmp_path, make, message):
    path = make(exported, tmp_path / "model.onnx")

    with pytest.raises(TrainError) as error:
        read_onnx(path)

    assert message in str(error.value)
    assert str(path) in str(error.value) or "unknown architecture" in message
    assert "\n" not in str(error.value)

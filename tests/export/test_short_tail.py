"""``export onnx --tail short``: the same detector in a quarter of the operations after its network."""

import copy
import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from test_static import chain, clipped_rois, crowd, greedy
from tiny_data import CLASS_NAMES, as_input, make_data_set, noise_image
from torchvision.ops import box_iou
from typer.testing import CliRunner

from export.cli import app
from export.short_tail import (
    ShortFasterRCNN,
    ShortRoIAlign,
    ShortRoIHeads,
    overlap_margins,
    parts_map,
    to_outward,
)
from export.static import Budget, StaticFasterRCNN, feature_shapes
from export.verify import compare_image
from realtime.inference.detector import OnnxDetector, find_model
from realtime.inference.providers import Provider
from train.models.architectures import ARCHITECTURES
from train.models.onnx_weights import read_onnx

SIDE = 64
HW = (96, 64)
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def bgr(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image[None, ..., ::-1].copy())


def without_suppressed_proposals(model, proposals: int):
    """torchvision's model with as many proposals, none of which suppresses another."""
    model = copy.deepcopy(model)
    for budget in (model.rpn._pre_nms_top_n, model.rpn._post_nms_top_n):
        budget["testing"] = proposals
    model.rpn.nms_thresh, model.rpn.min_size = 1.0, 0.0
    return model


@pytest.mark.parametrize("arch", list(ARCHITECTURES))
def test_it_is_torchvisions_function_without_suppression_of_proposals(lively_model, arch):
    model = lively_model(arch)
    short = ShortFasterRCNN(model, HW, Budget(proposals=60, rounds=20, candidates=120)).eval()
    reference = without_suppressed_proposals(model, 60)
    for seed in (100, 101):
        image = noise_image(*HW, seed=seed)
        with torch.inference_mode():
            expected = reference([as_input(image)])[0]
            boxes, scores, labels = (output.numpy() for output in short(bgr(image)))

        assert (boxes.shape, scores.shape, labels.shape) == ((120, 4), (120,), (120,))
        known = [expected[name].numpy() for name in ("boxes", "scores", "labels")]
        differences = compare_image(
            (known[0], known[1], known[2] - 1), (boxes, scores, labels), f"seed {seed}", CLASS_NAMES
        )
        assert differences.detections > 10
        assert differences.box_px < 0.05


def test_images_of_a_batch_do_not_depend_on_each_other(lively_model):
    short = ShortFasterRCNN(lively_model("nano"), HW).eval()
    images = [bgr(noise_image(*HW, seed=seed)) for seed in (100, 101)]
    images.append(torch.full((1, *HW, 3), 114, dtype=torch.uint8))
    with torch.inference_mode():
        alone = [short(image) for image in images]
        together = short(torch.cat(images))
    for i, expected in enumerate(alone):
        for output, values in zip(together, expected, strict=True):
            torch.testing.assert_close(output[i], values, rtol=1e-4, atol=0.01)


def test_layers_with_weights_are_halved(lively_model):
    short = ShortFasterRCNN(lively_model("pico"), (SIDE, SIDE)).eval()
    image = bgr(noise_image(SIDE, SIDE, seed=100))
    with torch.inference_mode():
        exact = short(image)
        short.to_float16()
        boxes, scores, labels = short(image)
    assert {p.dtype for p in short.parameters()} == {torch.float16}
    assert (boxes.dtype, scores.dtype, labels.dtype) == (torch.float32, torch.float32, torch.int64)
    best = int(exact[1].argmax())
    same = (labels == exact[2][best]) & ((boxes - exact[0][best]).abs().amax(1) < 2)
    assert (scores[same] - exact[1][best]).abs().min() < 0.01


@pytest.mark.parametrize("iou", [0.3, 0.5, 0.7])
def test_margins_are_positive_where_boxes_overlap_beyond_the_threshold(iou):
    boxes = crowd(1, 80, seed=1)[0].clamp(0, 60)
    planes = to_outward(boxes.t(), (60, 60))[None]
    sides = (planes[:, :2] + planes[:, 2:]) * torch.tensor([iou / (1 + iou), 1.0]).view(1, 2, 1)

    margins = overlap_margins(planes, sides)[0]

    has_area = (boxes[:, 2:] > boxes[:, :2]).all(1)
    overlaps = (box_iou(boxes, boxes) > iou) & has_area & has_area[:, None]
    assert torch.equal(margins > 0, overlaps)


class Suppressing(ShortRoIHeads):
    """The part that suppresses ``count`` boxes, one of which is the constant."""

    def __init__(self, count: int, rounds: int) -> None:
        torch.nn.Module.__init__(self)
        self.max_detections, self.rounds = count + 1, rounds
        self.suppressed = -1e9 * torch.ones(count + 1, count + 1).tril(-1)
        self.suppressed[-1] = 0
        self.alone = torch.zeros(count + 1)
        self.alone[-1] = 1


def kept_of(boxes: torch.Tensor, iou: float, rounds: int) -> torch.Tensor:
    """Which of boxes (N,4), by falling score, stay."""
    extended = torch.cat([boxes, torch.zeros(1, 4)])
    planes = to_outward(extended.t(), (60, 60))[None]
    sides = (planes[:, :2] + planes[:, 2:]) * torch.tensor([iou / (1 + iou), 1.0]).view(1, 2, 1)
    return Suppressing(len(boxes), rounds)._kept(overlap_margins(planes, sides))[0, :-1] > 0


@pytest.mark.parametrize("iou", [0.3, 0.5])
def test_suppression_is_torchvisions(iou):
    for seed in range(10):
        boxes = crowd(1, 60, seed).clamp(0, 60)
        boxes = boxes[:, (boxes[0, :, 2:] > boxes[0, :, :2]).all(1)]
        everything = torch.ones(boxes.shape[:2], dtype=torch.bool)
        assert torch.equal(kept_of(boxes[0], iou, rounds=40)[None], greedy(boxes, everything, iou)), f"seed {seed}"


@pytest.mark.parametrize("rounds", [1, 2, 3, 6])
def test_each_round_settles_a_link_of_a_chain(rounds):
    """Odd rounds keep too few, even rounds too many, never among the first."""
    kept = kept_of(chain(12)[0], 0.3, rounds).tolist()
    assert kept[: rounds + 1] == [i % 2 == 0 for i in range(rounds + 1)]


def test_classes_do_not_suppress_each_other():
    """Boxes of the whole image in each of many classes."""
    classes, iou = 80, 0.5
    ids = torch.arange(classes) / (2 * classes)
    planes = torch.cat([torch.full((4, classes), 0.5), ids[None], torch.full((1, classes), 0.5)])[None]
    apart, sides, corners = torch.split(parts_map((480, 640), classes, iou) @ planes, [4, 2, 5], dim=1)
    margins = overlap_margins(apart, sides)[0]
    assert torch.equal(margins > 0, torch.eye(classes, dtype=torch.bool))
    torch.testing.assert_close(corners[0, :, 7], torch.tensor([0.0, 0, 640, 480, 1]))


@pytest.mark.parametrize("hw", [(64, 96), (256, 320)])
@pytest.mark.parametrize("arch", ["nano", "resnet50"])
def test_roi_features_are_those_of_multi_scale_roi_align(lively_model, arch, hw):
    model = lively_model(arch)
    pool = model.roi_heads.box_roi_pool
    features = {n: torch.rand(1, model.backbone.out_channels, *s) for n, s in feature_shapes(model, hw).items()}
    rois = clipped_rois(hw, 250)
    pool(features, [rois[:1]], [hw])  # sets up the assignment to levels
    strides = 1 / torch.tensor(pool.scales)[pool.map_levels([rois])]
    rois = rois[(rois[:, 2:] - rois[:, :2]).min(dim=1).values >= strides]
    planes = to_outward(rois.t(), hw)[None]
    areas = (planes[:, :2] + planes[:, 2:]).prod(1)
    extended = torch.cat([planes, torch.full_like(planes[:, :1], 0.5)], dim=1)

    found = ShortRoIAlign(model, hw)(list(features.values()), extended, areas)

    same = (found - pool(features, [rois], [hw])).abs().flatten(1).amax(1) < 1e-3
    assert same.float().mean() > 0.98  # areas on the edge of two levels may be rounded to either


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    """``pico``, as it comes with the app, scored on a few images of nothing; not to be changed."""
    folder = tmp_path_factory.mktemp("short")
    names = read_onnx(find_model("pico")).config.class_names
    data = make_data_set(folder / "data", train=1, val=2, names=names)
    path = folder / "short.onnx"
    result = CliRunner().invoke(app, ["onnx", "pico", "--tail", "short", "-o", str(path), "--data", str(data)])
    assert result.exit_code == 0, result.output
    first, second = result.output.splitlines()
    assert "input 192x192, short tail; verified: " in first
    assert second.startswith(f"on {data}: mAP50 0.")
    assert "; against its checkpoint: mAP50 -0." in second
    return path


def test_a_quarter_of_the_operations_is_left(exported, monkeypatch):
    spec = importlib.util.spec_from_file_location("graph_nodes", BENCHMARKS / "graph_nodes.py")
    graph_nodes = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "graph_nodes", graph_nodes)
    spec.loader.exec_module(graph_nodes)

    report = {str(path): graph_nodes.counts_of(path) for path in (find_model("pico"), exported)}

    whole, short = (
        sum(sum(kinds.values()) for stage, kinds in stages.items() if stage != "network") for stages in report.values()
    )
    calibration = 8  # operations on the scores at the end, in both
    assert short - calibration < 60 < 200 < whole
    lines = graph_nodes.table(report).splitlines()
    assert lines[2].split()[:6] == [str(exported), *lines[2].split()[1:5], str(short)]
    assert report[str(exported)]["box head"] == {"FusedGemm": 2, "Gemm": 1}


def test_the_app_finds_what_the_exact_tail_finds(exported, photos):
    from realtime.image_io import read_image

    whole, short = (OnnxDetector(path, provider=Provider.CPU) for path in (find_model("pico"), exported))
    image = read_image(photos / "astronaut_close.jpg")
    expected, found = (detector.detect(image).above(0.8) for detector in (whole, short))
    assert short.metadata.max_detections == 512
    assert sorted(found.names) == sorted(expected.names)
    for label in set(expected.labels.tolist()):
        one, other = (torch.from_numpy(d.boxes[d.labels == label]) for d in (expected, found))
        assert (box_iou(one, other).amax(1) > 0.8).all()


def test_weights_are_read_back_bit_by_bit(exported):
    """The background's deltas, which nothing reads, are 0 in both."""
    one, other = (read_onnx(path) for path in (find_model("pico"), exported))
    assert one.config == other.config
    assert one.model.keys() == other.model.keys()
    for name, values in one.model.items():
        torch.testing.assert_close(other.model[name], values, rtol=1e-6, atol=1e-7, msg=name)


def test_it_is_exported_again_as_it_was_trained(exported, tmp_path, monkeypatch):
    """An ONNX file in place of a checkpoint, with the size and the threshold that it has."""
    seen = {}

    def export_onnx(checkpoint, _out, **options):
        seen.update(options, checkpoint=checkpoint)
        raise OSError("enough")

    monkeypatch.setattr("export.cli.export_onnx", export_onnx)
    CliRunner().invoke(app, ["onnx", str(exported), "-o", str(tmp_path / "m.onnx"), "--rounds", "7"])
    assert seen["size_wh"] == (192, 192)
    assert seen["budget"] == Budget(rounds=7)
    assert not seen["short_tail"]
    assert seen["checkpoint"].config.model_options == {"box_score_thresh": 0.05}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--tail", "short", "--pre-nms", "100"], "--pre-nms: the short tail suppresses nothing in the first stage"),
        (["--candidates", "100"], "--candidates: for --tail short alone"),
        (["--data", "nowhere.yaml"], "cannot read nowhere.yaml"),
    ],
)
def test_what_does_not_go_together_is_refused_before_the_work(export_cli, tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    code, _, err = export_cli("onnx", "nano", *options)
    assert code == 1
    assert err.startswith(f"error: {message}")
    assert err.count("\n") == 1


def test_fewer_proposals_are_torchvisions_with_as_many(lively_model):
    """``--proposals`` and ``--pre-nms`` are those of the model, against which the export is verified."""
    from export.to_onnx import _with_proposals
    from train.models.architectures import ModelConfig
    from train.models.checkpoint import Checkpoint

    checkpoint = Checkpoint(ModelConfig("nano", CLASS_NAMES, SIDE), lively_model("nano").state_dict(), {})
    model = _with_proposals(checkpoint, Budget(proposals=20, pre_nms=30)).build()
    assert (model.rpn.post_nms_top_n(), model.rpn.pre_nms_top_n()) == (20, 30)
    static = StaticFasterRCNN(model, (SIDE, SIDE)).eval()
    assert (static.rpn.num_rois, max(static.rpn.budgets)) == (20, 30)
    assert replace(checkpoint).config == _with_proposals(checkpoint, Budget()).config


def test_rounds_that_were_asked_for_are_those_of_the_graph(lively_model):
    static = StaticFasterRCNN(lively_model("nano"), (SIDE, SIDE), Budget(rounds=5)).eval()
    static.freeze([bgr(noise_image(SIDE, SIDE, seed=1))])
    assert (static.rpn.suppress.rounds, static.roi_heads.suppress.rounds) == (5, 5)


def test_the_graph_has_no_parts_of_unknown_shape(exported):
    from export.verify import check_static

    check_static(onnx.load(exported))


@pytest.mark.parametrize(("arch", "proposals"), [("nano", 400), ("resnet50", 1000)])
def test_there_are_no_fewer_proposals_than_in_the_model(lively_model, arch, proposals):
    assert ShortFasterRCNN(lively_model(arch), (SIDE, 128)).rpn.num_rois == proposals

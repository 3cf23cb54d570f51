"""Scores that mean what they say."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_data import CLASS_NAMES, make_data_set

import train.evaluation.calibrate
from train.data.data_yaml import load_data_config
from train.data.dataset import load_split
from train.evaluation.calibrate import (
    CalibrationError,
    EarlierCalibration,
    calibrated_metrics,
    fit_calibration,
    with_new_figures,
)
from train.evaluation.evaluate import detect, evaluate
from train.evaluation.matching import Boxes, ClassMatches
from train.evaluation.metrics import evaluate_boxes
from train.evaluation.reliability import mean_gap, reliability
from train.evaluation.tables import reliability_table
from train.models.architectures import ModelConfig, build_model
from train.models.averaging import average_weights
from train.models.calibration import Calibration
from train.models.checkpoint import Checkpoint, load_checkpoint, load_file

KNOWN = Calibration(0.7, 1.6, (0.1, 0.3, 0.15))
TWO = Calibration(0.8, 1.5, (0.2, 0.4))


def drawn(calibration: Calibration, count: int, seed: int = 0) -> list[np.ndarray]:
    """For each class detections (D,2) that are as right as the calibration says."""
    rng = np.random.default_rng(seed)
    found = []
    for label in range(len(calibration.factors)):
        scores = np.concatenate([rng.beta(0.5, 2, count // 2), rng.beta(5, 0.5, count - count // 2)])
        scores = np.clip(scores, 0.05, 1 - 1e-6)
        shares = of_class(calibration, scores, label)
        found.append(np.stack([scores, rng.random(count) < shares], axis=1))
    return found


def of_class(calibration: Calibration, scores: np.ndarray, label: int) -> np.ndarray:
    labels = torch.full((len(scores),), label)
    return calibration(torch.from_numpy(scores).float(), labels).numpy()


def matches(*rows: tuple[float, bool]) -> ClassMatches:
    detections = np.array([[score, right, 0.8 * right] for score, right in rows], np.float64)
    return ClassMatches(1, detections, np.zeros((10, 101)))


@pytest.mark.parametrize("label", range(3))
def test_the_map_rises_from_0_to_1(label):
    scores = np.array([0, *np.linspace(0.01, 0.9999, 500), 1])
    mapped = of_class(KNOWN, scores, label)
    assert (mapped[0], mapped[-1]) == (0, 1)
    assert (np.diff(mapped) > 0).all()
    assert of_class(KNOWN, np.array([1.0000002]), label) == 1  # a softmax may exceed 1


def test_a_fit_recovers_the_map_that_the_detections_were_drawn_from():
    found = fit_calibration(drawn(KNOWN, 20_000))

    assert (found.a, found.b) == pytest.approx((KNOWN.a, KNOWN.b), rel=0.1)
    scores = np.linspace(0.05, 0.99, 100)
    for label in range(3):
        assert of_class(found, scores, label) == pytest.approx(of_class(KNOWN, scores, label), abs=0.02)


def test_scores_that_are_right_stay_as_they_are():
    identity = Calibration(1.0, 1.0, (1.0, 1.0))
    scores = np.linspace(0.05, 0.95, 19)
    assert of_class(fit_calibration(drawn(identity, 20_000)), scores, 0) == pytest.approx(scores, abs=0.02)


def test_a_class_with_few_detections_keeps_to_the_others():
    face, eye, _ = drawn(Calibration(0.7, 1.6, (0.2, 0.2, 0.2)), 4000)
    lucky = np.array([[0.3, 1.0], [0.4, 1.0]])

    found = fit_calibration([face, eye, lucky, np.zeros((0, 2))])

    assert found.factors[0] < found.factors[2] < 4 * found.factors[0]
    assert found.factors[3] == pytest.approx(np.sqrt(found.factors[0] * found.factors[1]), rel=0.6)


def test_scores_that_say_nothing_still_give_a_map_that_rises():
    rng = np.random.default_rng(0)
    scores = rng.uniform(0.05, 0.95, 2000)
    against = np.stack([scores, rng.random(2000) > scores], axis=1)  # the surer, the wronger

    found = fit_calibration([against])

    assert min(found.a, found.b, *found.factors) > 0
    assert (np.diff(of_class(found, np.linspace(0.05, 0.95, 50), 0)) > 0).all()


@pytest.mark.parametrize(("right", "wrong"), [(19, 500), (500, 19), (0, 0)])
def test_too_few_detections_are_refused(right, wrong):
    rows = np.array([[0.8, 1.0]] * right + [[0.2, 0.0]] * wrong).reshape(-1, 2)
    with pytest.raises(CalibrationError, match=f"on {right} right and {wrong} wrong detections: it takes 20 of each"):
        fit_calibration([rows])


def test_an_earlier_calibration_is_kept_where_little_speaks_against_it():
    few, many = drawn(TWO, 40, seed=1), drawn(TWO, 20_000, seed=1)
    before = Calibration(1.1, 1.9, (0.5, 0.9))
    earlier = EarlierCalibration(before, (0, 1))
    scores = np.linspace(0.05, 0.95, 19)

    def off(found: Calibration, other: Calibration) -> float:
        return max(np.abs(of_class(found, scores, i) - of_class(other, scores, i)).max() for i in (0, 1))

    assert off(fit_calibration([np.zeros((0, 2))] * 2, earlier), before) < 1e-6
    assert off(fit_calibration(many, earlier), TWO) < 0.02
    assert off(fit_calibration(drawn(before, 40), earlier), before) < off(fit_calibration(drawn(before, 40)), before)
    assert off(fit_calibration(few, earlier), before) < off(TWO, before)


def test_an_earlier_calibration_follows_its_classes_and_says_little_of_new_ones():
    nothing = np.zeros((0, 2))
    kept = fit_calibration([nothing, nothing, nothing], EarlierCalibration(KNOWN, (2, None, 0)))
    assert (kept.a, kept.b) == pytest.approx((KNOWN.a, KNOWN.b), rel=1e-4)
    assert (kept.factors[0], kept.factors[2]) == pytest.approx((KNOWN.factors[2], KNOWN.factors[0]), rel=1e-4)
    assert kept.factors[1] == pytest.approx((KNOWN.factors[2] * KNOWN.factors[0]) ** 0.5, rel=1e-4)

    mostly_right = np.array([[0.4, 1.0]] * 60 + [[0.4, 0.0]] * 6)
    found = fit_calibration([nothing, mostly_right, nothing], EarlierCalibration(KNOWN, (2, None, 0)))
    assert of_class(found, np.array([0.4]), 1)[0] == pytest.approx(0.9, abs=0.05)
    assert of_class(found, np.array([0.4]), 0)[0] < 0.5


def test_the_gap_is_the_mean_over_bins_with_20_detections():
    low = matches(*[(0.25, i < 5) for i in range(20)])  # 0.25 said, 0.25 right
    high = matches(*[(0.95, i < 15) for i in range(20)], *[(0.75, True)] * 19)  # 0.95 said, 0.75 right; too few

    bins = reliability([low, high])

    assert [each.detections for each in bins] == [0, 0, 20, 0, 0, 0, 0, 19, 0, 20]
    assert (bins[2].right, bins[9].right, bins[7].right) == (0.25, 0.75, 1)
    assert mean_gap(bins) == pytest.approx((0 + 0.2) / 2)
    assert np.isnan(mean_gap(reliability([matches((0.5, True))])))


def test_scores_on_an_edge_are_in_the_upper_bin_and_1_in_the_last():
    bins = reliability([matches((0.3, True), (0.7, True), (1.0, True))])
    assert [i for i, each in enumerate(bins) if each.detections] == [3, 7, 9]


@pytest.fixture(scope="module")
def scored():
    """Metrics of detections in 60 images, right and wrong, whose scores are too high."""
    rng = np.random.default_rng(3)
    labelled, predicted = [], []
    for _ in range(60):
        corners = rng.uniform(0, 200, (6, 2))
        boxes = np.concatenate([corners, corners + rng.uniform(20, 60, (6, 2))], axis=1).astype(np.float32)
        labels = rng.integers(1, 3, 6)
        labelled.append(Boxes(boxes[:3], labels[:3], np.ones(3, np.float32)))
        moved = (boxes + rng.normal(0, 3, boxes.shape)).astype(np.float32)
        scores = np.sort(np.concatenate([rng.beta(8, 1, 3), rng.beta(2, 2, 3)]).astype(np.float32))[::-1]
        predicted.append(Boxes(moved, labels, scores.copy()))
    return evaluate_boxes(labelled, predicted, ("face", "eye"))


def test_ap_and_boxes_stay(scored):
    after = calibrated_metrics(scored, TWO)

    assert (after.map50, after.map50_95) == pytest.approx((scored.map50, scored.map50_95), abs=5e-5)
    assert after.threshold == 0.5
    for before, now in zip(scored.predicted, after.predicted, strict=True):
        assert np.array_equal(before.boxes, now.boxes)
        assert (before.scores != now.scores).all()


def test_calibrated_scores_are_nearer_to_the_truth(scored):
    fitted = fit_calibration([found.detections for found in scored.matching.classes])
    assert calibrated_metrics(scored, fitted).score_gap < scored.score_gap / 2


def test_the_report_has_counts_and_shares(scored):
    title, header, counts, shares = reliability_table(scored).splitlines()
    assert title.endswith(f": {scored.score_gap:.3f}")
    assert header.split() == ["score", *(f"{i / 10:.1f}-{(i + 1) / 10:.1f}" for i in range(10))]
    assert sum(map(int, counts.split()[1:])) == 360
    assert len(shares.split()) == 11
    assert scored.as_dict()["score_gap"] == round(scored.score_gap, 4)


def test_figures_are_new_where_they_are_of_the_same_data(scored):
    old = scored.as_dict() | {"proposal_recall": 0.9}
    after = calibrated_metrics(scored, TWO)

    new = with_new_figures(old, [after])

    assert (new["threshold"], new["proposal_recall"]) == (0.5, 0.9)  # there were no proposals to score
    assert with_new_figures(old | {"map50": 0.1}, [after]) == old | {"map50": 0.1}
    assert with_new_figures(None, [after]) is None


@pytest.fixture(scope="module")
def lively(tmp_path_factory):
    """A checkpoint, and the data.yaml of a data set in which half of what it detects is labelled."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("lively")
    config = ModelConfig("pico", CLASS_NAMES, 64)
    model = build_model(config).eval()
    torch.nn.init.normal_(model.roi_heads.box_predictor.cls_score.weight, std=0.3)
    checkpoint = Checkpoint(config, model.state_dict(), {"metrics": {"threshold": 0.3, "map50": 2, "map50_95": 2}})
    data = make_data_set(folder / "data", train=1, val=8)
    images = load_split(load_data_config(data), "val")
    for image, found in zip(images, detect(model, images, size=64, device=torch.device("cpu")), strict=True):
        lines = []
        for box, label in zip(found.predicted.boxes[::2] / 64, found.predicted.labels[::2], strict=True):
            (x1, y1, x2, y2) = box.tolist()
            lines.append(f"{label - 1} {(x1 + x2) / 2} {(y1 + y2) / 2} {x2 - x1} {y2 - y1}\n")
        (data.parent / "labels" / "val" / f"{image.path.stem}.txt").write_text("".join(lines))
    checkpoint.save(folder / "best.pt")
    return folder / "best.pt", data


def test_a_model_with_a_calibration_finds_the_same_boxes_with_other_scores(lively):
    checkpoint = load_checkpoint(lively[0])
    calibrated = replace(checkpoint, config=replace(checkpoint.config, calibration=TWO))
    image = torch.rand(3, 64, 64)
    with torch.inference_mode():
        plain, found = (model.build()([image])[0] for model in (checkpoint, calibrated))

    assert len(plain["scores"]) > 5
    wanted = TWO(plain["scores"], plain["labels"] - 1)
    order = wanted.argsort(descending=True, stable=True)
    assert torch.equal(found["scores"], wanted[order])
    assert torch.equal(found["boxes"], plain["boxes"][order])
    assert torch.equal(found["labels"], plain["labels"][order])
    assert checkpoint.build().state_dict().keys() == calibrated.build().state_dict().keys()


def test_a_checkpoint_keeps_its_calibration(lively, tmp_path):
    checkpoint = load_checkpoint(lively[0])
    assert checkpoint.threshold == 0.3
    assert "calibration" not in load_file(lively[0])["config"]  # earlier versions read it

    replace(checkpoint, config=replace(checkpoint.config, calibration=TWO)).save(tmp_path / "best.pt")

    loaded = load_checkpoint(tmp_path / "best.pt")
    assert loaded.config.calibration == TWO
    assert loaded.threshold == 0.5


def test_the_command_calibrates_a_checkpoint(lively, tmp_path, train_cli):
    path, data = lively
    before = load_checkpoint(path)
    out = tmp_path / "calibrated.pt"

    code, printed, err = train_cli("calibrate", path, data, data, "--out", out, "--device", "cpu")

    assert (code, err) == (0, "")
    lines = printed.splitlines()
    assert lines[1].split()[:2] == [str(data), "8"]
    assert lines[-1] == f"{out}: scores calibrated, default threshold 0.5"
    after = load_checkpoint(out)
    assert after.config == replace(before.config, calibration=after.config.calibration)
    assert after.config.calibration is not None
    assert after.info == before.info  # of other data
    gaps = [gap_of(model, data) for model in (before, after)]
    assert gaps[1] < gaps[0]
    # What is calibrated already begins from the softmax again.
    assert train_cli("calibrate", out, data, data, "--device", "cpu")[0] == 0
    assert load_checkpoint(out).config.calibration == after.config.calibration


def gap_of(checkpoint: Checkpoint, data) -> float:
    images = load_split(load_data_config(data), "val")
    return evaluate(checkpoint.build(), images, size=64, class_names=CLASS_NAMES, device=torch.device("cpu")).score_gap


def test_the_command_says_what_is_missing(lively, tmp_path, train_cli, monkeypatch):
    path, data = lively
    code, _, err = train_cli("calibrate", path, data, "--out", tmp_path / "no" / "best.pt")
    assert (code, err) == (1, f"error: cannot write {tmp_path}/no/best.pt: folder {tmp_path}/no does not exist\n")
    monkeypatch.setattr(train.evaluation.calibrate, "MIN_EACH", 10_000)
    before = path.read_bytes()
    code, _, err = train_cli("calibrate", path, data)
    assert code == 1
    assert err.startswith("error: scores cannot be calibrated on ")
    assert path.read_bytes() == before


def test_averaging_calibrates_anew(lively, tmp_path, train_cli):
    path, data = lively
    one = load_checkpoint(path)
    other = replace(one, config=replace(one.config, calibration=TWO))
    other.save(tmp_path / "other.pt")
    assert average_weights([one, other]).keys() == one.model.keys()
    doubled = replace(other, model={name: 2 * value for name, value in other.model.items()})
    mean_of_them = average_weights([one, doubled], (0.75, 0.25))
    for name, value in one.model.items():
        expected = 1.25 * value if value.is_floating_point() else value
        assert torch.allclose(mean_of_them[name], expected), name

    code, _, _ = train_cli("average", data, path, tmp_path / "other.pt", "--out", tmp_path / "mean.pt")

    assert code == 0
    mean = load_checkpoint(tmp_path / "mean.pt")
    assert mean.config.calibration not in (None, TWO)
    assert mean.info["metrics"]["threshold"] == 0.5
    assert json.dumps(mean.info)

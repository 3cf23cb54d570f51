"""What `fit` does by itself where it trains on a detector of this project, and what it leaves to the user."""

import json

import pytest
import torch
from tiny_data import make_data_set
from torch import nn
from typer.testing import CliRunner

from train.cli import app
from train.errors import TrainError
from train.loop.options import FEW_IMAGES, GENTLE_LR, GENTLE_WARMUP_STEPS, LR, NEW_CLASS_LR, WARMUP_STEPS, FitOptions
from train.loop.run import Run
from train.models.architectures import ModelConfig, build_model
from train.models.checkpoint import Checkpoint

SMALL = ("--size", "64", "--batch-size", "2", "--epochs", "1", "--workers", "0", "--device", "cpu")


@pytest.fixture
def options_of(tiny_yaml, tmp_path, monkeypatch):
    """The options of a run with these arguments, which does not train."""
    options: list[FitOptions] = []

    def stop(run: Run, **_: object) -> None:
        options.append(run.options)
        raise TrainError("that was enough")

    monkeypatch.setattr(Run, "fit", stop)

    def fit(*arguments: str) -> FitOptions:
        command = ["fit", str(tiny_yaml), "--out", str(tmp_path / "run"), *SMALL, "--arch", "nano", *arguments]
        assert str(CliRunner().invoke(app, command).exception) == "that was enough"
        return options.pop()

    return fit


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_shipped_detector_is_trained_on_gently(options_of, optimizer):
    fresh = options_of("--weights", "none", "--optimizer", optimizer)
    assert (fresh.lr, fresh.warmup_steps, fresh.freeze_norms) == (LR[optimizer], WARMUP_STEPS, False)

    gentle = options_of("--weights", "nano", "--optimizer", optimizer)
    assert (gentle.lr, gentle.warmup_steps, gentle.freeze_norms) == (GENTLE_LR[optimizer], GENTLE_WARMUP_STEPS, True)
    assert gentle.lr < fresh.lr


def test_what_the_user_says_is_done(options_of):
    chosen = options_of("--weights", "nano", "--lr", "0.02", "--warmup-steps", "500", "--no-freeze-norms")
    assert (chosen.lr, chosen.warmup_steps, chosen.freeze_norms) == (0.02, 500, False)
    assert options_of("--weights", "none", "--freeze-norms").freeze_norms


def test_an_own_checkpoint_is_trained_on_gently_but_not_a_wider_detector(options_of, tmp_path):
    config = ModelConfig("nano", ("red box", "blue disc"), 64)
    Checkpoint(config, build_model(config).state_dict(), {}).save(tmp_path / "best.pt")

    assert options_of("--weights", str(tmp_path / "best.pt")).lr == GENTLE_LR["sgd"]
    assert options_of("--arch", "mobile", "--weights", str(tmp_path / "best.pt")).lr == LR["sgd"]


@pytest.mark.parametrize(
    ("batch_size", "accumulate", "expected"),
    [(FEW_IMAGES, 1, False), (FEW_IMAGES - 1, 1, True), (2 * FEW_IMAGES, 4, True)],
)
def test_norms_keep_their_statistics_where_they_would_see_few_images(batch_size, accumulate, expected):
    given = dict.fromkeys(FitOptions.__slots__) | {"arch": "nano", "weights": "nano", "optimizer": "sgd"}
    options = FitOptions.from_command_line(**given | {"batch_size": batch_size, "accumulate": accumulate})
    assert options.freeze_norms is expected


def statistics(model: nn.Module) -> list[torch.Tensor]:
    return [v for name, v in model.state_dict().items() if name.endswith(("running_mean", "running_var"))]


def test_the_record_of_a_run_has_the_values_it_trained_with_and_resuming_keeps_them(tiny_yaml, tmp_path):
    out = tmp_path / "run"
    command = ["fit", str(tiny_yaml), "--out", str(out), *SMALL, "--arch", "nano", "--weights", "nano"]

    assert CliRunner().invoke(app, command).exit_code == 0

    recorded = json.loads((out / "run.json").read_text())["options"]
    assert recorded["lr"] == GENTLE_LR["sgd"]
    assert recorded["warmup_steps"] == GENTLE_WARMUP_STEPS
    assert recorded["freeze_norms"] is True
    resumed = CliRunner().invoke(app, [*command[:4], "--resume", "--device", "cpu", "--workers", "0", "--lr", "0.02"])
    assert resumed.exit_code == 1
    assert f"the run began with {GENTLE_LR['sgd']}" in str(resumed.exception)


def test_frozen_norms_keep_their_statistics_while_all_else_is_trained(tiny_yaml, tmp_path, monkeypatch):
    seen = []
    train = Run.fit

    def fit(run: Run, **options: object) -> None:
        before = [value.clone() for value in statistics(run.state.model)]
        weights = [p.clone() for p in run.state.model.parameters()]
        train(run, **options)
        seen.append((before, statistics(run.state.model), weights, list(run.state.model.parameters())))

    monkeypatch.setattr(Run, "fit", fit)
    command = ["fit", str(tiny_yaml), "--out", str(tmp_path / "run"), *SMALL, "--arch", "nano", "--weights", "nano"]
    assert CliRunner().invoke(app, command).exit_code == 0

    [(before, after, weights, trained)] = seen
    assert all(map(torch.equal, before, after))
    assert sum(not torch.equal(a, b) for a, b in zip(weights, trained, strict=True)) > 0.9 * len(trained)


def test_what_predicts_a_new_class_is_trained_faster_than_the_rest(tmp_path, monkeypatch):
    """And so it is after a run was resumed."""
    data = make_data_set(tmp_path / "data", train=4, names=("face", "glasses"))
    command = ["fit", str(data), "--out", str(tmp_path / "run"), *SMALL, "--arch", "nano"]
    runs: list[Run] = []

    def stop(run: Run, **_: object) -> None:
        runs.append(run)
        raise TrainError("that was enough")

    monkeypatch.setattr(Run, "fit", stop)
    CliRunner().invoke(app, [*command, "--weights", "nano"])
    runs[0].checkpoint(with_resume=True).save(tmp_path / "run" / "last.pt")
    CliRunner().invoke(app, [*command, "--resume"])
    assert len(runs) == 2
    expected = NEW_CLASS_LR["sgd"] / GENTLE_LR["sgd"]
    assert expected > 1
    for run in runs:
        assert run.new_classes == ("glasses",)
        predictor = run.state.model.roi_heads.box_predictor
        for layer, rows in ((predictor.cls_score, 1), (predictor.bbox_pred, 4)):
            layer.weight.grad = layer.bias.grad = None
            (layer.weight.sum() + layer.bias.sum()).backward()
            gains = torch.tensor([1.0] * 2 * rows + [expected] * rows)
            assert torch.equal(layer.bias.grad, gains)
            assert torch.equal(layer.weight.grad, gains[:, None].expand_as(layer.weight))


@pytest.mark.parametrize(("optimizer", "lr", "gain"), [("sgd", 0.001, 10), ("sgd", 0.02, 1), ("adamw", 0.0001, 1)])
def test_a_high_rate_is_not_raised_for_new_classes(optimizer, lr, gain):
    assert FitOptions(optimizer=optimizer, lr=lr).new_class_gain == pytest.approx(gain)


@pytest.mark.parametrize(
    ("arguments", "arch", "size"),
    [
        ([], "resnet50", 480),
        (["--weights", "none"], "resnet50", 480),
        (["--weights", "nano"], "nano", 256),
        (["--weights", "mobile"], "mobile", 320),
        (["--weights", "nano", "--arch", "mobile"], "mobile", 320),
        (["--weights", "nano", "--size", "192"], "nano", 192),
    ],
)
def test_the_architecture_is_that_of_the_detector_to_train_on_unless_another_is_given(
    arguments, arch, size, monkeypatch, tiny_yaml, tmp_path
):
    chosen = []

    def stop(options, *_):
        chosen.append(options)
        raise TrainError("that was enough")

    monkeypatch.setattr("train.commands.fit.Run", stop)
    CliRunner().invoke(app, ["fit", str(tiny_yaml), "--out", str(tmp_path / "run"), *arguments])
    assert [(options.arch, options.size) for options in chosen] == [(arch, size)]

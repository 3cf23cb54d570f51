"""``fit --search``: what is tried, what is ended early, and that a search goes on where it was stopped."""

import csv
import importlib.util
import shlex
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated

import cv2
import pytest
import typer
from typer.testing import CliRunner

from train.cli import app
from train.cli_options import takes_options
from train.errors import TrainError
from train.loop.engine import diverged
from train.loop.interrupt import InterruptedRunError
from train.loop.options import FitOptions
from train.search.results import fit_command
from train.search.space import base_values, search_space, suggested_values

FIT = [
    *("--arch", "nano", "--weights", "none", "--size", "64", "--epochs", "2", "--batch-size", "2"),
    *("--device", "cpu", "--workers", "0"),
]
OPTIONS = FitOptions(arch="nano", weights="none", epochs=8, lr=0.02)


def test_options_that_are_given_are_not_varied():
    space = search_space(OPTIONS, {"lr", "arch", "rotation_deg"})
    assert [entry.field for entry in space] == ["mosaic", "box_loss_weight"]
    with pytest.raises(TrainError, match="--lr, --mosaic, --rotation, --box-loss-weight"):
        search_space(OPTIONS, {"lr", "mosaic", "rotation_deg", "box_loss_weight"})


def test_values_that_are_tried_lie_in_their_ranges_and_can_be_typed():
    space = search_space(OPTIONS, ())
    middle = SimpleNamespace(suggest_float=lambda _, low, high, log: (low * high) ** 0.5 if log else (low + high) / 3)
    assert suggested_values(middle, space) == {
        "lr": 0.0126, "mosaic": 0.17, "rotation_deg": 10.0, "box_loss_weight": 1.41,
    }  # fmt: skip
    assert base_values(OPTIONS, space) == {"lr": 0.02, "mosaic": 0.15, "rotation_deg": 15.0, "box_loss_weight": 1.0}
    assert base_values(replace(OPTIONS, mosaic=0.9), space)["mosaic"] == 0.5


@pytest.mark.parametrize(
    "options",
    [
        FitOptions(),
        replace(OPTIONS, lr=0.0126, mosaic=0.17, rotation_deg=10.0, box_loss_weight=1.41, size=256),
        FitOptions.from_command_line(
            **{name: getattr(OPTIONS, name) for name in FitOptions.__dataclass_fields__}
            | {"optimizer": "adamw", "time": "8m", "sizes": "64,96", "amp": True, "trainable_layers": 2}
            | dict.fromkeys(("size", "epochs", "schedule", "lr", "weight_decay"))
        ),
    ],
)
def test_command_of_the_best_options_gives_these_options(options):
    parsed = []
    program = typer.Typer()

    @program.command()
    @takes_options(FitOptions, build=FitOptions.from_command_line)
    def fit(data: Path, out: Annotated[Path, typer.Option()], options: FitOptions) -> None:
        parsed.append((data, out, options))

    command = fit_command(options, Path("my data.yaml"), Path("out/best"))

    realtime, train, name, *arguments = shlex.split(command)
    assert (realtime, train, name) == ("realtime", "train", "fit")
    result = CliRunner().invoke(program, arguments)
    assert result.exit_code == 0, result.output
    assert parsed == [(Path("my data.yaml"), Path("out/best"), options)]


def scored(trial, scores):
    """Whether a trial with these metrics is hopeless, epoch by epoch."""
    return [trial.is_hopeless(epoch, score) for epoch, score in enumerate(scores, 1)]


def test_study_begins_with_the_given_options_ends_hopeless_trials_and_repeats_a_stopped_one(tmp_path, monkeypatch):
    import train.search.study
    from train.search.study import Ended, SearchStudy

    study = SearchStudy.begin(tmp_path, OPTIONS, [], 20, ["wandb"])
    trial = study.next_trial()
    assert trial.number == 1
    assert study.trial_options(trial.values) == OPTIONS
    values = []
    for number in range(1, 5):
        trial = trial if number == 1 else study.next_trial()
        values.append(tuple(trial.values.items()))
        assert scored(trial, [0.1, 0.2, 0.3, 0.3]) == 4 * [False]
        study.end(trial, Ended.DONE, 0.3 + 0.01 * number, 8)
    assert len(set(values)) == 4

    stopped = study.next_trial()
    assert scored(stopped, [float("nan")]) == [False]  # too early to say
    again = SearchStudy.resume(tmp_path, None, ["mlflow"])
    assert (again.wanted, again.loggers, again.options) == (20, ("wandb", "mlflow"), OPTIONS)
    trial = again.next_trial()

    assert (trial.number, trial.values) == (5, stopped.values)
    assert scored(trial, [0.5, 0.15]) == [False, True]  # the first counts as it was
    again.end(trial, Ended.PRUNED, 0.15, 3)
    assert [(record.number, record.map50_95, record.ended) for record in again.records()] == [
        *((number, 0.3 + 0.01 * number, Ended.DONE) for number in range(1, 5)), (5, 0.15, Ended.PRUNED),
    ]  # fmt: skip
    assert again.records()[4].values == stopped.values
    assert again.next_trial().number == 6
    assert again.importances() == {}  # of four trials nobody can say
    monkeypatch.setattr(train.search.study, "MIN_TRIALS_OF_IMPORTANCE", 4)
    assert set(again.importances()) == {"lr", "mosaic", "rotation_deg", "box_loss_weight"}
    assert sum(again.importances().values()) == pytest.approx(1)
    assert SearchStudy.resume(tmp_path, 30, []).wanted == 30


class FakeRun:
    """A run that scores best at a mosaic of 0.3, with its epochs in the file ``last.pt``."""

    stop_in: tuple[int, int] | None = None
    """Number of the trial and the epoch after which it is stopped."""

    def __init__(self, options, data, out, *_):
        self.options, self.data, self.out = options, data, out
        self.images = SimpleNamespace(train=[], val=[])
        self.reinitialized, self.new_classes = (), ()
        self.progress = SimpleNamespace(epoch=0, step=0, share=0.0, best=None)

    def fit(self, *, log, ends_early, reporter, **_):
        assert log.names == ("wandb",)
        assert log.run_name == f"found-{self.out.name}"
        assert log.group == "found"
        while self.progress.epoch < self.options.epochs:
            self.progress.epoch += 1
            score = round(0.1 * self.progress.epoch - abs(self.options.mosaic - 0.3), 4)
            if self.options.mosaic > 0.45:
                raise diverged("loss nan")
            self.progress.best = {"map50_95": max(score, (self.progress.best or {}).get("map50_95", 0.0))}
            (self.out / "last.pt").write_text(str(self.progress.epoch))
            if FakeRun.stop_in == (int(self.out.name[-3:]), self.progress.epoch):
                raise InterruptedRunError(15, "stopped")
            if ends_early(SimpleNamespace(map50_95=score)):
                return True
        return False


@pytest.fixture
def fake_runs(monkeypatch):
    """Runs that take no time, all options but the mosaic given."""
    import train.commands.fit
    import train.search.search

    def resume(last, data, *_):
        with (last.parent.parent / "resumed.txt").open("a") as file:
            file.write(f"{last.parent.name} ")
        run = FakeRun(begun[last.parent], data, last.parent)
        run.progress.epoch = int(last.read_text())
        run.progress.best = {"map50_95": 0.0}
        return run

    def begin(options, data, out, *_):
        begun[out] = options
        return FakeRun(options, data, out)

    begun = {}
    for module in (train.commands.fit, train.search.search):
        monkeypatch.setattr(module, "Run", begin)
    monkeypatch.setattr(train.search.search, "resumed_run", resume)
    monkeypatch.setattr(FakeRun, "stop_in", None)


def rows(out):
    with (out / "search.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.usefixtures("fake_runs")
def test_search_is_stopped_resumed_and_reported(tiny_yaml, tmp_path, train_cli, monkeypatch):
    out = tmp_path / "found"
    given = ["--lr", "0.01", "--rotation", "3", "--box-loss-weight", "1"]
    monkeypatch.setattr(FakeRun, "stop_in", (3, 1))

    code, printed, errors = train_cli("fit", tiny_yaml, "--out", out, *FIT, *given, "--search", 6, "--log", "wandb")

    assert code == 128 + 15
    assert errors == (
        f"stopped in trial 3, epoch 2 after step 0; go on with: realtime train fit {tiny_yaml} --out {out} --resume\n"
    )
    lines = printed.splitlines()
    assert lines[1] == f"search over mosaic probability: 6 trials of at most 2 epochs each, in {out}"
    assert lines[2] == "trial 1/6: --mosaic 0.15"
    assert [row["trial"] for row in rows(out)] == ["1", "2"]
    monkeypatch.setattr(FakeRun, "stop_in", None)

    for changed, message in (
        (["--lr", "0.5"], "error: --lr 0.5: the run began with 0.01, and a resumed run keeps that."),
        (["--mosaic", "0.5"], "error: --mosaic 0.5: the run began with 0.15, and a resumed run keeps that."),
    ):
        assert train_cli("fit", tiny_yaml, "--out", out, "--resume", *changed)[2].startswith(message)
    code, printed, errors = train_cli("fit", tiny_yaml, "--out", out, "--resume")

    assert (code, errors) == (0, "")
    assert (out / "resumed.txt").read_text() == "trial-003 "
    found = rows(out)
    assert [row["trial"] for row in found] == [str(number) for number in range(1, 7)]
    assert {row["ended"] for row in found} >= {"done"}
    best = max(found, key=lambda row: float(row["map50_95"]))
    *_, drawn, command = printed.splitlines()
    assert drawn == f"drawn in {out}/search.png; the best: {out}/trial-{int(best['trial']):03}/best.pt"
    assert command == (
        f"Train with its options: realtime train fit {tiny_yaml} --arch nano --weights none --size 64 --epochs 2 "
        f"--batch-size 2 --lr 0.01 --mosaic {float(best['mosaic'])} --rotation 3.0 --out {out}/best"
    )
    table = printed.splitlines()[-9:-2]
    assert table[0].split() == ["trial", "mAP50-95", "epochs", "mosaic", "probability"]
    assert table[1].split()[0] == best["trial"]
    assert cv2.imread(str(out / "search.png")).std() > 10

    code, _, errors = train_cli("fit", tiny_yaml, "--out", out, *FIT)
    assert (code, errors) == (1, f"error: {out}/search.db exists: go on with --resume, or choose another --out\n")


@pytest.mark.usefixtures("fake_runs")
def test_search_of_which_all_trials_diverge_says_so(tiny_yaml, tmp_path, train_cli):
    given = ["--mosaic", "0.5", "--rotation", "3", "--box-loss-weight", "1", "--log", "wandb"]

    code, printed, errors = train_cli("fit", tiny_yaml, "--out", tmp_path / "found", *FIT, *given, "--search", 2)

    assert code == 1
    assert errors.startswith("error: all trials of the search diverged. Lower --lr")
    assert "trial 1/2: training diverged (loss nan)" in printed
    assert [row["ended"] for row in rows(tmp_path / "found")] == ["diverged", "diverged"]


@pytest.mark.slow
def test_trials_are_ordinary_runs(tiny_yaml, tmp_path):
    result = CliRunner().invoke(app, ["fit", str(tiny_yaml), "--out", str(tmp_path / "out"), *FIT, "--search", "2"])

    assert result.exit_code == 0, result.output
    for trial in ("trial-001", "trial-002"):
        names = {path.name for path in (tmp_path / "out" / trial).iterdir()}
        assert names >= {"best.pt", "last.pt", "run.json", "metrics.csv", "curves.png", "tensorboard"}


def test_search_needs_optuna(tiny_yaml, tmp_path, train_cli, monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n, *a: None if n == "optuna" else find_spec(n, *a))

    code, printed, errors = train_cli("fit", tiny_yaml, "--out", tmp_path / "found", *FIT, "--search", "2")

    assert (code, printed) == (1, "")
    assert errors == (
        "error: --search: optuna is not installed. Install it with: pip install 'facial-feature-rcnn[search]'\n"
    )
    assert not (tmp_path / "found").exists()


def test_nothing_to_resume_is_said(tiny_yaml, tmp_path, train_cli):
    code, _, errors = train_cli("fit", tiny_yaml, "--out", tmp_path, "--resume", "--search", "3")

    assert code == 1
    assert errors == f"error: cannot resume a search: {tmp_path}/search.db does not exist. Leave --resume out\n"

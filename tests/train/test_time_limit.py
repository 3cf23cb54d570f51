"""Runs that are limited in time, and schedules of the input size. The clock of these runs is a counter."""

import csv
import itertools
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import train.loop.run
from train.cli import app
from train.data.data_yaml import load_data_config
from train.data.dataset import load_split
from train.distributed import World
from train.errors import TrainError
from train.loop import closing_time, wall_clock
from train.loop.examples import RunExamples
from train.loop.options import FitOptions
from train.loop.schedule_text import seconds_of, size_schedule
from train.loop.wall_clock import WallClock, WallClockSchedule
from train.models.checkpoint import load_checkpoint

FIT = ["--arch", "nano", "--weights", "none", "--size", "64", "--batch-size", "2", "--device", "cpu", "--workers", "0"]


def fit(data: Path, out: Path, *more: str):
    return CliRunner().invoke(app, ["fit", str(data), "--out", str(out), *FIT, *more])


def resume(data: Path, out: Path):
    return CliRunner().invoke(
        app, ["fit", str(data), "--out", str(out), "--resume", "--device", "cpu", "--workers", "0"]
    )


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def ticking(monkeypatch):
    """A clock that goes on by a second whenever it is read."""
    ticks = itertools.count()
    monkeypatch.setattr(wall_clock, "time", SimpleNamespace(monotonic=lambda: float(next(ticks))))
    monkeypatch.setattr(closing_time, "WRITING_S", 0.0)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("8m", 480), ("1h30m", 5400), ("1.5h", 5400), ("2m5s", 125), (" 1H ", 3600)]
)
def test_durations(text, seconds):
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "8", "0s", "-5m", "5m1h", "8 minutes", "nans"])
def test_text_that_is_no_duration_is_refused(text):
    with pytest.raises(TrainError, match=f"--time {text}: expected hours, minutes and seconds, such as 90s"):
        seconds_of(text)


def test_sizes_have_equal_shares_or_those_given():
    assert size_schedule("384,480") == [(384, 0.5), (480, 0.5)]
    assert size_schedule("384:3, 480:1") == [(384, 0.75), (480, 0.25)]
    assert size_schedule("96") == [(96, 1.0)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("384,x", "expected sides in pixels, such as 384,480"),
        ("384:0.5,480", "expected sides in pixels"),
        ("384:-1,480:2", "expected sides in pixels"),
        ("384:nan", "expected sides in pixels"),
        ("", "expected sides in pixels"),
        ("100,480", "100 is not a multiple of 32, 64 or more"),
        ("32", "32 is not a multiple of 32, 64 or more"),
    ],
)
def test_sizes_that_are_none_are_refused(text, message):
    with pytest.raises(TrainError, match=message):
        size_schedule(text)


def test_size_follows_the_share_of_the_run():
    options = FitOptions(sizes="64:0.65,96:0.35", size=96)

    assert [options.size_at(share) for share in (0, 0.64, 0.66, 1.0)] == [64, 64, 96, 96]
    assert FitOptions(size=128).size_at(0.3) == 128


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--time", "8m", "--epochs", "3"), "--time 8m and --epochs 3: a run ends by one of them. Leave one out"),
        (("--time", "8m", "--schedule", "step"), "--time 8m and --schedule step, whose steps are counted in epochs"),
        (("--time", "soon"), "--time soon: expected hours, minutes and seconds"),
        (("--sizes", "50"), "--sizes 50: 50 is not a multiple of 32, 64 or more"),
        (("--time", "2s"), "--time: of 2 s, validation and checkpoints would take about"),
    ],
)
def test_fit_names_what_cannot_be_planned(tiny_yaml, tmp_path, train_cli, options, message):
    code, _, err = train_cli("fit", tiny_yaml, "--out", tmp_path / "run", *FIT, *options)

    assert code == 1
    assert err.startswith(f"error: {message}")
    assert err.count("\n") == 1


def test_last_size_is_that_of_the_model_by_default(tiny_yaml, tmp_path, monkeypatch):
    def save(run, **_):
        run.checkpoint(with_resume=False).save(run.out / "x")

    monkeypatch.setattr(train.loop.run.Run, "fit", save)
    arguments = [a for a in FIT if a not in ("--size", "64")]

    CliRunner().invoke(app, ["fit", str(tiny_yaml), "--out", str(tmp_path), *arguments, "--sizes", "64,96"])

    assert load_checkpoint(tmp_path / "x").config.input_size == 96


def places(data: Path, options: FitOptions, share=None) -> list[int]:
    """Sides of the steps of a run."""
    examples = RunExamples(load_split(load_data_config(data), "train"), options)
    return [part[0].size for part in examples.parts(0, 0, World(), share)]


def test_sizes_of_a_run_in_epochs_change_at_their_shares(tiny_yaml):
    options = FitOptions(arch="nano", size=96, sizes="64:1,96:2", batch_size=2, epochs=2)

    assert places(tiny_yaml, options) == [64, 64, 96, 96, 96, 96]


def test_sizes_of_a_run_in_time_follow_the_clock(tiny_yaml):
    options = FitOptions(arch="nano", size=96, sizes="64,96", batch_size=2, time="1m")
    shares = iter([0.0, 0.2, 0.6, 0.4, 0.9, 1.0, 1.0])
    examples = RunExamples(load_split(load_data_config(tiny_yaml), "train"), options)

    parts = examples.parts(0, 1, World(), lambda: next(shares))
    seen = [(part[0].epoch, part[0].position, part[0].size) for part in itertools.islice(parts, 6)]

    assert [size for _, _, size in seen] == [64, 64, 96, 64, 96, 96]
    assert [(epoch, position) for epoch, position, _ in seen] == [(0, 2), (0, 4), (1, 0), (1, 2), (1, 4), (2, 0)]


def test_sizes_vary_around_that_of_their_time(tiny_yaml):
    options = FitOptions(arch="nano", size=96, sizes="96,192", multi_scale=0.4, batch_size=1, epochs=10)

    sides = places(tiny_yaml, options)

    assert set(sides[:30]) == {64, 96, 128}
    assert set(sides[30:]) == {128, 160, 192, 224, 256}


def test_rate_warms_up_and_falls_to_one_percent_at_the_end_of_the_time():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    schedule = WallClockSchedule(optimizer, warmup_steps=10)
    rates = []
    for step in range(100):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.share = (step + 1) / 100
        schedule.step()
    rates.append(optimizer.param_groups[0]["lr"])

    assert rates[0] == pytest.approx(0.001)
    assert rates[5] == pytest.approx(0.1 * (0.01 + 0.99 * 0.5), rel=0.01)
    assert max(rates) == rates[10]
    assert rates[50] == pytest.approx(0.1 * (0.01 + 0.99 / 2))
    assert rates[100] == pytest.approx(0.001)


def test_warm_up_takes_a_fifth_of_the_time_at_most():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    schedule = WallClockSchedule(optimizer, warmup_steps=10**6)
    schedule.share = 0.2
    optimizer.step()
    schedule.step()

    assert optimizer.param_groups[0]["lr"] > 0.09


def test_clock_leaves_time_for_what_ends_a_run(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(wall_clock, "time", SimpleNamespace(monotonic=lambda: now[0]))
    clock = WallClock(100)
    clock.expect_closing(20)

    now[0] = 37.5
    assert clock.share() == pytest.approx(0.5)
    assert clock.left_s() == pytest.approx(37.5)
    assert not clock.affords_validation()  # 20 s of 38 are more than a tenth
    clock.closed(30)
    now[0] = 70
    assert clock.share() == 1

    resumed = WallClock(100)
    resumed.load_state_dict(clock.state_dict())
    resumed.expect_closing(99)  # a guess does not replace what was measured
    now[0] = 72
    assert resumed.elapsed_s() == 72


def test_short_validations_are_afforded_after_an_epoch(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(wall_clock, "time", SimpleNamespace(monotonic=lambda: now[0]))
    clock = WallClock(1000)
    clock.expect_closing(10)

    now[0] = 101
    assert clock.affords_validation()
    clock.closed(10)
    assert not clock.affords_validation()


@pytest.mark.usefixtures("ticking")
def test_run_ends_validated_when_its_time_is_over(tiny_yaml, tmp_path, monkeypatch):
    monkeypatch.setattr(wall_clock.WallClock, "affords_validation", lambda _: False)

    result = fit(tiny_yaml, tmp_path / "run", "--time", "35s", "--warmup-steps", "2")

    assert result.exit_code == 0, result.output
    last = load_checkpoint(tmp_path / "run" / "last.pt").resume
    assert last["share"] == 1
    assert last["validated_epoch"] == last["epoch"] > 1
    assert last["step"] == 0
    [metrics] = rows(tmp_path / "run" / "metrics.csv")  # of the last epoch alone
    assert metrics["images_seen"] == str(last["images_seen"])
    assert f"epoch {last['epoch']} on val:" in result.output
    rates = [float(row["lr"]) for row in rows(tmp_path / "run" / "losses.csv")]
    assert max(rates) > 0.015
    assert rates[-1] < 0.002
    assert load_checkpoint(tmp_path / "run" / "best.pt").info["options"]["time"] == "35s"


class KilledError(Exception):
    """Stands for a power cut."""


@pytest.mark.usefixtures("ticking")
def test_run_that_was_stopped_goes_on_for_the_time_that_is_left(tiny_yaml, tmp_path, monkeypatch):
    steps = train.loop.run.train_steps

    def two_steps(*arguments):
        yield from itertools.islice(steps(*arguments), 2)
        raise KilledError

    with monkeypatch.context() as killing:
        killing.setattr(train.loop.run, "train_steps", two_steps)
        result = fit(tiny_yaml, tmp_path, "--time", "30s", "--save-every-steps", "1")
        assert isinstance(result.exception, KilledError)
    stopped = load_checkpoint(tmp_path / "last.pt").resume
    assert 0 < stopped["share"] < 1

    result = resume(tiny_yaml, tmp_path)

    assert result.exit_code == 0, result.output
    last = load_checkpoint(tmp_path / "last.pt").resume
    assert last["share"] == 1
    assert last["clock"]["elapsed_s"] > stopped["clock"]["elapsed_s"]
    assert last["images_seen"] > stopped["images_seen"] == 4
    assert resume(tiny_yaml, tmp_path).exit_code == 0  # and then there is nothing left to do
    assert load_checkpoint(tmp_path / "last.pt").resume["images_seen"] == last["images_seen"]


@pytest.mark.usefixtures("ticking")
def test_run_that_was_stopped_in_its_last_validation_makes_up_for_it(tiny_yaml, tmp_path, monkeypatch):
    def die(*_args, **_options):
        raise KilledError

    monkeypatch.setattr(wall_clock.WallClock, "affords_validation", lambda _: False)
    with monkeypatch.context() as killing:
        killing.setattr(train.loop.run, "evaluate", die)
        assert isinstance(fit(tiny_yaml, tmp_path, "--time", "30s").exception, KilledError)
    seen = load_checkpoint(tmp_path / "last.pt").resume["images_seen"]

    result = resume(tiny_yaml, tmp_path)

    assert result.exit_code == 0, result.output
    assert load_checkpoint(tmp_path / "last.pt").resume["images_seen"] == seen
    assert [row["images_seen"] for row in rows(tmp_path / "metrics.csv")] == [str(seen)]

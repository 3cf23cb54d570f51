import json
import shutil
import subprocess
from dataclasses import asdict

import torch
from equal_steps import OPTIONS
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_data import make_data_set

import train.loop.run_log
from train.data.data_yaml import load_data_config
from train.data.dataset import load_split
from train.loop.loggers.base import Outcome
from train.loop.loggers.tensorboard import TensorBoardLogger
from train.loop.run_log import RunLog, data_hash, git_revision, write_run_json

SCORES = {
    "images": 4, "threshold": 0.5, "map50": 0.25, "map50_95": None, "mean_f1": 0.5,
    "false_positives_per_negative": 0.25,
    "classes": [{"name": "face", "f1": 0.75}],
}  # fmt: skip


def scalars(folder, name):
    board = EventAccumulator(str(folder / "tensorboard"))
    board.Reload()
    return [(event.step, event.value) for event in board.Scalars(name)]


def log_step(log, images_seen):
    log.losses({"epoch": 1, "step": 1, "images_seen": images_seen}, {"loss": 1.5}, 0.25, 20.0)


def test_losses_and_metrics_go_to_tensorboard(tmp_path):
    log = RunLog(tmp_path, 0, 0, [TensorBoardLogger(tmp_path, 0)])
    log_step(log, 8)
    log.metrics(1, 8, SCORES)
    log.close(Outcome.DONE, tmp_path)

    assert scalars(tmp_path, "train/loss") == [(8, 1.5)]
    assert scalars(tmp_path, "train/lr") == [(8, 0.25)]
    assert scalars(tmp_path, "val/f1_face") == [(8, 0.75)]
    assert (tmp_path / "metrics.csv").read_text().splitlines() == [
        "epoch,images_seen,threshold,map50,map50_95,false_positives_per_negative,mean_f1,f1_face",
        "1,8,0.5,0.25,,0.25,0.5,0.75",
    ]  # fmt: skip


def test_resumed_log_forgets_what_came_after_the_checkpoint(tmp_path):
    log = RunLog(tmp_path, 0, 0, [TensorBoardLogger(tmp_path, 0)])
    log_step(log, 8)
    log_step(log, 16)
    log.close(Outcome.DONE, tmp_path)
    # TensorBoard reads files in the order of their names, which in one process tell seconds and, as text, a number.
    for path in (tmp_path / "tensorboard").iterdir():
        path.rename(path.with_name(path.name.replace("tfevents.", "tfevents.0")))

    again = RunLog(tmp_path, 8, 0, [TensorBoardLogger(tmp_path, 8)])
    log_step(again, 17)
    again.close(Outcome.DONE, tmp_path)

    assert [line.split(",")[2] for line in (tmp_path / "losses.csv").read_text().splitlines()] == [
        "images_seen", "8", "17",
    ]  # fmt: skip
    assert [step for step, _ in scalars(tmp_path, "train/loss")] == [8, 17]


def test_line_that_was_cut_off_is_forgotten(tmp_path):
    log = RunLog(tmp_path, 0, 0, [TensorBoardLogger(tmp_path, 0)])
    log_step(log, 8)
    log.close(Outcome.DONE, tmp_path)
    with (tmp_path / "losses.csv").open("a") as file:
        file.write("1,2")

    again = RunLog(tmp_path, 8, 0, [TensorBoardLogger(tmp_path, 8)])
    log_step(again, 9)
    again.close(Outcome.DONE, tmp_path)

    assert [line.split(",")[2] for line in (tmp_path / "losses.csv").read_text().splitlines()] == [
        "images_seen", "8", "9",
    ]  # fmt: skip


def test_run_json_has_all_that_repeats_the_run(tmp_path):
    data = load_data_config(make_data_set(tmp_path / "data"))
    splits = {split: load_split(data, split) for split in ("train", "val")}

    write_run_json(tmp_path, OPTIONS, data, splits, torch.device("cpu"))

    run = json.loads((tmp_path / "run.json").read_text())
    assert run["options"] == asdict(OPTIONS)
    assert run["images"] == {"train": 8, "val": 4}
    assert run["data_sha256"]["train"] == data_hash(splits["train"])
    assert run["versions"]["torch"] == torch.__version__


def test_data_hash_tells_versions_of_the_data_apart(tmp_path):
    data = load_data_config(make_data_set(tmp_path))
    before = data_hash(load_split(data, "train"))
    assert data_hash(load_split(data, "train")) == before

    label = tmp_path / "labels" / "train" / "000.txt"
    label.write_text(label.read_text() + "0 0.5 0.5 0.1 0.1\n")

    assert data_hash(load_split(data, "train")) != before


def test_git_revision_of_a_checkout_and_outside_of_one(tmp_path, monkeypatch):
    shutil.copy(train.loop.run_log.__file__, tmp_path / "runlog.py")
    monkeypatch.setattr(train.loop.run_log, "__file__", str(tmp_path / "runlog.py"))
    assert git_revision() is None

    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q"], ["add", "runlog.py"], ["commit", "-qm", "one"]):
        subprocess.run([*git, *command], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    assert git_revision() == head
    (tmp_path / "runlog.py").write_text("")
    assert git_revision() == f"{head}-dirty"

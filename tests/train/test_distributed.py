"""Two real processes under torchrun (gloo, on this machine's CPU)."""

import csv
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from equal_steps import OPTIONS, equal_steps
from tiny_data import make_data_set

from train.data.data_yaml import load_data_config
from train.data.dataset import load_split
from train.distributed import World
from train.errors import TrainError
from train.evaluation.evaluate import evaluate
from train.loop.examples import EpochExamples, sizes_around
from train.models.checkpoint import load_checkpoint

ROOT = Path(__file__).parents[2]


def torchrun(*command: object) -> subprocess.CompletedProcess[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    return subprocess.run(
        [*launcher, *map(str, command)], env=environment, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """data.yaml of twelve images to train on and five, an odd number, to validate."""
    return make_data_set(tmp_path_factory.mktemp("data"), train=12, val=5)


@pytest.mark.slow
def test_two_processes_take_the_steps_of_one(data, tmp_path):
    losses, weights = equal_steps(data, OPTIONS, World())

    done = torchrun(Path(__file__).parent / "equal_steps.py", data, tmp_path / "two.json")

    assert done.returncode == 0, done.stderr
    losses_of_two, weights_of_two = json.loads((tmp_path / "two.json").read_text())
    assert len(losses) == 3
    for one, two in zip(losses, losses_of_two, strict=True):
        assert two == pytest.approx(one, rel=2e-4)
    for name, values in weights.items():
        assert weights_of_two[name] == pytest.approx(values, rel=1e-3, abs=5e-5), name


def test_accumulated_parts_take_the_steps_of_whole_batches(data):
    losses, weights = equal_steps(data, OPTIONS, World())

    losses_in_parts, weights_in_parts = equal_steps(data, replace(OPTIONS, accumulate=4), World())

    for one, parts in zip(losses, losses_in_parts, strict=True):
        assert parts == pytest.approx(one, rel=2e-4)
    for name, values in weights.items():
        assert weights_in_parts[name] == pytest.approx(values, rel=1e-3, abs=5e-5), name


@pytest.mark.slow
def test_fit_on_two_processes_writes_once_and_validates_on_all_images(data, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    out = tmp_path / "run"

    done = torchrun(
        "-m", "train", "fit", data, "--out", out, "--arch", "nano", "--weights", "none", "--size", 64,
        "--epochs", 1, "--batch-size", 4, "--workers", 1, "--device", "cpu",
        "--logger", "wandb",
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert len(list(out.glob("wandb/offline-run-*"))) == 1
    assert done.stdout.count("12 images to train on, 5 to validate") == 1
    assert done.stdout.count("epoch 1/1 on val") == 1
    with (out / "losses.csv").open() as file:
        assert [(row["step"], row["images_seen"]) for row in csv.DictReader(file)] == [("3", "12")]
    best = load_checkpoint(out / "best.pt")
    config = load_data_config(data)
    alone = evaluate(
        best.build(), load_split(config, "val"), size=64, class_names=config.class_names, device=torch.device("cpu")
    )
    assert alone.images == 5
    assert best.info["metrics"] == alone.as_dict()


def test_processes_and_parts_divide_every_batch(data):
    examples = EpochExamples(load_split(load_data_config(data), "train"), replace(OPTIONS, accumulate=2), epoch=0)

    whole = [position for part in examples.parts(0, World()) for position in part]
    shared = [examples.parts(0, World(rank, 2)) for rank in range(2)]

    assert whole == list(range(12))
    for step in range(3):
        ranks_and_parts = [shared[rank][2 * step + part] for part in range(2) for rank in range(2)]
        assert [position for part in ranks_and_parts for position in part] == list(range(4 * step, 4 * step + 4))
    assert examples.parts(2, World(1, 2)) == shared[1][4:]


def test_batch_that_cannot_be_divided_is_refused():
    with pytest.raises(
        TrainError, match=r"--batch-size 4 .* over 3 processes with --accumulate 2: use a multiple of 6"
    ):
        replace(OPTIONS, accumulate=2).images_per_part(3)


def test_gathered_results_are_in_order_and_shards_cover_all():
    items = list("abcde")
    assert [World(rank, 2).shard(items) for rank in range(2)] == [["a", "c", "e"], ["b", "d"]]
    assert World().gather(World().shard(items)) == items


def test_sizes_of_steps_are_the_multiples_of_32_in_the_range(data):
    assert sizes_around(256, 0.25) == [192, 224, 256, 288, 320]
    assert sizes_around(64, 0.5) == [64, 96]
    assert sizes_around(64, 0.0) == [64]

    examples = EpochExamples(load_split(load_data_config(data), "train"), OPTIONS, epoch=0)
    sides = [len(examples[position][0].image) for position in range(12)]

    assert set(sides) == {64, 96}
    assert all(len(set(sides[i : i + 4])) == 1 for i in range(0, 12, 4))  # one size a step

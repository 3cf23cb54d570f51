"""Worker processes that die, and shared memory that is full."""

import errno
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_data import make_data_set

from train.data.data_yaml import load_data_config
from train.data.dataset import load_split
from train.distributed import World
from train.errors import TrainError
from train.loop.examples import RunExamples
from train.loop.loading import SHARED_MEMORY_FULL, Batch, load_batches, worker_errors
from train.loop.options import FitOptions

ROOT = Path(__file__).parents[2]
OPTIONS = FitOptions(arch="nano", weights="none", size=64, batch_size=2, epochs=1)
FULL = "unable to allocate shared memory(shm) for file </torch_1>: No space left on device (28)"


@pytest.fixture(scope="module")
def examples(tiny_yaml) -> RunExamples:
    return RunExamples(load_split(load_data_config(tiny_yaml), "train"), OPTIONS)


def load(examples: RunExamples, workers: int) -> list[Batch]:
    return list(load_batches(examples, 0, 0, world=World(), workers=workers, pin_memory=False))


def fails(*_: object) -> None:
    raise RuntimeError(FULL)


def kills_itself(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def bus_error(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGBUS)


def exits(*_: object) -> None:
    os._exit(3)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        (fails, SHARED_MEMORY_FULL),
        (bus_error, SHARED_MEMORY_FULL),
        (kills_itself, "a worker process was killed by the system (signal Killed); often there is not enough memory. "
                       "Use fewer --workers or a smaller --batch-size"),
        (exits, "a worker process ended unexpectedly; often there is not enough memory. "
                "Use fewer --workers or a smaller --batch-size"),
    ],
)  # fmt: skip
def test_what_befalls_a_worker_is_one_line(examples, monkeypatch, what, message):
    monkeypatch.setattr(torch.Tensor, "share_memory_", what)  # workers are forked and have it too

    with pytest.raises(TrainError) as error:
        load(examples, 1)

    assert str(error.value) == message


@pytest.mark.parametrize(
    ("raised", "message"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "shared memory"),
        (
            OSError(errno.EAGAIN, "Resource temporarily unavailable"),
            "cannot run 3 worker processes: Resource temporarily",
        ),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "cannot run 3 worker processes: Cannot allocate memory"),
        (RuntimeError("unable to write to file </torch_1>: No space left on device (28)"), "shared memory .* is full"),
        (
            RuntimeError("unable to open </torch_1>: Too many open files (24)"),
            "too many open files. Use fewer --workers",
        ),
    ],
)
def test_processes_that_cannot_be_started_name_the_way_out(raised, message):
    with pytest.raises(TrainError, match=message), worker_errors(3):
        raise raised


@pytest.mark.parametrize("raised", [RuntimeError("of the model"), OSError(errno.ENOSPC, "full", "runs/losses.csv")])
def test_other_errors_stay_what_they_are(raised):
    with pytest.raises(type(raised), match=str(raised).replace("[", ".")), worker_errors(3):
        raise raised


def test_batches_are_the_same_with_and_without_workers(examples):
    for (images, targets), (wanted, expected) in zip(load(examples, 2), load(examples, 0), strict=True):
        assert torch.equal(images, wanted)
        assert targets.counts == expected.counts
        for tensor, other in zip(targets[:3], expected[:3], strict=True):
            assert torch.equal(tensor, other)
            assert tensor.dtype == other.dtype


@pytest.mark.slow
@pytest.mark.skipif(
    os.name != "posix" or os.geteuid() != 0 or not shutil.which("unshare"), reason="needs root to mount"
)
def test_a_full_shared_memory_ends_the_run(tmp_path):
    data = make_data_set(tmp_path / "data", train=12, val=2)
    fit = [sys.executable, "-m", "train", "fit", str(data), "--out", str(tmp_path / "run"), "--weights", "none"]
    fit += ["--arch", "nano", "--size", "256", "--batch-size", "12", "--device", "cpu"]
    mount = 'mount -t tmpfs -o size=1m tmpfs /dev/shm && exec "$0" "$@"'

    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", mount, *fit],
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )

    if "mount" in done.stderr:
        pytest.skip("this container may not mount")
    assert (done.returncode, done.stderr) == (1, f"error: {SHARED_MEMORY_FULL}\n")

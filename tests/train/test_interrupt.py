"""Ctrl+C and SIGTERM, with real processes and real signals."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_data import make_data_set

from train.loop.interrupt import Interrupt
from train.models.checkpoint import load_checkpoint

ROOT = Path(__file__).parents[2]
FIT = [
    *("--arch", "nano", "--weights", "none", "--size", "64", "--epochs", "2", "--batch-size", "2"),
    *("--save-every-steps", "999", "--device", "cpu", "--workers", "1"),
]


def fit(data: Path, out: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-u", "-m", "train", "fit", str(data), "--out", str(out), *FIT, *more]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # a process group of its own, as a terminal gives
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """data.yaml of so many images that an epoch takes a while."""
    return make_data_set(tmp_path_factory.mktemp("data"), train=120, val=2)


@pytest.fixture(scope="module")
def whole_run(data, tmp_path_factory) -> Path:
    """Folder of a run that nothing interrupted."""
    out = tmp_path_factory.mktemp("whole")
    with fit(data, out) as process:
        process.communicate(timeout=300)
    assert process.returncode == 0
    return out


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_saves_the_step_and_the_run_goes_on_from_it(data, whole_run, tmp_path, number):
    with fit(data, tmp_path) as process:
        for line in process.stdout:
            if line.startswith("epoch 1/2 step 50/60"):
                break
        os.killpg(process.pid, number)  # the readers get it too, as from a terminal
        _, err = process.communicate(timeout=120)

    assert process.returncode == 128 + number, err
    state = load_checkpoint(tmp_path / "last.pt").resume
    assert (state["epoch"], state["images_seen"]) == (0, 2 * state["step"])
    assert 50 <= state["step"] < 60
    assert err.splitlines() == [
        "stopping after this step; again to end at once",
        f"stopped in epoch 1 after step {state['step']}; go on with: "
        f"realtime train fit {data} --out {tmp_path} --resume",
    ]

    with fit(data, tmp_path, "--resume") as process:  # with the same options
        _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    found, expected = (load_checkpoint(run / "last.pt").model for run in (tmp_path, whole_run))
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    assert (tmp_path / "metrics.csv").read_text() == (whole_run / "metrics.csv").read_text()


@pytest.mark.parametrize("options", [(), ("--lr", "1e30", "--warmup-steps", "1", "--save-every-steps", "1")])
def test_error_in_the_middle_of_an_epoch_ends_the_process_and_its_readers(data, tmp_path, options):
    if not options:
        data = make_data_set(tmp_path / "data", train=40, val=2)
        (tmp_path / "data" / "images" / "train" / "020.png").write_bytes(b"")

    with fit(data, tmp_path / "run", "--workers", "2", *options) as process:
        _, err = process.communicate(timeout=120)  # until the readers too have closed their end

    assert process.returncode == 1
    assert err.startswith("error: training diverged" if options else "error: cannot read image")


def test_first_signal_is_noted_and_the_second_ends():
    # Whoever started the tests may have had Ctrl+C ignored, as shells do in the background.
    inherited = signal.signal(signal.SIGINT, signal.default_int_handler)
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with Interrupt() as interrupt:
        assert interrupt.signal == 0
        signal.raise_signal(signal.SIGINT)
        assert interrupt.signal == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    signal.signal(signal.SIGINT, inherited)

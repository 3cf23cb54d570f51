"""What docs/training.md shows for clusters, in its local form: two processes each, which must give the same losses."""

import os
import re
import socket
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from tiny_data import make_data_set

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
ENVIRONMENT = os.environ | {
    "OMP_NUM_THREADS": "1",
    "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_raylet_start_wait_time_s": "120",
}
LAUNCHER = [sys.executable, "-m", "torch.distributed.run"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data_set(tmp_path_factory.mktemp("data"), train=8, val=2)


def arguments(data, out):
    return [
        "fit", str(data), "--out", str(out), "--arch", "nano", "--weights", "none", "--size", "64",
        "--epochs", "1", "--batch-size", "4", "--workers", "0", "--device", "cpu",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def losses(data, tmp_path_factory):
    """Those of one launcher with two processes."""
    out = tmp_path_factory.mktemp("one") / "run"
    command = [*LAUNCHER, "--standalone", "--nproc-per-node", "2", "-m", "train", *arguments(data, out)]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    return losses_of(out)


def losses_of(out):
    """Without what depends on the clock."""
    lines = [line.split(",") for line in (out / "losses.csv").read_text().splitlines()]
    kept = [i for i, name in enumerate(lines[0]) if "loss" in name or name in {"step", "images_seen"}]
    assert len(kept) > 3
    return [[line[i] for i in kept] for line in lines]


@pytest.mark.slow
def test_launchers_that_meet_as_in_a_job_of_slurm(data, losses, tmp_path):
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    script = re.search(r"srun torchrun (.*?)-m train", PAGE, re.DOTALL)[1].replace("\\\n", " ")
    for name, value in {
        '"$SLURM_NNODES"': "2", "--nproc-per-node 4": "--nproc-per-node 1",
        '"$HOST:29500"': f"127.0.0.1:{port}", '"$SLURM_JOB_ID"': "7",
    }.items():  # fmt: skip
        assert name in script
        script = script.replace(name, value)
    command = [
        *LAUNCHER,
        *script.split(),
        "--local-addr",
        "127.0.0.1",
        "-m",
        "train",
        *arguments(data, tmp_path / "run"),
    ]
    nodes = [subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    errors = [node.communicate(timeout=280)[1] for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], errors
    assert losses_of(tmp_path / "run") == losses


@pytest.mark.slow
@pytest.mark.skipif(find_spec("pyarrow") is None or find_spec("ray") is None, reason="ray[train] is not installed")
def test_ray_train_gives_the_losses_of_torchrun(data, losses, tmp_path):
    script = tmp_path / "ray_fit.py"
    script.write_text(
        next(code for code in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "TorchTrainer" in code)
    )
    limits = "ray.init(include_dashboard=False, num_cpus=3, object_store_memory=100 << 20)"
    script.write_text(script.read_text().replace("ray.init(include_dashboard=False)", limits))
    command = [sys.executable, str(script), *arguments(data, tmp_path / "run")]
    environment = ENVIRONMENT | {"HOME": str(tmp_path)}  # where Ray Train leaves its own files
    done = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert losses_of(tmp_path / "run") == losses

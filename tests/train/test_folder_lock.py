"""Two processes that write into one folder."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_data import CLASS_NAMES, make_data_set, noise_image, write_image

from train.errors import TrainError
from train.folder_lock import FolderLock
from train.models.architectures import ModelConfig, build_model
from train.models.checkpoint import Checkpoint

FIT = ["--arch", "nano", "--weights", "none", "--size", "64", "--batch-size", "2", "--workers", "0", "--device", "cpu"]
HOLDER = """
import os, sys, time
from pathlib import Path
from train.folder_lock import FolderLock
lock = FolderLock(Path(sys.argv[1]))
lock.acquire()
if os.fork() == 0:  # like a reader process, which outlives a killed run for a while
    print("held", flush=True)
time.sleep(60)
"""


def refusal(folder: Path) -> str:
    return f"error: {folder} is being written by another process: wait for its end, or choose another folder\n"


@pytest.fixture
def data(tmp_path) -> Path:
    return make_data_set(tmp_path / "data", train=2, val=2)


@pytest.fixture
def out(tmp_path) -> Path:
    path = tmp_path / "out"
    path.mkdir()
    return path


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    config = ModelConfig("nano", CLASS_NAMES, 64)
    Checkpoint(config, build_model(config).state_dict(), {}).save(tmp_path / "best.pt")
    return tmp_path / "best.pt"


@pytest.mark.parametrize("more", [[], ["--resume"]])
def test_a_second_run_is_refused(train_cli, data, out, more):
    with FolderLock(out):
        code, _, err = train_cli("fit", data, "--out", out, *FIT, *more)

    assert (code, err) == (1, refusal(out))
    assert list(out.iterdir()) == []


def test_a_run_that_began_meanwhile_is_found(train_cli, data, tmp_path, monkeypatch):
    """Both find no folder, and read their data at once."""
    out = tmp_path / "new" / "run"
    held = []

    def make(path: Path) -> None:
        path.mkdir(parents=True)
        held.append(FolderLock(path).__enter__())

    monkeypatch.setattr("train.commands.fit.make_folder", make)
    code, _, err = train_cli("fit", data, "--out", out, *FIT)
    held[0].__exit__()

    assert (code, err) == (1, refusal(out))


def test_results_do_not_go_where_another_process_writes(train_cli, data, out, checkpoint):
    images = data.parent / "images" / "val"

    with FolderLock(out):
        ended = [
            train_cli("evaluate", checkpoint, data, "--plots", out, "--device", "cpu"),
            train_cli("predict", checkpoint, images, "--out", out, "--device", "cpu"),
            train_cli("prepare", "voc", write_voc(data.parent / "voc"), "--out", out),
        ]

    assert [(code, err) for code, _, err in ended] == 3 * [(1, refusal(out))]
    assert list(out.iterdir()) == []


def write_voc(folder: Path) -> Path:
    write_image(folder / "v.png", noise_image(64, 64, 0))
    box = "<bndbox><xmin>11</xmin><ymin>11</ymin><xmax>40</xmax><ymax>40</ymax></bndbox>"
    (folder / "v.xml").write_text(f"<annotation><object><name>dog</name>{box}</object></annotation>")
    return folder


def test_the_lock_ends_with_the_process_however_it_ends(out):
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(out)], stdout=subprocess.PIPE, start_new_session=True
    ) as run:
        try:
            assert run.stdout.readline() == b"held\n"
            with pytest.raises(TrainError, match="is being written by another process"):
                FolderLock(out).acquire()
            run.kill()  # its child lives on
            run.wait()
            with FolderLock(out) as lock:
                assert lock.is_held
        finally:
            os.killpg(run.pid, signal.SIGKILL)


def test_a_folder_may_be_held_again_and_leaves_no_file(out):
    for _ in range(2):
        with FolderLock(out) as lock:
            lock.acquire()
            assert lock.is_held

    assert list(out.iterdir()) == []
    assert not FolderLock(out / "none").__enter__().is_held

"""Batches on disks that are full or read-only, with names and files of every kind."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
from fakes import make_video, stub_model
from typer.testing import CliRunner

from realtime.cli import app
from realtime.errors import RealtimeError

CPU = ("--model", "m.onnx", "--provider", "cpu")
NAMES = ("a b.png", "ü/é ö.png", "new\nline.png", "s3:/x.png", "100%03d.png", "-dash.png", os.fsdecode(b"caf\xe9.png"))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where commands run; with a model."""
    stub_model(tmp_path / "m.onnx")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def disk(folder):
    """A disk of a megabyte, at ``out``."""
    (folder / "out").mkdir()
    if mount("-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder / "out")):
        pytest.skip("no disk may be mounted here")
    yield folder / "out"
    subprocess.run(["umount", folder / "out"], check=True)


def mount(*arguments) -> int:
    """The exit code."""
    if os.geteuid() or not shutil.which("mount"):
        return 1
    return subprocess.run(["mount", *arguments], check=False, capture_output=True).returncode


def realtime(*arguments):
    """Exit code, and what was written to stderr, with the error that ended the run as the app writes it."""
    done = CliRunner().invoke(app, [*map(str, arguments), *CPU])
    lines = done.stderr.splitlines()
    if isinstance(done.exception, RealtimeError):
        return 1, [*lines, f"error: {done.exception}"]
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, lines


def make_images(folder: Path, names) -> None:
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(cv2.imencode(".png", np.full((48, 64, 3), 20 * number, np.uint8))[1].tobytes())


@pytest.mark.parametrize("more", [[], ["--workers", "2"]])
def test_a_full_disk_fails_files_and_resume_does_them_when_there_is_room(folder, disk, more):
    """If there is no room even for what is noted of a file, the run ends, and that file is done again."""
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)  # 200 kB each
    (folder / "photos").mkdir()
    for number in range(8):
        cv2.imwrite(str(folder / "photos" / f"{number}.png"), noise)
    code, lines = realtime("image", "photos", "--out", "out", *more)
    assert code == 1
    ended_early = not lines[-1].endswith("of 8 images could not be written")
    assert not ended_early or "No space left on device" in lines[-1]
    assert not any("could not be read" in line for line in lines)
    assert any(line.startswith("error: cannot write ") and "No space left on device" in line for line in lines)
    whole = {path.name for path in disk.glob("*.png")}
    assert 1 + (not ended_early) <= len(whole) <= 5
    assert not list(disk.rglob("*.partial*"))
    assert not mount("-o", "remount,size=4m", str(disk))
    code, lines = realtime("image", "photos", "--out", "out", "--resume", *more)
    assert (code, len(list(disk.glob("*.png")))) == (0, 8)
    done_before = re.search(r"8 images, (\d+) of them done before, ", lines[-1])
    if ended_early:
        assert done_before is None or int(done_before[1]) <= len(whole)
    else:
        assert done_before
        assert int(done_before[1]) == len(whole)


@pytest.mark.parametrize("command", ["image photos", "video clips"])
def test_a_folder_that_cannot_be_written_ends_the_run_with_one_line(folder, disk, command):
    make_images(folder / "photos", ("1.png", "2.png"))
    (folder / "clips").mkdir()
    for name in ("a.mp4", "b.mp4"):
        make_video(folder / "clips" / name, frames=2)
    assert not mount("-o", "remount,ro", str(disk))
    done = CliRunner().invoke(app, [*command.split(), "--out", "out", *CPU])
    assert "Read-only file system" in str(done.exception)
    assert not list(disk.iterdir())


@pytest.mark.parametrize("more", [[], ["--workers", "2"]])
def test_names_of_every_kind_are_done_and_resumed(folder, more):
    make_images(folder / "photos", NAMES)
    (folder / "photos" / "bad\nname.png").write_text("no image")
    command = ("image", "photos", "--out", "drawn", "--jsonl", "found.jsonl", *more)
    code, lines = realtime(*command)
    assert code == 1
    assert all((folder / "drawn" / name).exists() for name in NAMES)
    found = [json.loads(line)["image"] for line in (folder / "found.jsonl").read_text().splitlines()]
    assert sorted(found) == sorted(f"photos/{name}" for name in NAMES)
    [failed] = map(json.loads, (folder / "drawn" / ".realtime" / "failed.jsonl").read_text().splitlines())
    assert failed["name"] == "bad\nname.png"
    (folder / "photos" / "bad\nname.png").unlink()
    code, lines = realtime(*command, "--resume")
    assert code == 0
    assert lines[-1].startswith(f"{len(NAMES)} images, {len(NAMES)} of them done before")


def test_a_video_that_hangs_is_given_up(folder):
    os.mkfifo(folder / "hang.mp4")
    make_video(folder / "a.mp4", frames=2)
    code, lines = realtime("video", "hang.mp4", "a.mp4", "--jsonl", "found", "--file-timeout", "3")
    assert code == 1
    assert lines[0] == "error: cannot process hang.mp4: it took longer than 0:00:03"
    assert lines[-1] == "2 videos, 1 with errors: hang.mp4"
    assert (folder / "found" / "a.jsonl").exists()


@pytest.mark.parametrize("more", [[], ["--workers", "2"]])
def test_empty_files_fail_alone(folder, more):
    make_images(folder / "photos", ("1.png", "2.png"))
    (folder / "clips").mkdir()
    for name in ("a.mp4", "b.mkv"):
        make_video(folder / "clips" / name, frames=2)
    for name in ("photos/empty.jpg", "clips/empty.mp4"):
        (folder / name).touch()
    code, lines = realtime("image", "photos", "--out", "drawn", *more)
    assert code == 1
    assert [line for line in lines if line.startswith("error")] == [
        "error: cannot read image photos/empty.jpg: not a readable image"
    ]
    code, lines = realtime("video", "clips", "--out", "drawn", *more)
    assert (code, lines[-1]) == (1, "3 videos, 1 with errors: clips/empty.mp4")
    assert sorted(path.name for path in (folder / "drawn").glob("[!.]*")) == ["1.png", "2.png", "a.mp4", "b.mkv"]

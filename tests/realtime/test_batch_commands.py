"""``realtime video`` and ``realtime image`` with many files: resuming, workers, dry runs."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from fakes import WAIT_S, make_video, stub_model
from typer.testing import CliRunner

from realtime.cli import app

RUN = [sys.executable, "-c", "from realtime.cli import run_cli; run_cli()"]
CPU = ("--model", "m.onnx", "--provider", "cpu")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Four videos, one of them no video, five images, one of them no image; and a model."""
    for name in ("clips/sub", "photos/sub"):
        (tmp_path / name).mkdir(parents=True)
    for number, name in enumerate(("a.mkv", "b.mkv", "sub/c.mkv")):
        make_video(tmp_path / "clips" / name, frames=4 + number)
    (tmp_path / "clips" / "bad.avi").write_text("no video")
    for number, name in enumerate(("1.png", "2.png", "3.jpg", "sub/4.png")):
        cv2.imwrite(str(tmp_path / "photos" / name), np.full((48, 64, 3), 40 * number, np.uint8))
    (tmp_path / "photos" / "bad.png").write_text("no image")
    stub_model(tmp_path / "m.onnx")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def realtime(*arguments):
    """Run a command in this process; its exit code, standard output and the lines of standard error."""
    done = CliRunner().invoke(app, [*map(str, arguments), *CPU])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout, done.stderr.splitlines()


def contents(folder):
    """The bytes of all results."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".realtime" not in path.parts
    }


def times(folder):
    return {name: (folder / name).stat().st_mtime_ns for name in contents(folder)}


def test_videos_that_are_done_are_skipped(folder):
    code, _, lines = realtime("video", "clips", "--out", "drawn", "--jsonl", "found")
    assert code == 1
    assert lines[-1] == "4 videos, 1 with errors: clips/bad.avi"
    before = times(folder / "drawn"), times(folder / "found")
    code, _, lines = realtime("video", "clips", "--out", "drawn", "--jsonl", "found", "--resume")
    assert code == 1
    assert len(lines) == 2  # the error, and
    assert lines[-1] == "4 videos, 3 done before, 1 with errors: clips/bad.avi"
    assert (times(folder / "drawn"), times(folder / "found")) == before
    entry = json.loads((folder / "drawn" / ".realtime" / "failed.jsonl").read_text())
    assert entry["input"] == "clips/bad.avi"
    assert entry["error"].startswith("cannot open video clips/bad.avi: not a readable video file")

    make_video(folder / "clips" / "bad.avi", frames=2, codec="mpeg4")
    (folder / "drawn" / "a.mkv").unlink()
    code, _, lines = realtime("video", "clips", "--out", "drawn", "--jsonl", "found", "--resume")
    assert code == 0
    assert [line.split(":")[0] for line in lines] == [
        "[1/4] clips/a.mkv",
        "[3/4] clips/bad.avi",
        "4 videos, 2 done before",
    ]


@pytest.mark.parametrize("option", [["--threshold", "0.3"], ["--reach", "near"], ["--raw"], ["--max-frames", "2"]])
@pytest.mark.usefixtures("folder")
def test_videos_are_done_again_with_other_options(option):
    realtime("video", "clips/a.mkv", "clips/b.mkv", "--jsonl", "found")
    code, _, lines = realtime("video", "clips/a.mkv", "clips/b.mkv", "--jsonl", "found", "--resume", *option)
    assert code == 0
    assert lines[-1] == "2 videos"


def test_videos_are_done_again_with_another_model(folder):
    realtime("video", "clips/a.mkv", "clips/b.mkv", "--jsonl", "found")
    stub_model(folder / "m.onnx", rows=[([8, 16, 40, 48], 0.8, 0)])
    _, _, lines = realtime("video", "clips/a.mkv", "clips/b.mkv", "--jsonl", "found", "--resume")
    assert lines[-1] == "2 videos"


def test_one_video_can_be_resumed_too(folder):
    for expected in ("1 video", "1 video, 1 done before"):
        code, _, lines = realtime("video", "clips/a.mkv", "--out", "a.mp4", "--resume")
        assert code == 0
        assert lines[-1] == expected
    assert not (folder / "drawn").exists()


def test_one_video_without_options_of_batches_leaves_no_record(folder):
    assert realtime("video", "clips/a.mkv", "--out", "a.mp4")[0] == 0
    assert realtime("image", "photos/1.png", "--out", "drawn")[0] == 0
    assert not list(folder.rglob(".*"))


def test_half_done_crops_are_done_again(folder):
    videos = ("clips/a.mkv", "clips/b.mkv")
    realtime("video", *videos, "--crops", "crops")
    whole = contents(folder / "crops")
    (folder / "crops" / ".realtime" / "records" / "a.mkv.json").unlink()
    next((folder / "crops" / "a").iterdir()).unlink()
    code, _, lines = realtime("video", *videos, "--crops", "crops", "--resume")
    assert (code, lines[-1]) == (0, "2 videos, 1 done before")
    assert contents(folder / "crops") == whole


def test_foreign_files_among_crops_are_left_alone(folder):
    (folder / "crops" / "a").mkdir(parents=True)
    (folder / "crops" / "a" / "mine.png").write_text("")
    code, _, lines = realtime("video", "clips/a.mkv", "clips/b.mkv", "--crops", "crops", "--resume")
    assert code == 1
    assert "it is not an empty folder" in lines[0]
    assert (folder / "crops" / "a" / "mine.png").exists()


def test_workers_give_the_same_bytes(folder):
    for path in list((folder / "clips").rglob("*.mkv")):  # FFmpeg gives each Matroska file a number of its own
        path.unlink()
        make_video(path.with_suffix(".mp4"), frames=4)
    realtime("video", "clips", "--out", "drawn", "--jsonl", "found", "--csv", "tables")
    one = {name: contents(folder / name) for name in ("drawn", "found", "tables")}
    code, _, lines = realtime("video", "clips", "--out", "d2", "--jsonl", "f2", "--csv", "t2", "--workers", "2")
    assert code == 1
    assert lines[-1] == "4 videos, 1 with errors: clips/bad.avi"
    assert sum(line.startswith("[") for line in lines) == 3
    assert [contents(folder / name) for name in ("d2", "f2", "t2")] == list(one.values())


def test_images_that_are_done_are_skipped_and_their_lines_kept(folder):
    code, _, lines = realtime("image", "photos", "--out", "drawn", "--jsonl", "found.jsonl")
    assert code == 1
    assert lines[-2:] == [
        "4 images, 4 faces; wrote drawn and found.jsonl",
        "1 of 5 images could not be read in full",
    ]
    found, drawn = (folder / "found.jsonl").read_text(), times(folder / "drawn")
    (folder / "found.jsonl").unlink()
    (folder / "photos" / "bad.png").unlink()
    code, _, lines = realtime("image", "photos", "--out", "drawn", "--jsonl", "found.jsonl", "--resume")
    assert code == 0
    assert lines == ["4 images, 4 of them done before, 4 faces; wrote drawn and found.jsonl"]
    assert (folder / "found.jsonl").read_text() == found
    assert times(folder / "drawn") == drawn


@pytest.mark.parametrize("more", [[], ["--workers", "2"]])
def test_lines_of_images_are_in_their_order(folder, more):
    realtime("image", "photos", "--jsonl", "found.jsonl", *more)
    lines = map(json.loads, (folder / "found.jsonl").read_text().splitlines())
    assert [line["image"] for line in lines] == [f"photos/{name}" for name in ("1.png", "2.png", "3.jpg", "sub/4.png")]
    cv2.imwrite(str(folder / "photos" / "2.png"), np.full((64, 64, 3), 9, np.uint8))
    _, _, told = realtime("image", "photos", "--jsonl", "found.jsonl", "--resume", *more)
    assert "4 images, 3 of them done before, 4 faces; wrote found.jsonl" in told


@pytest.mark.usefixtures("folder")
def test_lines_go_to_a_stream_as_they_come():
    realtime("image", "photos", "--out", "drawn")
    code, out, _ = realtime("image", "photos", "--out", "drawn", "--jsonl", "-", "--resume")
    assert code == 1
    assert [json.loads(line)["image"] for line in out.splitlines()] == [
        f"photos/{name}" for name in ("1.png", "2.png", "3.jpg", "sub/4.png")
    ]


@pytest.mark.parametrize("command", ["video clips", "image photos"])
@pytest.mark.parametrize("option", ["--resume", "--dry-run", "--workers 2"])
def test_options_of_batches_need_files_to_be_written(folder, command, option):
    done = subprocess.run(
        [*RUN, *command.split(), *option.split(), *CPU], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.startswith(f"error: {option.split()[0]} is for results that are written to files")


@pytest.mark.parametrize(
    ("command", "noun"), [("video clips --out drawn --jsonl found", "video"), ("image photos --out drawn", "image")]
)
def test_a_dry_run_says_what_would_be_done_and_writes_nothing(folder, command, noun):
    code, out, lines = realtime(*command.split(), "--dry-run")
    assert code == 0
    assert not (folder / "drawn").exists()
    count = 4 if noun == "video" else 5
    assert len(out.splitlines()) == count
    if noun == "video":
        assert out.splitlines()[0] == "clips/a.mkv -> drawn/a.mkv and found/a.jsonl"
    assert lines[-1].startswith(f"would do {count} {noun}s, 0.0 MB; about 0:00:0")
    realtime(*command.split())
    _, out, lines = realtime(*command.split(), "--dry-run")
    assert f"{count - 1} could be skipped with --resume: they are done already" in lines[-1]
    _, out, lines = realtime(*command.split(), "--dry-run", "--resume")
    assert len(out.splitlines()) == 1
    assert lines[-1].startswith(f"would do 1 {noun}, 0.0 MB; {count - 1} are done already")


def start(*arguments, cwd):
    return subprocess.Popen([*RUN, *arguments, *CPU], cwd=cwd, stderr=subprocess.PIPE, text=True)


def wait_for(condition, process):
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize(("workers", "number"), [("1", signal.SIGKILL), ("2", signal.SIGKILL), ("2", signal.SIGINT)])
def test_after_its_end_only_unfinished_videos_are_done_again(folder, workers, number):
    for i in range(6):
        make_video(folder / "clips" / f"n{i}.mkv", frames=150)
    command = ("video", "clips", "--out", "drawn", "--workers", workers, "--resume")
    process = start(*command, cwd=folder)
    records = folder / "drawn" / ".realtime" / "records"
    wait_for(lambda: len(list(records.glob("*.json"))) >= 4, process)
    process.send_signal(number)
    _, errors = process.communicate(timeout=WAIT_S)
    assert process.returncode == (130 if number == signal.SIGINT else -9), errors
    finished = {path.name.removesuffix(".json") for path in records.rglob("*.mkv.json")}
    before = {name: value for name, value in times(folder / "drawn").items() if Path(name).name in finished}
    assert before
    make_video(folder / "clips" / "bad.avi", frames=2, codec="mpeg4")
    code, _, lines = realtime(*command)
    assert code == 0
    assert lines[-1] == f"10 videos, {len(before)} done before"
    after = times(folder / "drawn")
    assert {name: after[name] for name in before} == before
    assert len(after) == 10
    assert not list((folder / "drawn").rglob("*.partial*"))
    assert not list((folder / "drawn" / ".realtime" / "claims").rglob("*.json"))


def test_two_runs_share_a_folder(folder):
    for i in range(8):
        make_video(folder / "clips" / f"n{i}.mkv", frames=30)
    (folder / "clips" / "bad.avi").unlink()
    runs = [start("video", "clips", "--out", "drawn", "--resume", cwd=folder) for _ in range(2)]
    told = [run.communicate(timeout=WAIT_S)[1].splitlines() for run in runs]
    assert [run.returncode for run in runs] == [0, 0]
    done = [line for lines in told for line in lines if line.startswith("[")]
    assert len(done) == 11
    assert len({line.split(": ")[0] for line in done}) == 11
    assert len(contents(folder / "drawn")) == 11

"""What goes to standard output, and what the closing line on standard error says."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from fakes import make_video, read_video, stub_model
from senders import grey, jpeg_server

RUN = [sys.executable, "-c", "from realtime.cli import run_cli; run_cli()"]


def realtime(*arguments, cwd, stdout=subprocess.PIPE, provider=("--provider", "cpu")):
    return subprocess.run(
        [*RUN, *map(str, arguments), "--model", "m.onnx", *provider],
        cwd=cwd, stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=120, check=False,
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    stub_model(tmp_path / "m.onnx")
    make_video(tmp_path / "in.mp4", frames=5)
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((48, 64, 3), np.uint8))
    return tmp_path


def test_json_lines_of_a_video_on_standard_output_are_those_of_the_file(folder):
    piped = realtime("video", "in.mp4", "--jsonl", "-", "--out", "out.mp4", cwd=folder)
    assert piped.returncode == 0, piped.stderr
    assert realtime("video", "in.mp4", "--jsonl", "found.jsonl", cwd=folder).returncode == 0
    assert piped.stdout == (folder / "found.jsonl").read_text()
    assert len(piped.stdout.splitlines()) == 5
    assert not (folder / "-").exists()
    assert re.fullmatch(r"5 frames, 1 face, .*; wrote out\.mp4\n", piped.stderr)


def test_a_table_on_standard_output_is_that_of_the_file(folder):
    piped = realtime("video", "in.mp4", "--csv", "-", cwd=folder)
    assert realtime("video", "in.mp4", "--csv", "found.csv", cwd=folder).returncode == 0
    assert piped.stdout == (folder / "found.csv").read_text()


def test_json_lines_of_images_on_standard_output_go_beside_drawn_ones(folder):
    plain = realtime("image", "a.png", cwd=folder)
    both = realtime("image", "a.png", "--out", "drawn", "--jsonl", "-", cwd=folder)
    assert plain.stdout == both.stdout
    assert json.loads(plain.stdout)["image"] == "a.png"
    assert (folder / "drawn" / "a.png").is_file()
    assert plain.stderr == "1 image, 1 face\n"
    assert both.stderr == "1 image, 1 face; wrote drawn\n"


def test_json_lines_of_a_camera_come_as_they_are_found(folder):
    with jpeg_server(lambda viewer: viewer.play(iter([grey(50)] * 200))) as host:
        command = ["cam", "--device", f"http://{host}/live", "--no-window", "--jsonl", "-", "--no-reconnect"]
        with subprocess.Popen(
            [*RUN, *command, "--model", "m.onnx", "--provider", "cpu"],
            cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        ) as process:  # fmt: skip
            first = process.stdout.readline()
            process.terminate()
            process.stdout.read()
    assert json.loads(first)["detections"]
    assert process.returncode == 143


def test_a_reader_that_goes_away_ends_the_run_without_a_word(folder):
    make_video(folder / "long.mp4", frames=2000)
    with subprocess.Popen(
        [*RUN, "video", "long.mp4", "--jsonl", "-", "--csv", "kept.csv", "--model", "m.onnx", "--provider", "cpu"],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 1
    assert (folder / "kept.csv").exists()


def test_a_full_standard_output_is_one_clear_error(folder):
    with Path("/dev/full").open("w") as full:
        done = realtime("video", "in.mp4", "--jsonl", "-", cwd=folder, stdout=full)
    assert (done.returncode, done.stderr) == (1, "error: cannot write to standard output: No space left on device\n")


def test_the_reason_for_the_cpu_comes_once_and_first(folder):
    make_video(folder / "in2.mp4", frames=5)
    reason = re.compile("running on the CPU: ")
    done = realtime("video", "in.mp4", "in2.mp4", "--jsonl", "found", cwd=folder, provider=())
    if not reason.search(done.stderr):
        pytest.skip("there is a GPU here")
    lines = done.stderr.splitlines()
    assert reason.match(lines[0])
    assert len(reason.findall(done.stderr)) == 1
    for command in ("video in.mp4", "video in.mp4 --crops .", "image a.png --out in.mp4", "bench m.onnx"):
        failed = realtime(*command.split(), cwd=folder, provider=())
        assert failed.returncode == 1
        assert not reason.search(failed.stderr), command
    for command in ("image a.png", "bench in.mp4", "video in.mp4 --csv -"):
        assert reason.match(realtime(*command.split(), cwd=folder, provider=()).stderr), command


def test_one_frame_without_a_face_is_said_in_the_singular_and_plural(folder):
    done = realtime("video", "in.mp4", "--max-frames", "1", "--threshold", "0.99", "--csv", "x.csv", cwd=folder)
    assert re.match(r"1 frame, 0 faces, .*; wrote x\.csv\n", done.stderr)


@pytest.mark.parametrize("closed", ["2>&-", ">&-", "<&- >&- 2>&-"])
def test_a_run_whose_standard_streams_are_closed_is_a_run(tmp_path, closed):
    """As a daemon's: files must not get their numbers, to which libraries write."""
    stub_model(tmp_path / "m.onnx")
    make_video(tmp_path / "in.mp4", frames=5)
    command = f"{shlex.join(RUN)} video in.mp4 --out out.mp4 --jsonl out.jsonl --model m.onnx {closed}"
    done = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(read_video(tmp_path / "out.mp4")) == len((tmp_path / "out.jsonl").read_text().splitlines()) == 5


@pytest.mark.parametrize(
    ("arguments", "output", "reason"),
    [
        ("image in.png --model m.onnx", ">&-", "Bad file descriptor"),
        ("--version", ">/dev/full", "No space left on device"),
    ],
)
def test_results_that_cannot_be_printed_are_one_line(tmp_path, arguments, output, reason):
    stub_model(tmp_path / "m.onnx")
    cv2.imwrite(str(tmp_path / "in.png"), np.zeros((48, 64, 3), np.uint8))
    command = f"{shlex.join(RUN)} {arguments} {output}"
    done = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"error: cannot write to standard output: {reason}"
    assert "Traceback" not in done.stderr

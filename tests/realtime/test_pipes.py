"""Pipes, devices and standard streams in place of files."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
from fakes import make_video, read_video, stub_model

from realtime.errors import SinkError
from realtime.sinks.base import Ending
from realtime.sinks.text_file import is_stream, open_text
from realtime.sources.decode_errors import missing_bytes

RUN = [sys.executable, "-c", "from realtime.cli import run_cli; run_cli()"]


@pytest.fixture
def folder(tmp_path):
    stub_model(tmp_path / "m.onnx")
    make_video(tmp_path / "silent.mkv", frames=10)
    make_video(tmp_path / "sound.mkv", frames=10, sound="aac")
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((48, 64, 3), np.uint8))
    return tmp_path


def realtime(*arguments, cwd, stdin=None, **streams):
    """``stdin`` names a file that comes through a pipe."""
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams
    return subprocess.run(
        [*RUN, *map(str, arguments), "--model", "m.onnx"],
        input=(cwd / stdin).read_bytes() if stdin else None, cwd=cwd, timeout=60, check=False, **streams,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["-", "/dev/stdin"])
def test_a_video_from_a_pipe_is_read(folder, name):
    piped = realtime("video", name, "--jsonl", "-", "--out", "out.mkv", cwd=folder, stdin="silent.mkv")
    assert piped.returncode == 0, piped.stderr
    assert piped.stdout == realtime("video", "silent.mkv", "--jsonl", "-", cwd=folder).stdout
    assert len(read_video(folder / "out.mkv")) == 10


def test_a_part_of_a_video_from_a_pipe(folder):
    piped = realtime("video", "-", "--start", "0.2", "--csv", "-", cwd=folder, stdin="silent.mkv")
    assert piped.returncode == 0, piped.stderr
    assert piped.stdout == realtime("video", "silent.mkv", "--start", "0.2", "--csv", "-", cwd=folder).stdout


def test_sound_from_a_pipe_is_refused_with_the_way_out(folder):
    done = realtime("video", "-", "--out", "out.mkv", "--jsonl", "x.jsonl", cwd=folder, stdin="sound.mkv")
    assert done.returncode == 1
    assert done.stderr.decode() == (
        "error: cannot write out.mkv: the sound is read separately, and /dev/stdin is a pipe, read only once; "
        "save the video to a file first\n"
    )
    assert not {"out.mkv", "x.jsonl"} & {path.name for path in folder.iterdir()}


def test_an_image_from_a_pipe_is_read(folder):
    done = realtime("image", "-", cwd=folder, stdin="a.png")
    assert json.loads(done.stdout)["image"] == "/dev/stdin"
    (folder / "-").write_bytes((folder / "a.png").read_bytes())
    assert json.loads(realtime("image", "-", cwd=folder).stdout)["image"] == "-"  # a file of that name is one


@pytest.mark.parametrize("command", [["image", "a.png"], ["video", "silent.mkv"]])
def test_dev_stdout_is_standard_output_wherever_it_leads(folder, command):
    expected = realtime(*command, "--jsonl", "-", cwd=folder).stdout
    assert expected
    assert realtime(*command, "--jsonl", "/dev/stdout", cwd=folder).stdout == expected
    with (folder / "log").open("wb") as log:  # a regular file, which is continued
        log.write(b"before\n")
        log.flush()
        assert realtime(*command, "--jsonl", "/dev/stdout", cwd=folder, stdout=log).returncode == 0
    assert (folder / "log").read_bytes() == b"before\n" + expected
    assert Path("/dev/stdout").is_symlink()


def test_other_open_files_are_written_to(folder):
    reading, writing = os.pipe()
    command = [*RUN, "video", "silent.mkv", "--csv", f"/dev/fd/{writing}", "--model", "m.onnx"]
    done = subprocess.run(command, cwd=folder, pass_fds=[writing], capture_output=True, timeout=60, check=False)
    os.close(writing)
    with os.fdopen(reading) as lines:
        assert done.returncode == 0, done.stderr
        assert lines.readline().startswith("frame,pts_s,")


def test_a_named_pipe_gets_the_lines(folder):
    os.mkfifo(folder / "pipe")
    got = []
    reader = threading.Thread(target=lambda: got.append((folder / "pipe").read_bytes()), name="test-reader")
    reader.start()
    done = realtime("video", "silent.mkv", "--jsonl", "pipe", cwd=folder)
    reader.join(10)
    assert done.returncode == 0, done.stderr
    assert len(got[0].splitlines()) == 10
    assert (folder / "pipe").is_fifo()


def test_a_device_that_is_full_is_one_error(folder):
    done = realtime("video", "silent.mkv", "--jsonl", "/dev/full", cwd=folder)
    assert done.returncode == 1
    assert done.stderr.endswith(b"error: cannot write /dev/full: No space left on device\n")


def test_many_videos_need_a_folder(folder):
    done = realtime("video", "silent.mkv", "sound.mkv", "--jsonl", "/dev/null", cwd=folder)
    assert (done.returncode, done.stderr) == (
        1, b"error: --jsonl /dev/null: several videos need a folder, and this is a file\n"
    )  # fmt: skip


def test_what_is_written_to_directly(tmp_path):
    (tmp_path / "file").write_text("older")
    os.mkfifo(tmp_path / "pipe")
    streams = ["/dev/stdout", "/dev/stderr", "/dev/null", "/dev/fd/1", "/proc/self/fd/2", tmp_path / "pipe"]
    assert all(is_stream(Path(path)) for path in streams)
    assert not any(is_stream(path) for path in (tmp_path, tmp_path / "file", tmp_path / "new", Path("/dev/fd/x")))
    file = open_text(tmp_path / "file")
    file.write("new")
    file.close(Ending.FAILED)
    assert (tmp_path / "file").read_text() == "older"
    with pytest.raises(SinkError, match="cannot write /dev/nix"):
        open_text(Path("/dev/nix/file"))


def test_a_pipe_has_no_missing_bytes(tmp_path):
    """Opening it a second time would wait for ever."""
    os.mkfifo(tmp_path / "pipe")
    assert missing_bytes(tmp_path / "pipe") == 0

"""``realtime cam`` on streams, started as a user starts it."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading

import pytest
from fakes import WAIT_S, read_video, stub_model
from senders import free_port, grey, grey_for_ever, jpeg_server

ENVIRONMENT = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")}
ENDLESS_PAUSE = "import realtime.sources.reconnecting as r; r.FIRST_PAUSE_S = 600; "
USER = "admin:hunter2@"


@pytest.fixture
def folder(tmp_path):
    stub_model(tmp_path / "m.onnx")
    return tmp_path


def start(folder, *arguments, first="", options=()):
    code = first + "from realtime.cli import run_cli; run_cli()"
    return subprocess.Popen(
        [sys.executable, "-c", code, *options, *arguments],
        cwd=folder, env=ENVIRONMENT, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def end(process):
    """What it printed until its end."""
    try:
        output, errors = process.communicate(timeout=WAIT_S)
    finally:
        process.kill()
    assert "hunter2" not in output + errors
    return errors


RECORD = ("--no-window", "--record", "out.mp4", "--jsonl", "out.jsonl", "--model", "m.onnx")


def test_a_stream_that_breaks_and_changes_size_is_recorded_in_one_file(folder):
    def play(viewer):
        if viewer.number == 0:
            viewer.play(iter([grey(50)] * 60))
        else:
            viewer.play(grey_for_ever(200, size_wh=(200, 60)))

    with jpeg_server(play, credentials=USER[:-1]) as host:
        process = start(folder, "cam", "--device", f"http://{USER}{host}/live", *RECORD, "--max-frames", "100")
        errors = end(process)
    assert process.returncode == 0, errors
    lines = errors.splitlines()
    broken = f"lost stream http://***@{host}/live: the sender closed the connection; reconnecting, 1st try in 1 s"
    assert lines.index("connected again") > lines.index(broken)
    frames = read_video(folder / "out.mp4")
    records = [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]
    assert len(frames) == len(records)
    assert {image.shape for _, image in frames} == {(48, 64, 3)}
    assert frames[-1][1][24].mean() > 150  # the second sender's, in the middle,
    assert frames[-1][1][2].mean() < 50  # on black
    assert [record["frame"] for record in records] == sorted({record["frame"] for record in records})


both_signals = pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])


@both_signals
def test_a_run_that_hangs_on_a_stalled_sender_ends_at_once(folder, number, code):
    stalled = threading.Event()

    def play(viewer):
        viewer.play(iter([grey(50)] * 100))
        stalled.set()
        viewer.stall()

    with jpeg_server(play) as host:
        process = start(folder, "cam", "--device", f"http://{USER}{host}/live", *RECORD, "--read-timeout", "600")
        assert stalled.wait(WAIT_S)
        process.send_signal(number)
        errors = end(process)
    assert process.returncode == code, errors
    if not errors.splitlines()[-1].startswith("0 frames"):
        assert read_video(folder / "out.mp4")
    assert not list(folder.glob(".*"))


@both_signals
def test_a_run_that_pauses_before_it_reconnects_ends_at_once(folder, number, code):
    with jpeg_server(lambda viewer: viewer.play(iter([grey(50)] * 100))) as host:
        process = start(folder, "cam", "--device", f"http://{USER}{host}/live", *RECORD, first=ENDLESS_PAUSE)
        while "reconnecting, 1st try in 600 s" not in (line := process.stderr.readline()):
            assert line, "it ended"
        process.send_signal(number)
        errors = end(process)
    assert process.returncode == code, errors
    assert not list(folder.glob(".*"))


@both_signals
@pytest.mark.parametrize("waits_for", ["an answer", "the next try"])
def test_a_run_that_waits_for_its_first_image_ends_at_once(folder, number, code, waits_for):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1] if waits_for == "an answer" else free_port()
        url = f"http://{USER}127.0.0.1:{port}/live"
        process = start(
            folder, "cam", "--device", url, *RECORD, "--open-timeout", "600", "--reconnect", first=ENDLESS_PAUSE
        )
        if waits_for == "an answer":
            assert select.select([silent], [], [], WAIT_S)[0], "it does not connect"
        else:
            while "connecting, 1st try in 600 s" not in (line := process.stderr.readline()):
                assert line, "it ended"
        process.send_signal(number)
        errors = end(process)
    assert process.returncode == code
    assert errors.splitlines()[-1] == "stopped"


@pytest.mark.parametrize("options", [(), ("--debug",)])
def test_a_wrong_address_is_an_error_at_once_without_its_password(folder, options):
    address = f"127.0.0.1:{free_port()}/live?token=hunter2"
    process = start(folder, "cam", "--device", f"rtsp://{USER}{address}", *RECORD, options=options)
    errors = end(process)
    assert process.returncode == 1
    assert f"cannot open stream rtsp://***@{address.replace('hunter2', '***')}: connection refused" in errors
    assert ("Traceback" in errors) == bool(options)
    assert not list(folder.glob("*out*"))


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ("cam rtsp://admin:hunter2@host/x", 2),
        ("rtsp://admin:hunter2@host/x", 2),
        ("cam --size rtsp://admin:hunter2@host/x", 2),
        ("video rtsp://admin:hunter2@host/x --out out.mp4", 1),
        ("bench http://host/x?password=hunter2", 1),
        ("cam --device rtsp://admin:hunter2@host/x --size 640x480 --model m.onnx", 1),
    ],
)
def test_an_address_in_the_wrong_place_shows_no_password(folder, arguments, code):
    process = start(folder, *arguments.split())
    errors = end(process)
    assert process.returncode == code, errors
    assert "***" in errors or "host" not in errors


@pytest.mark.parametrize("size", ["1280", "1280x", "0x10", "1280*720", "-1x2"])
def test_a_size_that_is_none_is_wrong_usage(folder, size):
    process = start(folder, "cam", f"--size={size}")
    assert "expected WIDTHxHEIGHT such as 1280x720" in end(process)
    assert process.returncode == 2

"""``realtime cam`` with several cameras, started as a user starts it."""

import csv
import json
import signal
import socket
import threading

import numpy as np
import pytest
from fakes import read_video, stub_model
from senders import ffmpeg_sender, free_port, grey, grey_for_ever, jpeg_server, needs_ffmpeg
from test_cam import USER, end, start

OUTPUTS = ("--no-window", "--model", "m.onnx", "--provider", "cpu")


@pytest.fixture
def folder(tmp_path):
    stub_model(tmp_path / "m.onnx")
    return tmp_path


def records_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_each_camera_has_its_files_its_numbers_and_its_line(folder):
    def play(level):
        return lambda viewer: viewer.play(grey_for_ever(level, size_wh=(96, 64)))

    with jpeg_server(play(60)) as dark, jpeg_server(play(200)) as light:
        process = start(
            folder, "cam", *OUTPUTS, "--device", f"dark=http://{USER}{dark}/x", "--device", f"light=http://{light}/x",
            "--record", "out.mp4", "--jsonl", "out.jsonl", "--csv", "out.csv", "--max-frames", "60",
        )  # fmt: skip
        errors = end(process)
    assert process.returncode == 0, errors
    records = records_of(folder / "out.jsonl")
    assert len(records) == 60
    for name, expected in (("dark", 60), ("light", 200)):
        own = [record for record in records if record["camera"] == name]
        frames = read_video(folder / f"out-{name}.mp4")
        assert len(own) == len(frames) >= 15  # fair shares
        assert list(own[0]) == ["camera", "frame", "pts_s", "detections", "faces"]
        assert [record["frame"] for record in own] == sorted({record["frame"] for record in own})
        assert np.median(frames[-1][1]) == pytest.approx(expected, abs=12)
        assert frames[0][0] == 0
    with (folder / "out.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["camera"] for row in rows} == {"dark", "light"}
    assert list(rows[0])[:3] == ["camera", "frame", "pts_s"]
    lines = errors.splitlines()
    assert [line.partition(":")[0] for line in lines[-3:-1]] == ["dark", "light"]
    assert lines[-1] == "wrote out-dark.mp4, out-light.mp4, out.jsonl and out.csv"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_dead_and_a_hanging_camera_delay_neither_the_others_nor_the_end(folder, number, code):
    enough = threading.Event()

    def play(viewer):
        viewer.play(iter([grey(50)] * 100))
        enough.set()
        viewer.play(grey_for_ever(50))

    with jpeg_server(play) as host, socket.create_server(("127.0.0.1", 0)) as silent:
        process = start(
            folder, "cam", *OUTPUTS, "--jsonl", "out.jsonl", "--open-timeout", "600",
            "--device", f"good=http://{host}/x", "--device", f"dead=http://{USER}127.0.0.1:{free_port()}/x",
            "--device", f"hangs=http://127.0.0.1:{silent.getsockname()[1]}/x",
        )  # fmt: skip
        assert enough.wait(60)
        process.send_signal(number)
        errors = end(process)
    assert process.returncode == code, errors
    assert {record["camera"] for record in records_of(folder / "out.jsonl")} == {"good"}
    assert "dead: cannot open stream http://***@127.0.0.1" in errors
    assert "hangs: 0 frames" in errors


def test_cameras_that_are_all_lost_end_the_run_with_their_error(folder):
    process = start(
        folder, "cam", *OUTPUTS, "--jsonl", "out.jsonl", "--no-reconnect",
        "--device", f"a=http://127.0.0.1:{free_port()}/x", "--device", f"b=http://127.0.0.1:{free_port()}/x",
    )  # fmt: skip
    errors = end(process)
    assert process.returncode == 1
    assert errors.splitlines()[-1].startswith("error: cannot open stream http://127.0.0.1")
    assert not (folder / "out.jsonl").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--record", "none/out.mp4"), "cannot write none/out-a.mp4"),
        (("--record", "out.xyz"), "cannot write out-a.xyz"),
        (("--jsonl", "none/out.jsonl"), "none/out.jsonl"),
        (("--device", "nonsense"), "--device nonsense: neither a camera's number"),
    ],
)
def test_what_cannot_be_opened_is_an_error_at_once(folder, arguments, message):
    devices = ("--device", "a=udp://127.0.0.1:1", "--device", "b=udp://127.0.0.1:2")
    process = start(folder, "cam", *OUTPUTS, *devices, *arguments)
    errors = end(process)
    assert process.returncode == 1, errors
    assert message in errors.splitlines()[-1]
    assert sorted(path.name for path in folder.iterdir()) == ["m.onnx"]


def test_faces_are_hidden_in_the_files_of_every_camera(folder):
    def play(viewer):
        image = grey(90, size_wh=(96, 96))
        image[::2] = 160
        viewer.play(iter([image] * 400))

    with jpeg_server(play) as one, jpeg_server(play) as other:
        process = start(
            folder, "cam", *OUTPUTS, "--device", f"a=http://{one}/x", "--device", f"b=http://{other}/x",
            "--record", "out.mp4", "--blur", "--max-frames", "12",
        )  # fmt: skip
        errors = end(process)
    assert process.returncode == 0, errors
    for name in "ab":
        image = read_video(folder / f"out-{name}.mp4")[-1][1].astype(int)
        assert image[30:50, 30:50].std() < image[88:, 88:].std() / 2  # the stub's face is a block


@needs_ffmpeg
@pytest.mark.slow
def test_real_senders_are_detected_in_together(folder):
    ports = [free_port(socket.SOCK_DGRAM) for _ in range(2)]
    with ffmpeg_sender(ports[0]), ffmpeg_sender(ports[1], colour="white"):
        process = start(
            folder, "cam", *OUTPUTS, "--device", f"a=udp://127.0.0.1:{ports[0]}", "--device",
            f"b=udp://127.0.0.1:{ports[1]}", "--jsonl", "out.jsonl", "--max-frames", "80",
        )  # fmt: skip
        errors = end(process)
    assert process.returncode == 0, errors
    names = [record["camera"] for record in records_of(folder / "out.jsonl")]
    assert min(names.count(name) for name in "ab") >= 20

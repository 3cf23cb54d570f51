"""Inputs, outputs and records on a real SFTP server."""

import json
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
from fakes import WAIT_S, make_video, read_video, stub_model
from typer.testing import CliRunner

from realtime.batch.copying import upload
from realtime.batch.remote_store import RemoteStore
from realtime.cli import app
from realtime.errors import SourceError

for package in ("asyncssh", "fsspec", "paramiko"):
    pytest.importorskip(package, reason=f"{package} is not installed")

CPU = ("--model", "m.onnx", "--provider", "cpu")


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A server, and two videos and two images on it, in ``tmp_path/far``."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    (tmp_path / "far" / "in" / "sub").mkdir(parents=True)
    make_video(tmp_path / "far" / "in" / "a.mp4", frames=4)
    make_video(tmp_path / "far" / "in" / "sub" / "ü b#1?.mp4", frames=5)
    for name in ("i.png", "sub/j k.png"):
        cv2.imwrite(str(tmp_path / "far" / "in" / name), np.full((48, 64, 3), 90, np.uint8))
    stub_model(tmp_path / "m.onnx")
    monkeypatch.chdir(tmp_path)
    from sftp_server import sftp_server

    with sftp_server(tmp_path) as running:
        yield running


@pytest.fixture
def far(server, tmp_path):
    """The address of that folder."""
    return f"sftp://127.0.0.1:{server.port}{tmp_path}/far"


def realtime(*arguments):
    done = CliRunner().invoke(app, [*arguments, *CPU])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stderr.splitlines()


def test_videos_are_done_and_resumed(far, tmp_path):
    command = ("video", f"{far}/in", "--out", f"{far}/out", "--jsonl", f"{far}/found")
    code, lines = realtime(*command)
    assert (code, lines[-1]) == (0, "2 videos"), lines
    assert len(read_video(tmp_path / "far" / "out" / "sub" / "ü b#1?.mp4")) == 5
    assert len((tmp_path / "far" / "found" / "a.jsonl").read_text().splitlines()) == 4
    assert not list((tmp_path / "far" / "out" / ".realtime" / "claims").rglob("*.json"))
    assert not list((tmp_path / "far").rglob("*.partial*"))
    assert realtime(*command, "--resume") == (0, ["2 videos, 2 done before"])
    make_video(tmp_path / "far" / "in" / "a.mp4", frames=7)
    assert realtime(*command, "--resume")[1][-1] == "2 videos, 1 done before"
    assert len(read_video(tmp_path / "far" / "out" / "a.mp4")) == 7


def test_one_video_is_done(far, tmp_path):
    assert realtime("video", f"{far}/in/sub/ü b#1?.mp4", "--jsonl", "b.jsonl")[0] == 0
    assert len((tmp_path / "b.jsonl").read_text().splitlines()) == 5
    with pytest.raises(SourceError, match=f"cannot read {far}/none: not found"):
        realtime("video", f"{far}/none", "--jsonl", "b.jsonl")


def test_images_are_done_by_workers(far, tmp_path):
    command = ("image", f"{far}/in", "--out", f"{far}/out", "--jsonl", f"{far}/i.jsonl")
    code, lines = realtime(*command, "--workers", "2")
    assert code == 0, lines
    named = [json.loads(line)["image"] for line in (tmp_path / "far" / "i.jsonl").read_text().splitlines()]
    assert named == [f"{far}/in/i.png", f"{far}/in/sub/j k.png"]
    assert (tmp_path / "far" / "out" / "sub" / "j k.png").exists()


def test_a_connection_that_was_dropped_is_made_again(far, server, tmp_path):
    store = RemoteStore(Path(far) / ".realtime")
    store.write("claims/a", b"1")
    for action in (
        lambda: store.read("claims/a") == b"1",
        lambda: store.create("claims/b", b""),
        lambda: not store.create("claims/b", b""),
        lambda: sorted(store.names("claims")) == ["claims/a", "claims/b"],
        lambda: upload(tmp_path / "m.onnx", Path(far) / "m.onnx") is None,
    ):
        server.drop_connections()
        assert action()
    assert (tmp_path / "far" / "m.onnx").read_bytes() == (tmp_path / "m.onnx").read_bytes()


def test_a_file_is_created_by_one_of_several_threads(far):
    store, made, ready = RemoteStore(Path(far)), [], threading.Barrier(4)

    def create(number: int) -> None:
        ready.wait(WAIT_S)
        made.extend(i for i in range(10) if store.create(f"claims/{i}", str(number).encode()))

    threads = [threading.Thread(target=create, args=(number,), name="test-create") for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert sorted(made) == list(range(10))


def test_a_server_that_does_not_answer_is_named(far, server):
    elsewhere = far.replace(str(server.port), "1")
    with pytest.raises(SourceError, match=rf"cannot open {elsewhere}/in: .*Unable to connect to port 1"):
        realtime("image", f"{elsewhere}/in", "--jsonl", "i.jsonl")
    with pytest.raises(SourceError, match=f"cannot open {elsewhere}/out/"):
        realtime("image", f"{far}/in", "--out", f"{elsewhere}/out")

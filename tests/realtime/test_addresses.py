"""Inputs and outputs at addresses: in fsspec's memory, and on a server of this machine."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from fakes import make_video, read_video, stub_model
from typer.testing import CliRunner

from realtime.batch.addresses import files_below, url_of
from realtime.batch.claims import Claims
from realtime.batch.remote_store import RemoteStore
from realtime.cli import app
from realtime.errors import SinkError, SourceError

fsspec = pytest.importorskip("fsspec", reason="the extra cluster is not installed")

CPU = ("--model", "m.onnx", "--provider", "cpu")


@pytest.fixture
def memory(tmp_path, monkeypatch):
    """A file system in memory with two videos, an image, and files of other kinds."""
    system = fsspec.filesystem("memory")
    system.store.clear()
    make_video(tmp_path / "a.mp4", frames=4)
    (tmp_path / "photos").mkdir()
    cv2.imwrite(str(tmp_path / "photos" / "i.png"), np.full((48, 64, 3), 90, np.uint8))
    stub_model(tmp_path / "m.onnx")
    for name, place in (("a.mp4", "in/a.mp4"), ("a.mp4", "in/sub/b.mp4"), ("photos/i.png", "in/sub/i.png")):
        system.put_file(str(tmp_path / name), f"/box/{place}")
    system.pipe_file("/box/in/.hidden.mp4", b"")
    for folder in ("in", "text"):
        system.pipe_file(f"/box/{folder}/notes.txt", b"")
    monkeypatch.chdir(tmp_path)
    yield system
    system.store.clear()


def realtime(*arguments):
    done = CliRunner().invoke(app, [*arguments, *CPU])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stderr.splitlines()


def test_addresses_are_told_from_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert url_of(Path("s3://bucket/a b.mp4")) == "s3://bucket/a b.mp4"
    assert url_of(Path("sftp://user@host/x")) == "sftp://user@host/x"
    for name in ("a.mp4", "/abs/a.mp4", "rtsp://host/live", "http:a.mp4", "x:/y", "https://host/a.mp4"):
        assert url_of(Path(name)) is None
    (tmp_path / "memory:").mkdir()
    assert url_of(Path("memory:/a.mp4")) is None


def test_videos_at_addresses_are_done_and_resumed(memory, tmp_path):
    command = ("video", "memory://box/in", "--out", "memory://box/out", "--jsonl", "memory://box/found")
    code, lines = realtime(*command)
    assert code == 0
    assert lines[-1] == "2 videos"
    assert any(
        line.startswith("[1/2] memory://box/in/a.mp4: 4 frames")
        and line.endswith("; wrote memory://box/out/a.mp4 and memory://box/found/a.jsonl")
        for line in lines
    )
    memory.get_file("/box/out/sub/b.mp4", str(tmp_path / "b.mp4"))
    assert len(read_video(tmp_path / "b.mp4")) == 4
    assert len(memory.cat_file("/box/found/a.jsonl").splitlines()) == 4
    assert not [name for name in memory.find("/box/out") if "claims" in name]
    code, lines = realtime(*command, "--resume")
    assert (code, lines) == (0, ["2 videos, 2 done before"])
    memory.put_file(str(tmp_path / "a.mp4"), "/box/in/a.mp4")  # written again
    assert realtime(*command, "--resume")[1][-1] == "2 videos, 1 done before"


@pytest.mark.usefixtures("memory")
def test_one_video_at_an_address(tmp_path):
    code, _ = realtime("video", "memory://box/in/a.mp4", "--jsonl", "a.jsonl")
    assert code == 0
    assert len((tmp_path / "a.jsonl").read_text().splitlines()) == 4


def test_images_at_addresses(memory):
    code, lines = realtime("image", "memory://box/in", "--out", "memory://box/out", "--jsonl", "memory://box/i.jsonl")
    assert code == 0
    assert lines[-1].startswith("1 image, 1 face; wrote memory://box/out and memory://box/i.jsonl")
    assert memory.exists("/box/out/sub/i.png")
    assert json.loads(memory.cat_file("/box/i.jsonl"))["image"] == "memory://box/in/sub/i.png"


def test_what_cannot_be_read_is_named_by_its_address(memory):
    memory.pipe_file("/box/in/a.mp4", b"no video")
    code, lines = realtime("video", "memory://box/in", "--jsonl", "found")
    assert code == 1
    [error] = [line for line in lines if line.startswith("error:")]
    assert error.startswith("error: cannot open video memory://box/in/a.mp4: not a readable video file")


@pytest.mark.usefixtures("memory")
def test_nothing_at_an_address_is_an_error():
    with pytest.raises(SourceError, match="cannot read memory://box/none: not found"):
        files_below(Path("memory://box/none"), lambda _: True)
    with pytest.raises(SourceError, match="cannot open videos in memory://box/text: there are none"):
        realtime("video", "memory://box/text", "--jsonl", "found")
    with pytest.raises(SinkError, match="crops"):
        realtime("video", "memory://box/in", "--crops", "memory://box/crops")


def test_a_missing_package_is_named():
    with pytest.raises(SourceError, match="s3fs"):
        files_below(Path("s3://bucket/a"), lambda _: True)


@pytest.mark.usefixtures("memory")
def test_claims_at_an_address_are_taken_once():
    store = RemoteStore(Path("memory://box/out/.realtime"))
    one, other = Claims(store), Claims(store)
    assert one.take("sub/a.mp4")
    assert not other.take("sub/a.mp4")
    assert store.age_s("claims/sub/a.mp4.json") < 60
    assert list(store.names("claims")) == ["claims/sub/a.mp4.json"]
    one.close()
    assert other.take("sub/a.mp4")
    other.close()


def test_no_folder_is_made_in_an_object_store(memory, monkeypatch):
    monkeypatch.setattr(type(memory), "protocol", ("memory", "other"))  # as s3fs has it, whose top folders are buckets
    monkeypatch.delattr(type(memory), "makedirs")
    store = RemoteStore(Path("memory://box/out"))
    store.write("records/a", b"1")
    assert store.create("claims/a", b"1")


@pytest.mark.usefixtures("memory")
def test_a_folder_by_address_gets_whole_files(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "a.mp4").rename(tmp_path / "in" / "a.mp4")
    command = ("video", (tmp_path / "in").as_uri(), "--out", (tmp_path / "out").as_uri())
    assert realtime(*command)[0] == 0
    assert len(read_video(tmp_path / "out" / "a.mp4")) == 4
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [".realtime", "a.mp4"]
    assert realtime(*command, "--resume") == (0, ["1 video, 1 done before"])


@pytest.mark.usefixtures("memory")
def test_workers_of_their_own_copy_files(tmp_path):
    code, lines = realtime("image", "photos", "--out", (tmp_path / "out").as_uri(), "--workers", "2")
    assert code == 0, lines
    assert (tmp_path / "out" / "i.png").exists()

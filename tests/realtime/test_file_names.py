"""Names of files: whatever the file system allows is read and written, never taken for an address or a pattern."""

import json
import os
import subprocess
import sys

import av
import cv2
import numpy as np
import pytest
from fakes import make_video, read_video, stub_model

from realtime.atomic_files import partial_folder, partial_path
from realtime.batch.images import find_images
from realtime.batch.videos import find_videos
from realtime.errors import SinkError, SourceError
from realtime.file_names import is_utf8
from realtime.inference.detector import OnnxDetector
from realtime.inference.providers import Provider
from realtime.sinks.jsonl import json_line
from realtime.sources.video_file import VideoFileSource

RUN = [sys.executable, "-c", "from realtime.cli import run_cli; run_cli()"]
PLAIN_C = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
"""The locale C as it is without Python's help: ASCII alone."""
NAMES = [
    os.fsdecode(b"caf\xe9"), "http:clip", "file:x", "concat:a|b", "pipe:", "data:,x", "a:b", "100%03d", "-dash",
    "new\nline", " blank", "[1]*?", "a\"b'c;$d\\e", "naïve 顔",
]  # fmt: skip
LONGEST = "n" * 251
"""With an ending of three letters, the longest name that most file systems allow."""


def realtime(*arguments, cwd, environment=None):
    """With bytes, since names need not be text."""
    return subprocess.run(
        [*RUN, *map(os.fspath, arguments)],
        cwd=cwd, env=os.environ | (environment or {}), capture_output=True, timeout=120, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("names")
    stub_model(folder / f"{NAMES[0]}:%d.onnx")
    video = make_video(folder / "v.mkv", frames=6, sound="aac").read_bytes()
    (folder / "v.mkv").unlink()
    image = cv2.imencode(".png", np.zeros((48, 64, 3), np.uint8))[1].tobytes()
    (folder / "in").mkdir()
    for name in [*NAMES, LONGEST]:
        (folder / "in" / f"{name}.mkv").write_bytes(video)
        (folder / "in" / f"{name}.png").write_bytes(image)
    return folder


def test_images_of_any_name(folder):
    outputs = ["--out", "drawn", "--jsonl", "i:%d.jsonl"]
    done = realtime("image", "in", *outputs, "--model", f"{NAMES[0]}:%d.onnx", cwd=folder)
    assert done.returncode == 0, done.stderr
    names = {f"{name}.png" for name in [*NAMES, LONGEST]}
    assert {path.name for path in (folder / "drawn").glob("[!.]*")} == names
    lines = [json.loads(line) for line in (folder / "i:%d.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {line["image"] for line in lines} == {f"in/{name}" for name in names}


def test_videos_of_any_name(folder):
    outputs = ["--out", "out:é", "--csv", "tables%d", "--crops", "pipe:crops"]
    done = realtime("video", "in", *outputs, "--model", f"{NAMES[0]}:%d.onnx", cwd=folder)
    assert done.returncode == 0, done.stderr
    for name in [*NAMES, LONGEST]:
        with av.open(f"file:{folder}/out:é/{name}.mkv") as container:
            assert len(container.streams.audio) == 1
            assert len(list(container.decode(video=0))) == 6
        assert (folder / "tables%d" / f"{name}.csv").is_file()
        assert len(list((folder / "pipe:crops" / name).iterdir())) == 12
    assert not [name for _, _, names in os.walk(folder) for name in names if "partial" in name]


@pytest.mark.parametrize("name", ["http:a.mp4", "file:a.mp4", "%03d.mp4", "-a.mp4", os.fsdecode(b"\xe9:%d.mp4")])
def test_names_without_a_folder(folder, tmp_path, name, monkeypatch):
    """The first part of a relative path is what FFmpeg would take for a protocol."""
    monkeypatch.chdir(tmp_path)
    make_video(tmp_path / "v.mp4", frames=2).rename(name)
    source = VideoFileSource((tmp_path / name).relative_to(tmp_path))
    source.close()
    model = folder / f"{NAMES[0]}:%d.onnx"
    done = realtime("video", "--out", f"pipe:{name}", "--model", model, "--", name, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(read_video((tmp_path / f"pipe:{name}").rename(tmp_path / "out.mp4"))) == 2


def test_messages_show_the_name_and_not_an_address(tmp_path):
    (tmp_path / "http:a.mkv").write_bytes(b"no video")
    done = realtime("video", "http:a.mkv", "--csv", "a.csv", cwd=tmp_path)
    assert done.stderr.startswith(b"error: cannot open video http:a.mkv: not a readable video file (")
    assert b"file:" not in done.stderr


@pytest.mark.parametrize("environment", [{}, PLAIN_C])
@pytest.mark.parametrize("name", [b"caf\xe9", "é".encode()])
def test_no_locale_changes_a_name(folder, tmp_path, environment, name):
    """A name that is not in the locale's encoding crashed OpenCV (segmentation fault)."""
    image = cv2.imencode(".png", np.zeros((48, 64, 3), np.uint8))[1].tobytes()
    (tmp_path / os.fsdecode(name + b".png")).write_bytes(image)
    command = ["image", ".", "--jsonl", "-", "--out", b"out-" + name, "--model", folder / f"{NAMES[0]}:%d.onnx"]
    done = realtime(*command, cwd=tmp_path, environment=environment)
    assert done.returncode == 0, done.stderr
    assert os.fsencode(json.loads(done.stdout)["image"]) == name + b".png"
    assert [path.name for path in (tmp_path / os.fsdecode(b"out-" + name)).glob("[!.]*")] == [
        os.fsdecode(name + b".png")
    ]


def test_help_is_shown_in_every_locale(tmp_path):
    done = realtime("cam", "--help", cwd=tmp_path, environment=PLAIN_C)
    assert done.returncode == 0, done.stderr


def test_json_of_any_name_is_utf8():
    line = json_line({"image": os.fsdecode(b"\xe9 \xc3\xa9") + "\udcc3\udca9\ud800"})
    assert line.encode() == '{"image": "\\udce9 éé\\ud800"}'.encode()
    assert json.loads(line)["image"] == "\udce9 éé\ud800"


def test_a_name_that_is_too_long_is_one_line(folder, tmp_path):
    long = "x" * 300
    model = folder / f"{NAMES[0]}:%d.onnx"
    for command in (
        ["image", long], ["video", long], ["image", "in", "--jsonl", long], ["image", "in", "--out", long],
        ["video", f"in/{LONGEST}.mkv", "--jsonl", f"{LONGEST}.jsonl"],
    ):  # fmt: skip
        done = realtime(*command, "--model", model, cwd=folder)
        assert done.returncode == 1
        [line] = [line for line in done.stderr.splitlines() if line.startswith(b"error: ")]
        assert done.stderr.endswith(line + b"\n"), done.stderr
        assert long.encode() in line or LONGEST.encode() in line
    for make in (partial_path, partial_folder):
        with pytest.raises(SinkError, match="File name too long"):
            make(tmp_path / long)


def test_unfinished_files_have_short_plain_names(tmp_path):
    for name in (f"{LONGEST}.mp4", f"a.{LONGEST}", os.fsdecode(b"\xe9:%03d\n.mp4"), "顔" * 80):
        for partial in (partial_path(tmp_path / name), partial_folder(tmp_path / name)):
            assert partial.name.isascii()
            assert len(partial.name) < 143
            assert not set(partial.name) & set(":%\n")
    assert partial_path(tmp_path / "out.mp4").name.startswith(".out-")


def test_a_model_of_any_name_is_opened(tmp_path):
    for name in (b"caf\xe9.onnx", b"http:m.onnx", b"%d.onnx", b"-m.onnx"):
        model = stub_model(tmp_path / "m.onnx").rename(tmp_path / os.fsdecode(name))
        assert OnnxDetector(model, provider=Provider.CPU).metadata.class_names == ("face", "eye")


def test_names_that_libraries_can_open(tmp_path):
    assert is_utf8(tmp_path / "é.png")
    assert not is_utf8(tmp_path / os.fsdecode(b"\xe9.png"))


def test_what_systems_leave_in_folders_is_left_out(tmp_path):
    """Resource forks of macOS begin with ``._`` and end as the files that they belong to."""
    for name in ("a.png", "v.mkv"):
        for place in (name, f"._{name}", f"sub/.{name}", f"__MACOSX/{name}", f"__MACOSX/._{name}", f"@eaDir/{name}"):
            (tmp_path / place).parent.mkdir(exist_ok=True)
            (tmp_path / place).write_text("")
    for name in (".DS_Store", "Thumbs.db", "desktop.ini"):
        (tmp_path / name).write_text("")
    images, videos = find_images([tmp_path]), find_videos([str(tmp_path)])
    assert ([path.name for path in images.files], images.notices) == (["a.png"], ["skipped 1 non-image file: 1 .mkv"])
    assert ([path.name for path in videos.files], videos.notices) == (["v.mkv"], ["skipped 1 non-video file: 1 .png"])


def test_a_folder_of_other_files_says_what_it_holds(tmp_path):
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))
    with pytest.raises(SourceError, match=r"the folder holds none; skipped 1 non-image file: 1 \.heic"):
        find_images([tmp_path])
    with pytest.raises(SourceError, match=r"the folder holds none; skipped 1 non-video file: 1 \.heic"):
        find_videos([str(tmp_path)])

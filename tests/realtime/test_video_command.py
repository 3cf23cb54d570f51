"""``realtime video`` as a user starts it: many files, parts, tables, crops, blur, and how it tells of its progress."""

import csv
import json
import os
import pty
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from fakes import WAIT_S, make_video, read_video, stub_model
from made_videos import Kind, make
from typer.testing import CliRunner

from realtime.batch.videos import Targets, find_videos, plan
from realtime.cli import app
from realtime.commands.options import seconds
from realtime.errors import SinkError, SourceError

RUN = [sys.executable, "-c", "from realtime.cli import run_cli; run_cli()"]


def realtime(*arguments, cwd):
    return subprocess.run(
        [*RUN, *map(str, arguments), "--model", "m.onnx"],
        cwd=cwd, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def names_in(folder):
    """But for the folder of records."""
    return sorted(path.name for path in folder.iterdir() if path.name != ".realtime")


def told(done):
    return [line for line in done.stderr.splitlines() if not line.startswith("running on the CPU")]


@pytest.fixture
def folder(tmp_path):
    """A folder of three videos, the second damaged beyond use, and a model."""
    (tmp_path / "clips").mkdir()
    for name in ("a", "c"):
        make_video(tmp_path / "clips" / f"{name}.mkv", frames=10)
    (tmp_path / "clips" / "b.avi").write_text("no video")
    (tmp_path / "clips" / "notes.txt").write_text("no video")
    stub_model(tmp_path / "m.onnx")
    return tmp_path


@pytest.mark.parametrize("given", ["clips/", "clips/*.[am]*"])
def test_one_bad_file_does_not_stop_the_others(folder, given):
    done = realtime("video", given, "--out", "drawn", "--jsonl", "found", "--csv", "tables", cwd=folder)
    assert done.returncode == 1
    lines = told(done)
    if given == "clips/":
        assert lines.pop(0) == "skipped 1 non-video file: 1 .txt"
    assert lines[0].startswith("[1/3] clips/a.mkv: 10 frames, 1 face, ")
    assert lines[0].endswith("; wrote drawn/a.mkv, found/a.jsonl and tables/a.csv")
    assert lines[1].startswith("error: cannot open video clips/b.avi: not a readable video file")
    assert lines[2].startswith("[3/3] clips/c.mkv: 10 frames")
    assert lines[3:] == ["3 videos, 1 with errors: clips/b.avi"]
    for place, end in (("drawn", "mkv"), ("found", "jsonl"), ("tables", "csv")):
        assert names_in(folder / place) == [f"a.{end}", f"c.{end}"]
    assert len(read_video(folder / "drawn" / "c.mkv")) == 10


def test_no_password_and_no_control_character_of_a_name_is_printed(folder):
    (folder / "clips" / "b\x1b[31m.avi").write_text("no video")
    done = realtime("video", "clips/", "rtsp://user:secret@host/live", "--jsonl", "found", cwd=folder)
    assert done.returncode == 1
    assert "secret" not in done.stderr
    done = realtime("video", "clips/", "--jsonl", "found", cwd=folder)
    assert "\x1b" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("4 videos, 2 with errors")


@pytest.mark.parametrize("command", ["video clips/a.mkv --out out.mp4", "image a.png --out drawn"])
@pytest.mark.parametrize("arguments", [["--blur="], ["--blur", ""]])
def test_an_empty_name_hides_nothing_and_so_is_refused(folder, command, arguments):
    (folder / "drawn").mkdir()
    cv2.imwrite(str(folder / "a.png"), np.zeros((48, 64, 3), np.uint8))
    done = realtime(*command.split(), *arguments, cwd=folder)
    assert done.returncode == 1
    assert told(done)[-1].startswith("error: --blur : the model has no such class")
    assert not (folder / "out.mp4").exists()


def test_several_good_files_end_well(folder):
    done = realtime("video", "clips/a.mkv", "clips/c.mkv", "--jsonl", "found", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert told(done)[-1] == "2 videos"


def test_one_file_goes_into_a_folder_that_is_there(folder):
    (folder / "drawn").mkdir()
    assert realtime("video", "clips/a.mkv", "--out", "drawn", cwd=folder).returncode == 0
    assert [p.name for p in (folder / "drawn").iterdir()] == ["a.mkv"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_all_and_keeps_what_was_done(folder, number, code):
    make_video(folder / "clips" / "b.avi", frames=20_000, codec="mpeg4", time_base=Fraction(1, 25), pts=range(20_000))
    process = subprocess.Popen(
        [*RUN, "video", "clips", "--out", "drawn", "--model", "m.onnx"], cwd=folder, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + WAIT_S
    while not any(p.stat().st_size > 20_000 for p in (folder / "drawn").glob(".b-*")):  # another process
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(number)
    _, errors = process.communicate(timeout=WAIT_S)
    assert process.returncode == code, errors
    assert errors.splitlines()[-1] == "stopped in video 2 of 3"
    assert names_in(folder / "drawn") == ["a.mkv", "b.mp4"]
    assert 0 < len(read_video(folder / "drawn" / "b.mp4")) < 20_000


def test_a_part_by_its_times(folder):
    make(folder / "long.mp4", Kind(pts=[40 * i for i in range(200)], languages=["eng"]))
    done = realtime(
        "video",
        "long.mp4",
        "--start",
        "0:02",
        "--duration",
        "1.5",
        "--out",
        "out.mp4",
        "--jsonl",
        "out.jsonl",
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]
    assert [line["frame"] for line in lines] == list(range(38))  # from 2.0 to 3.48
    assert lines[0]["pts_s"] == pytest.approx(2.0)  # the original's time
    times = [time_s for time_s, _ in read_video(folder / "out.mp4")]
    assert times[0] == 0
    assert len(times) == len(lines)


def test_a_table_says_what_the_lines_of_json_say(folder):
    realtime("video", "clips/a.mkv", "--csv", "a.csv", "--jsonl", "a.jsonl", cwd=folder)
    with (folder / "a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    lines = [json.loads(line) for line in (folder / "a.jsonl").read_text().splitlines()]
    assert len(rows) == 20
    expected = [(frame, found) for frame in lines for found in frame["detections"]]
    for row, (line, found) in zip(rows, expected, strict=True):
        assert (int(row["frame"]), float(row["pts_s"])) == (line["frame"], line["pts_s"])
        assert (row["label"], float(row["score"])) == (found["label"], found["score"])
        assert [float(row[corner]) for corner in ("x1", "y1", "x2", "y2")] == found["box"]


def test_crops_are_cut_from_the_undrawn_image(folder):
    done = realtime("video", "clips/a.mkv", "--crops", "crops", cwd=folder)
    assert done.returncode == 0, done.stderr
    names = names_in(folder / "crops")
    assert len(names) == 20
    assert names[0].startswith("000000_")
    assert names[0].endswith(("face_0.png", "eye_0.png"))
    for name in names:
        crop = cv2.imread(str(folder / "crops" / name))
        assert crop.shape == ((32, 32, 3) if name.endswith("face_0.png") else (4, 8, 3))
        assert abs(crop.mean() - 20 * int(name[:6])) < 4
        assert crop.std() < 3
    again = realtime("video", "clips/a.mkv", "--crops", "crops", cwd=folder)
    assert again.returncode == 1
    assert told(again) == ["error: cannot write to crops: it is not an empty folder; choose another name"]


def test_crops_of_several_videos_lie_in_folders_of_their_own(folder):
    realtime("video", "clips", "--crops", "crops", cwd=folder)
    assert names_in(folder / "crops") == ["a", "c"]
    assert len(list((folder / "crops" / "c").iterdir())) == 20


def noise_video(path, frames=5):
    import av

    noise = np.random.default_rng(0).integers(0, 255, (96, 128, 3), np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        for _ in range(frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(noise, format="rgb24")))
        container.mux(stream.encode(None))
    return noise


@pytest.mark.parametrize("arguments", [["--blur", "--out", "out.mp4"], ["--blur", "face", "--out", "out.mp4"]])
def test_faces_are_hidden_in_a_video(folder, arguments):
    noise_video(folder / "noise.mp4")
    done = realtime("video", "noise.mp4", *arguments, "--crf", "1", cwd=folder)
    assert done.returncode == 0, done.stderr
    for _, picture in read_video(folder / "out.mp4"):
        inside, outside = picture[24:64, 24:72], picture[:, 100:]  # the box 16..80 x 16..80 of the stub
        assert np.abs(np.diff(inside.astype(int), axis=1)).mean() < 5
        assert np.abs(np.diff(outside.astype(int), axis=1)).mean() > 20


def test_faces_are_hidden_in_images(folder):
    (folder / "out").mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    cv2.imwrite(str(folder / "a.png"), noise)
    done = realtime("image", "a.png", "--out", "out", "--blur", cwd=folder)
    assert done.returncode == 0, done.stderr
    written = cv2.imread(str(folder / "out" / "a.png"))
    assert len(np.unique(written[16:48, 8:40].reshape(-1, 3), axis=0)) <= 36
    np.testing.assert_array_equal(written[:, 60:], noise[:, 60:])


def test_a_pipe_gets_one_line_and_a_terminal_a_bar(folder):
    make_video(folder / "long.mp4", frames=300)
    command = ["video", "long.mp4", "--jsonl", "long.jsonl"]
    lines = told(realtime(*command, cwd=folder))
    assert len(lines) == 1
    assert lines[0].startswith("300 frames, 1 face, ")
    assert lines[0].endswith("; wrote long.jsonl")
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*RUN, *command, "--model", "m.onnx"], cwd=folder, stderr=theirs,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "100"},
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        shown += part
    os.close(ours)
    assert process.wait(WAIT_S) == 0
    text = shown.decode()
    assert "long.mp4" in text
    assert "%" in text
    assert "frames/s" in text
    assert "300 frames" in text.splitlines()[-1]


def test_videos_are_found(tmp_path):
    for name in ("b.mp4", "a.MKV", "c.txt", ".b-x.partial.mp4"):
        (tmp_path / name).write_text("")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "[1].mp4").write_text("")

    def names(*given):
        return [path.name for path in find_videos([str(path) for path in given]).places]

    assert names(tmp_path) == ["a.MKV", "b.mp4", "[1].mp4"]
    assert names(tmp_path / "**" / "*.mp4") == ["b.mp4", "[1].mp4"]
    assert names(tmp_path / "in" / "[1].mp4") == ["[1].mp4"]  # a name, not a pattern
    assert names(tmp_path / "b.mp4", tmp_path) == ["b.mp4", "a.MKV", "[1].mp4"]  # each once
    with pytest.raises(SourceError, match="no file matches"):
        find_videos([str(tmp_path / "*.mov")])


def test_kinds_that_cannot_be_written_become_mp4(tmp_path):
    videos = {tmp_path / name: Path(name) for name in ("a.avi", "b.MOV", "in/c.webm")}
    jobs = plan(videos, Targets(out=tmp_path / "o", crops=tmp_path / "c"), many=True)
    assert [job.targets.out for job in jobs] == [tmp_path / "o" / name for name in ("a.mp4", "b.MOV", "in/c.webm")]
    assert [job.targets.crops for job in jobs] == [tmp_path / "c" / name for name in ("a", "b", "in/c")]
    (tmp_path / "file").write_text("")
    with pytest.raises(SinkError, match="several videos need a folder"):
        plan(videos, Targets(jsonl=tmp_path / "file"), many=True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("90", 90), ("1:30", 90), ("01:01:30.5", 3690.5), ("0.25", 0.25), (".5", 0.5), ("1:2:03", 3723)],
)
def test_times_are_read(text, expected):
    assert seconds(text, "--start") == expected


@pytest.mark.parametrize(
    ("given", "hidden"),
    [
        (["in.mp4", "--blur"], "face"), (["in.mp4", "--blur", "--jsonl", "x.jsonl"], "face"),
        (["--blur", "in.mp4"], "face"), (["--blur", "clips/"], "face"), (["--blur", "*.mp4"], "face"),
        (["--blur", "eye,mouth", "in.mp4"], "eye,mouth"), (["--blur=eye", "in.mp4"], "eye"),
        (["--blur", "eye", "--", "in.mp4"], "eye"), (["--blur", "--", "in.mp4"], "face"),
    ],
)  # fmt: skip
def test_blur_alone_means_faces(folder, monkeypatch, given, hidden):
    make_video(folder / "in.mp4", frames=1)
    monkeypatch.chdir(folder)
    result = CliRunner().invoke(app, ["video", "--csv", "x", *given])
    assert str(result.exception).startswith(f"blur {hidden}: no image is written"), result.output


def test_a_file_may_be_called_as_an_option_is(folder, monkeypatch):
    monkeypatch.chdir(folder)
    result = CliRunner().invoke(app, ["video", "--csv", "x", "--", "--blur"])
    assert str(result.exception).startswith("cannot open video --blur: not found")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("--blur --hide solid", "--blur is short for --hide pixelate"),
        ("--blur eye --hide-classes eye", "--blur names what is hidden already"),
        ("--shape ellipse", "needs --hide or --blur"),
        ("--hide smear", "expected to hide with pixelate, blur, solid or image:FILE"),
    ],
)
def test_options_for_hiding_that_do_not_go_together_are_refused(folder, monkeypatch, given, message):
    monkeypatch.chdir(folder)
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["video", "in.mp4", "--out", "x.mp4", *given.split()])
    assert result.exit_code == 2
    assert message in result.output


def test_faces_are_hidden_as_asked_for(folder, monkeypatch):
    stub_model(folder / "m.onnx")
    make_video(folder / "in.mp4", frames=3)
    monkeypatch.chdir(folder)
    options = [
        "--hide",
        "solid",
        "--shape",
        "ellipse",
        "--margin",
        "0",
        "--out",
        "out.mp4",
        "--model",
        "m.onnx",
        "--threshold",
        "0.5",
    ]
    result = CliRunner().invoke(app, ["video", "in.mp4", *options], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    _, image = read_video(folder / "out.mp4")[2]
    assert (
        image[20:24, 20:28].max() < 12
    )  # black in the middle of the face, at the corner of its box the grey of the frame
    assert image[1, 1].min() > 25

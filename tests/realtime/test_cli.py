"""The real program, started as a user starts it."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from fakes import WAIT_S, make_video, read_video, stub_model

from realtime.formatting import counted
from realtime.inference.cores import file_concurrency

RUN = [sys.executable, "-c", "from realtime.cli import run_cli; run_cli()"]
ENVIRONMENT = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")}


def realtime(*arguments, cwd):
    return subprocess.run(
        [*RUN, *map(str, arguments)], cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, timeout=120, check=False
    )


def files_in(folder):
    """But for the folder of records."""
    return sorted(p.name for p in folder.iterdir() if p.name != ".realtime")


@pytest.fixture
def folder(tmp_path):
    """A working folder with a small video, an image and a model."""
    make_video(tmp_path / "in.mp4", frames=12, sound="aac")
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((48, 64, 3), np.uint8))
    stub_model(tmp_path / "m.onnx")
    stub_model(tmp_path / "foreign.onnx", props={})
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "nothing").mkdir()
    return tmp_path


def test_a_video_is_drawn_and_described(folder):
    done = realtime("video", "in.mp4", "--out", "out.mp4", "--jsonl", "out.jsonl", "--model", "m.onnx", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert len(read_video(folder / "out.mp4")) == 12
    lines = [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]
    assert [line["frame"] for line in lines] == list(range(12))
    assert [line["pts_s"] for line in lines] == [round(0.04 * i, 6) for i in range(12)]
    assert [d["label"] for d in lines[0]["detections"]] == ["face", "eye"]
    assert lines[0]["detections"][0]["box"] == [8.0, 8.0, 40.0, 40.0]  # 8 px of padding above are taken off
    right_eye = {"score": 0.6, "box": [12.0, 12.0, 20.0, 16.0]}
    assert [line["faces"] for line in lines] == 12 * [
        [{"id": 1, "score": 0.9, "box": [8.0, 8.0, 40.0, 40.0], "features": {"right_eye": right_eye}}]
    ]
    assert "12 frames" in done.stderr


def test_raw_boxes_are_those_of_the_model(folder):
    done = realtime("video", "in.mp4", "--jsonl", "out.jsonl", "--raw", "--model", "m.onnx", cwd=folder)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]
    assert len(lines) == 12
    assert all(line["faces"][0]["box"] == line["detections"][0]["box"] == [8, 8, 40, 40] for line in lines)


def test_the_sound_goes_along(folder):
    realtime("video", "in.mp4", "--out", "out.mp4", "--model", "m.onnx", cwd=folder)
    with av.open(str(folder / "out.mp4")) as container:
        assert container.streams.audio[0].codec_context.name == "aac"


def test_images_are_described_on_standard_output(folder):
    done = realtime("image", "a.png", "--model", "m.onnx", "--threshold", "0.7", "--reach", "near", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "image": "a.png",
        "detections": [{"label": "face", "score": 0.9, "box": [8.0, 8.0, 40.0, 40.0]}],
        "faces": [{"id": 1, "score": 0.9, "box": [8.0, 8.0, 40.0, 40.0], "features": {}}],
    }


def test_images_are_drawn_and_described_in_files(folder):
    (folder / "drawn").mkdir()
    outputs = ["--out", "drawn", "--jsonl", "out.jsonl"]
    done = realtime("image", "a.png", "--model", "m.onnx", "--reach", "near", *outputs, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert cv2.imread(str(folder / "drawn" / "a.png")).any()
    assert [json.loads(line)["image"] for line in (folder / "out.jsonl").read_text().splitlines()] == ["a.png"]


def test_a_bad_image_does_not_stop_the_good_ones(folder):
    (folder / "bad.png").write_text("no picture")
    done = realtime("image", "bad.png", "a.png", "--model", "m.onnx", "--jsonl", "out.jsonl", cwd=folder)
    assert done.returncode == 1
    assert "error: cannot read image bad.png: not a readable image" in done.stderr
    assert "1 of 2 images could not be read" in done.stderr
    assert [json.loads(line)["image"] for line in (folder / "out.jsonl").read_text().splitlines()] == ["a.png"]


def test_without_one_good_image_an_older_file_stays(folder):
    (folder / "bad.png").write_text("no picture")
    (folder / "out.jsonl").write_text("older")
    done = realtime("image", "bad.png", "--model", "m.onnx", "--jsonl", "out.jsonl", cwd=folder)
    assert done.returncode == 1
    assert (folder / "out.jsonl").read_text() == "older"


def test_the_benchmark_prints_json(folder):
    done = realtime("bench", "--model", "m.onnx", "--frames", "20", "--json", "--provider", "cpu", cwd=folder)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["frames"] == 20
    assert report["frames_per_s"] > 0
    for stage in ("read", "preprocess", "infer", "render", "write"):
        assert 0 <= report["stages_ms"][stage]["p50"] <= report["stages_ms"][stage]["p99"]
    assert report["concurrency"] == file_concurrency()
    assert report["live"]["frames_per_s"] > 0
    assert 0 < report["live"]["stages_ms"]["infer"]["p50"] <= report["live"]["stages_ms"]["infer"]["p99"]
    assert "write" not in report["live"]["stages_ms"]


def test_the_benchmark_takes_a_video(folder):
    done = realtime("bench", "in.mp4", "--model", "m.onnx", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "12 frames" in done.stdout
    assert re.search(r"one at a time, as from a camera: \d+\.\d frames/s, inference \d+\.\d ms", done.stdout)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("video nix.mp4 --out out.mp4", "cannot open video nix.mp4: not found"),
        ("video text.mp4 --out out.mp4", "cannot open video text.mp4: not a readable video file"),
        ("video nothing --out out.mp4", "cannot open videos in nothing: the folder holds none"),
        ("video n*.mp4 --out out.mp4", "cannot open videos n*.mp4: no file matches"),
        ("video in.mp4 text.mp4 --jsonl -", "--jsonl -: several videos need a folder, and this is standard output"),
        ("video in.mp4 --csv - --jsonl -", "cannot write -: it is given for two outputs"),
        ("video in.mp4 text.mp4 --out in.mp4", "--out in.mp4: several videos need a folder, and this is a file"),
        ("video in.mp4 nothing/../in.mp4 --out x", "cannot write x/in.mp4: it is given for two outputs"),
        ("video in.mp4 --out out.webm --codec h264", "cannot write out.webm: .webm does not hold h264"),
        ("video in.mp4 --out out.mp4 --codec theora", "--codec theora: there is no encoder for it here; choose h264"),
        ("video in.mp4 --jsonl x.jsonl --crf 20", "--codec and --crf say how a video is written: add --out"),
        ("video in.mp4 --out out.mp4 --start 9", "no frame from 9 s to its end; it is"),
        ("video in.mp4 --crops . --model m.onnx", "cannot write to .: it is not an empty folder"),
        ("video in.mp4 --out out.mp4 --blur hair --model m.onnx", "--blur hair: the model has no such class"),
        ("video in.mp4 --out out.mp4 --blur --crops x", "--crops x: crops are readable, and --blur hides face"),
        ("video in.mp4 --jsonl x.jsonl --blur", "--blur face: no image is written that it would be hidden in"),
        ("image a.png --blur", "--blur face: no image is written that it would be hidden in"),
        ("video in.mp4 --out nowhere/out.mp4", "folder nowhere does not exist"),
        ("video in.mp4 --out in.mp4", "cannot write in.mp4: it is the input itself"),
        ("video in.mp4 --jsonl in.mp4", "cannot write in.mp4: it is the input itself"),
        ("video in.mp4 --out x.mp4 --jsonl x.mp4", "cannot write x.mp4: it is given for two outputs"),
        ("video in.mp4 --out out.gif", "use a name that ends in .mp4"),
        ("video in.mp4 --out out.mp4 --model nix.onnx", "--model nix.onnx: neither a file nor a model that comes with"),
        ("video in.mp4 --out out.mp4 --model text.mp4", "text.mp4: not a readable ONNX model"),
        ("video in.mp4 --out out.mp4 --model foreign.onnx", "foreign.onnx: this ONNX file has no metadata of this app"),
        (
            "video in.mp4",
            "cannot open a window: there is no display (DISPLAY is not set); write to a file instead: --out",
        ),
        ("cam --device 97", "cannot open camera 97: not found or in use"),
        ("cam --device 97 --no-window --record out.mp4", "cannot open camera 97: not found or in use"),
        ("image a.png --jsonl a.png", "cannot write a.png: it is the input itself"),
        ("image nix.png", "cannot read image nix.png: not found"),
        ("image text.mp4", "cannot read image text.mp4: not a readable image"),
        ("image a.png --out nowhere/drawn", "cannot write to nowhere/drawn: folder nowhere does not exist"),
        ("image a.png --out text.mp4", "cannot write to text.mp4: it is a file, not a folder"),
        ("image a.png --jsonl nowhere/x.jsonl", "folder nowhere does not exist"),
        ("bench text.mp4", "cannot open video text.mp4: not a readable video file"),
    ],
)
def test_bad_input_gives_one_clear_line_and_no_file(folder, arguments, message):
    before = files_in(folder)
    done = realtime(*arguments.split(), cwd=folder)
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("error: ")
    assert message in lines[0]
    assert done.returncode == 1
    assert files_in(folder) == before


@pytest.mark.parametrize(
    "arguments", ["video", "bench --frames 0", "video in.mp4 --threshold 2", "video in.mp4 --start x"]
)
def test_wrong_usage_exits_with_2(folder, arguments):
    assert realtime(*arguments.split(), cwd=folder).returncode == 2


def test_debug_shows_the_traceback(folder):
    done = realtime("--debug", "video", "nix.mp4", cwd=folder)
    assert done.returncode == 1
    assert "Traceback" in done.stderr


both_signals = pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])


@both_signals
def test_an_interrupted_run_keeps_what_was_done(folder, number, code):
    make_video(folder / "long.mp4", frames=20_000)
    process = subprocess.Popen(
        [*RUN, "video", "long.mp4", "--out", "out.mp4", "--jsonl", "out.jsonl", "--model", "m.onnx"],
        cwd=folder, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    wait_for(lambda: any(p.suffix == ".mp4" and p.stat().st_size > 20_000 for p in folder.glob(".out-*")), process)
    process.send_signal(number)
    _, errors = process.communicate(timeout=WAIT_S)
    assert process.returncode == code, errors
    written = len(read_video(folder / "out.mp4"))
    assert 0 < written < 20_000
    assert len((folder / "out.jsonl").read_text().splitlines()) == written
    assert not list(folder.glob(".out-*"))


@both_signals
def test_interrupted_images_keep_what_was_done(folder, number, code):
    for name in ("in", "drawn"):
        (folder / name).mkdir()
    original = folder / "in" / "0.png"
    cv2.imwrite(str(original), np.zeros((720, 1280, 3), np.uint8))
    for i in range(1, 3000):  # a minute of work
        os.link(original, folder / "in" / f"{i}.png")
    process = subprocess.Popen(
        [*RUN, "image", "in", "--out", "drawn", "--jsonl", "out.jsonl", "--model", "m.onnx"],
        cwd=folder, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    wait_for(lambda: any((folder / "drawn").glob("[0-9]*.png")), process)
    process.send_signal(number)
    _, errors = process.communicate(timeout=WAIT_S)
    assert process.returncode == code, errors
    done = [json.loads(line)["image"] for line in (folder / "out.jsonl").read_text().splitlines()]
    assert 0 < len(done) < 3000
    assert files_in(folder / "drawn") == sorted(Path(path).name for path in done)
    assert not list(folder.glob(".*"))
    assert errors.splitlines()[-1] == f"stopped after {len(done)} of 3000 images"


@both_signals
def test_an_interrupted_benchmark_reports_what_was_done(folder, number, code):
    temporary = folder / "tmp"
    temporary.mkdir()
    process = subprocess.Popen(
        [*RUN, "bench", "--frames", "1000000", "--json", "--model", "m.onnx"],
        cwd=folder, env=ENVIRONMENT | {"TMPDIR": str(temporary)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    wait_for(lambda: any(temporary.glob("*/.out-*")), process)
    process.send_signal(number)
    output, errors = process.communicate(timeout=WAIT_S)
    assert process.returncode == code, errors
    frames = json.loads(output)["frames"]  # one alone, if the signal was quick
    assert errors.splitlines()[-1] == f"stopped after {counted(frames, 'frame')}"
    assert not [path for path in temporary.iterdir() if path.is_dir()]  # onnxruntime leaves a file of its own there


@both_signals
def test_a_benchmark_that_is_stopped_between_its_runs_reports_the_first(folder, number, code):
    script = (
        "import signal, realtime.bench\n"
        "real, calls = realtime.bench._warm_up, []\n"
        f"def warm_up(*a): calls.append(1); len(calls) == 2 and signal.raise_signal({int(number)}); real(*a)\n"
        "realtime.bench._warm_up = warm_up\n"
        "from realtime.cli import run_cli; run_cli()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "bench", "--frames", "9", "--model", "m.onnx", "--provider", "cpu"],
        cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=WAIT_S, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (code, "stopped after 9 frames\n")
    assert "9 frames" in done.stdout.splitlines()[-1]


@both_signals
@pytest.mark.parametrize("arguments", ["image a.png --jsonl x.jsonl", "video in.mp4 --jsonl x.jsonl", "bench"])
def test_a_signal_before_the_work_ends_with_one_line(folder, number, code, arguments):
    before = files_in(folder)
    script = (
        "import signal, realtime.inference.detector\n"
        f"realtime.inference.detector.OnnxDetector = lambda *_, **__: signal.raise_signal({int(number)})\n"
        "from realtime.cli import run_cli; run_cli()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments.split()],
        cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=WAIT_S, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (code, "stopped\n")
    assert files_in(folder) == before


def wait_for(condition, process):
    deadline = time.monotonic() + WAIT_S
    while not condition():  # another process: nothing to wait on but its files
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_live_camera_is_recorded(folder):
    """The whole of 'realtime cam', with a camera scripted in place of OpenCV's."""
    script = folder / "cam.py"
    script.write_text(
        "import cv2, numpy as np, time\n"
        "class Camera:\n"
        "    def __init__(self, device): pass\n"
        "    def isOpened(self): return True\n"
        "    def get(self, key):\n"
        "        return 30.0\n"
        "    def read(self):\n"
        "        time.sleep(1 / 30)\n"
        "        return True, np.zeros((48, 64, 3), np.uint8)\n"
        "    def release(self): pass\n"
        "cv2.VideoCapture = Camera\n"
        "from realtime.cli import run_cli\n"
        "run_cli()\n"
    )
    done = subprocess.run(
        [sys.executable, script, "cam", "--no-window", "--record", "out.mp4", "--jsonl", "out.jsonl",
         "--model", "m.onnx", "--max-frames", "20"],
        cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    times = [t for t, _ in read_video(folder / "out.mp4")]
    assert len(times) == 20
    assert 0.5 < times[-1] - times[0] < WAIT_S  # 19 intervals of 1/30 s or more
    assert "dropped" in done.stderr


def test_the_app_never_imports_the_training_stack(folder):
    code = (
        "import sys; sys.argv = ['realtime', 'video', 'in.mp4', '--out', 'out.mp4', '--model', 'm.onnx']\n"
        "import atexit; atexit.register(lambda: print(*sorted({m.split('.')[0] for m in sys.modules})))\n"
        "from realtime.cli import run_cli; run_cli()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    loaded = set(done.stdout.split())
    assert "onnxruntime" in loaded, done.stderr
    assert not loaded & {"torch", "torchvision", "onnx", "train", "export"}


def test_help_is_quick_and_loads_nothing_heavy():
    code = "import sys, realtime.cli; print(*sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"cv2", "onnxruntime", "av", "numpy"} & set(loaded)


def test_the_console_script_is_installed():
    script = Path(sys.executable).with_name("realtime")
    done = subprocess.run([script, "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    for command in ("cam", "video", "image", "bench", "doctor", "train", "export"):
        assert command in done.stdout

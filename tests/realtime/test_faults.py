"""What goes wrong while the app runs: nothing is lost that was done, nothing is left behind, and it ends in time."""

import ctypes
import gc
import json
import os
import resource
import shutil
import subprocess
import sys
import threading
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from fakes import (
    WAIT_S,
    FakeDetector,
    Gate,
    RecordingSink,
    ScriptedSource,
    make_video,
    read_video,
    stub_model,
    wait_until,
)

from realtime.controls import Controls
from realtime.errors import SinkError, SourceError
from realtime.inference.detector import OnnxDetector
from realtime.inference.providers import Provider
from realtime.pipeline import Pipeline
from realtime.sinks.base import Ending
from realtime.sinks.jsonl import JsonLinesSink
from realtime.sinks.video_file import VideoFileSink
from realtime.sources.video_file import VideoFileSource
from realtime.stopping import Stopped

RUN = [sys.executable, "-c", "from realtime.cli import run_cli; run_cli()"]
ENVIRONMENT = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")}
NAMES = ("face", "eye")


def realtime(*arguments, cwd, run=RUN, **options):
    return subprocess.run(
        [*run, *map(str, arguments)], cwd=cwd, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True, timeout=300,
        check=False, **options,
    )  # fmt: skip


def files_in(folder):
    return sorted(path.name for path in folder.iterdir())


def outputs(folder, source):
    """A drawn video and JSON lines, as the commands open them."""
    video = VideoFileSink(
        folder / "out.mp4", size_wh=source.size_wh, frame_rate=Fraction(25), time_base=Fraction(1, 1000), audio=None
    )
    return [video, JsonLinesSink(folder / "out.jsonl")]


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


# A part fails


def raise_after(count, error):
    """A function that raises when it is called for the (count + 1)th time."""
    calls = iter(range(count))

    def call(*_):
        if next(calls, None) is None:
            raise error

    return call


@pytest.mark.parametrize("part", ["source", "detector"])
def test_what_was_done_before_an_error_is_kept(tmp_path, part):
    error = SourceError("camera 0 gives no more pictures")
    source = ScriptedSource(10 if part == "source" else 100, error=error)
    detector = FakeDetector(raise_after(10, error) if part == "detector" else lambda: None)
    with pytest.raises(SourceError, match="gives no more pictures"):
        Pipeline(source, detector, outputs(tmp_path, source), Controls(0.5)).run()
    assert len(read_video(tmp_path / "out.mp4")) == 10
    assert [line["frame"] for line in lines_of(tmp_path / "out.jsonl")] == list(range(10))
    assert files_in(tmp_path) == ["out.jsonl", "out.mp4"]
    assert source.closed == 1


@pytest.mark.parametrize("part", ["source", "detector"])
def test_an_error_before_the_first_frame_leaves_older_files_alone(tmp_path, part):
    (tmp_path / "out.jsonl").write_text("older")
    error = SourceError("dead")
    source = ScriptedSource(0 if part == "source" else 9, error=error)
    detector = FakeDetector(raise_after(0, error) if part == "detector" else lambda: None)
    with pytest.raises(SourceError, match="dead"):
        Pipeline(source, detector, outputs(tmp_path, source), Controls(0.5)).run()
    assert files_in(tmp_path) == ["out.jsonl"]
    assert (tmp_path / "out.jsonl").read_text() == "older"


@pytest.mark.parametrize(
    ("size_wh", "message"),
    [((16_400, 16), r"cannot write \S+/out\.mp4: "), ((16, 16_400), r"cannot write \S+/out\.mp4: ")],
)
def test_an_encoder_that_refuses_costs_its_own_file_alone(tmp_path, size_wh, message):
    """H.264's encoder takes no side above 16384 pixels, and says so when the first frame comes."""
    source = ScriptedSource(30, size_wh=size_wh)
    other = RecordingSink()
    with pytest.raises(SinkError, match=message):
        Pipeline(source, FakeDetector(), [other, *outputs(tmp_path, source)], Controls(0.5)).run()
    assert other.frames
    assert not list(tmp_path.glob("*.mp4"))
    assert not list(tmp_path.glob(".*"))
    assert source.closed == 1


# A full disk


@pytest.fixture
def folder(tmp_path):
    make_video(tmp_path / "in.mp4", frames=200)
    stub_model(tmp_path / "m.onnx")
    return tmp_path


def only_small_files(limit_bytes):
    """To be called in the child: the kernel refuses to let any file grow further."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))


@pytest.mark.parametrize("limit_bytes", [0, 300, 3000])
@pytest.mark.parametrize("option", ["--out out.mp4", "--jsonl out.jsonl", "--out out.mkv"])
def test_a_file_that_cannot_grow_is_one_clear_error(folder, option, limit_bytes):
    before = files_in(folder)
    done = realtime(
        "video", "in.mp4", *option.split(), "--model", "m.onnx", "--provider", "cpu", cwd=folder,
        preexec_fn=only_small_files(limit_bytes),
    )  # fmt: skip
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: cannot write {option.split()[1]}: ")
    assert "File too large" in line
    assert files_in(folder) == before


can_mount = pytest.mark.skipif(
    not shutil.which("unshare")
    or subprocess.run(
        ["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/tmp"], capture_output=True, check=False
    ).returncode
    != 0,
    reason="needs the right to mount a tmpfs in a namespace",
)


@can_mount
@pytest.mark.parametrize(("full", "kept"), [("out.mp4", "out.jsonl"), ("out.jsonl", "out.mp4")])
def test_a_full_disk_costs_only_the_file_on_it(folder, full, kept):
    """A real disk of 8 KB, mounted where one of the two outputs goes."""
    (folder / "disk").mkdir()
    script = (
        "mount -t tmpfs -o size=8k none disk && "
        '"$@"; code=$?; test -z "$(ls -A disk)" || echo left: $(ls -A disk) >&2; exit $code'
    )
    done = realtime(
        "video", "in.mp4", "--model", "m.onnx", "--provider", "cpu",
        "--out", "disk/out.mp4" if full == "out.mp4" else "out.mp4",
        "--jsonl", "disk/out.jsonl" if full == "out.jsonl" else "out.jsonl",
        cwd=folder, run=["unshare", "-rm", "sh", "-c", script, "sh", *RUN],
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert done.stderr == f"error: cannot write disk/{full}: No space left on device\n"
    count = len(lines_of(folder / kept)) if kept == "out.jsonl" else len(read_video(folder / kept))
    assert 0 < count <= 200
    assert not list(folder.glob(".*"))


def test_a_full_standard_output_is_one_clear_error(folder):
    cv2.imwrite(str(folder / "a.png"), np.zeros((48, 64, 3), np.uint8))
    with Path("/dev/full").open("w") as full:
        done = realtime("image", "a.png", "--model", "m.onnx", "--provider", "cpu", cwd=folder, stdout=full)
    assert done.returncode == 1
    assert done.stderr == "error: cannot write to standard output: No space left on device\n"


def test_a_reader_that_goes_away_is_no_error(folder):
    for name in "abcdefgh":
        cv2.imwrite(str(folder / f"{name}.png"), np.zeros((48, 64, 3), np.uint8))
    command = [*RUN, "image", ".", "--model", "m.onnx", "--provider", "cpu"]
    with subprocess.Popen(
        command, cwd=folder, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        process.stdout.close()
        assert process.stderr.read() == "skipped 2 non-image files: 1 .mp4 and 1 .onnx\n"


# Signals in every phase

PHASES = {
    "opening the model": ("realtime.inference.detector", "OnnxDetector.__init__", "before"),
    "opening the source": ("realtime.sources.video_file", "VideoFileSource.__init__", "before"),
    "having opened the source": ("realtime.sources.video_file", "VideoFileSource.__init__", "after"),
    "opening an output": ("realtime.sinks.video_file", "VideoFileSink.__init__", "after"),
    "reading the first frame": ("realtime.sources.capture", "CaptureThread.start", "after"),
    "the first frame": ("realtime.inference.detector", "OnnxDetector.infer", "after"),
    "following the first frame": ("realtime.faces.tracker", "FaceTracker.update", "before"),
    "writing": ("realtime.sinks.jsonl", "JsonLinesSink.write", "before"),
    "stopping the reader": ("realtime.sources.capture", "CaptureThread.stop", "before"),
    "closing the source": ("realtime.sources.video_file", "VideoFileSource.close", "before"),
    "closing an output": ("realtime.sinks.video_file", "VideoFileSink.close", "before"),
    "having closed all": ("realtime.pipeline", "Pipeline.run", "after"),
}
SCRIPT = """
import importlib, signal, sys, threading
module, path, when, number, times = *(sys.argv.pop(1) for _ in range(3)), *(int(sys.argv.pop(1)) for _ in range(2))
owner, name = path.split(".")
owner = getattr(importlib.import_module(module), owner)
real, sent = getattr(owner, name), []
def send():
    if not sent:
        sent.append(1)
        for _ in range(times):
            signal.raise_signal(number)
def call(*a, **k):
    if when == "before":
        send()
    result = real(*a, **k)
    if when == "after":
        send()
    return result
setattr(owner, name, call)
from realtime.cli import run_cli
try:
    run_cli()
finally:
    assert sent, "the phase was not reached"
    left = [t.name for t in threading.enumerate() if t.name.startswith(("capture", "detect", "encode", "stop"))]
    for thread in threading.enumerate():
        if thread.name == "stop":
            thread.join(60)
    assert not [n for n in left if n != "stop"], left
"""


@pytest.mark.parametrize(("number", "code"), [(2, 130), (15, 143)])
@pytest.mark.parametrize("phase", PHASES)
def test_a_signal_in_any_phase_ends_the_run_in_order(folder, phase, number, code):
    before = files_in(folder)
    done = realtime(
        *PHASES[phase], number, 1, "video", "in.mp4", "--out", "out.mp4", "--jsonl", "out.jsonl", "--model", "m.onnx",
        "--provider", "cpu", cwd=folder, run=[sys.executable, "-c", SCRIPT],
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    new = [name for name in files_in(folder) if name not in before]
    if "opening the" in phase or "opened" in phase:
        assert (new, done.stderr) == ([], "stopped\n")
        return
    assert set(new) <= {"out.jsonl", "out.mp4"}
    if phase in ("opening an output", "reading the first frame"):
        assert new == []
        return
    frames = len(lines_of(folder / "out.jsonl"))
    assert frames == len(read_video(folder / "out.mp4"))
    assert ("closing" in phase or "closed" in phase or "stopping" in phase) == (frames == 200)
    assert frames > 0


@pytest.mark.parametrize(
    "phase", ["following the first frame", "writing", "stopping the reader", "closing the source", "closing an output"]
)
def test_a_second_signal_ends_at_once_and_keeps_nothing(folder, phase):
    (folder / "out.mp4").write_text("older")
    before = files_in(folder)
    done = realtime(
        *PHASES[phase], 2, 2, "video", "in.mp4", "--out", "out.mp4", "--jsonl", "out.jsonl", "--model", "m.onnx",
        "--provider", "cpu", cwd=folder, run=[sys.executable, "-c", SCRIPT],
    )  # fmt: skip
    assert (done.returncode, done.stderr.splitlines()[-1]) == (130, "stopped")
    assert "Traceback" not in done.stderr
    assert files_in(folder) == before
    assert (folder / "out.mp4").read_text() == "older"


@pytest.mark.parametrize(("number", "code"), [(2, 130), (15, 143)])
@pytest.mark.parametrize("raised", ["raise", "raise ImportError('initialization failed') from error"])
def test_a_signal_while_a_library_is_loaded_ends_with_one_line(folder, raised, number, code):
    """Libraries in C turn what is raised in their first lines into errors of import."""
    module = f"import signal\ntry:\n    signal.raise_signal({number})\nexcept BaseException as error:\n    {raised}\n"
    (folder / "av.py").write_text(module)
    path = os.pathsep.join([str(folder), *filter(None, sys.path)])
    command = [*RUN, "video", "in.mp4", "--jsonl", "x.jsonl", "--model", "m.onnx", "--provider", "cpu"]
    done = subprocess.run(
        command, cwd=folder, env=ENVIRONMENT | {"PYTHONPATH": path}, capture_output=True, text=True, timeout=WAIT_S,
        check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (code, "stopped\n")


# A consumer that blocks


def test_a_consumer_that_blocks_loses_no_frame_of_a_file_and_reads_no_further():
    gate, source = Gate(), ScriptedSource(300)
    sink = RecordingSink(is_slow=True, on_write=gate)
    pipeline = Pipeline(source, FakeDetector(), [sink], Controls(0.5))
    thread = threading.Thread(target=pipeline.run, name="test-run")
    thread.start()
    # One in hand, four waiting for the consumer, one held by the run; three read ahead, and one that finds no room.
    wait_until(lambda: source.reads == 1 + 4 + 1 + 3 + 1)
    gate.open()
    thread.join(WAIT_S)
    assert [frame.index for frame in sink.frames] == list(range(300))
    assert sink.closings == [Ending.COMPLETE]


def test_a_consumer_that_blocks_does_not_keep_a_camera_from_its_newest_frame():
    gate = Gate()
    source = ScriptedSource(1000, is_live=True)
    sink = RecordingSink(on_write=gate)
    pipeline = Pipeline(source, FakeDetector(), [sink], Controls(0.5))
    thread = threading.Thread(target=pipeline.run, name="test-run")
    thread.start()
    wait_until(lambda: source.reads == 1000)  # the camera is never held up
    gate.open()
    thread.join(WAIT_S)
    assert sink.frames[-1].index == 999
    assert len(sink.frames) <= 3  # the one in hand, and what was in the slot when it was done


def test_a_consumer_that_never_comes_back_cannot_hold_the_end(monkeypatch):
    """As a second Ctrl+C asks: the run ends although a write hangs."""
    monkeypatch.setattr("realtime.sinks.threaded.ABANDON_S", 0.05)
    gate, other = Gate(), RecordingSink()
    stuck = RecordingSink(is_slow=True, on_write=gate)

    def interrupt():
        gate.entered.wait(WAIT_S)
        raise Stopped(2)

    calls = iter([lambda: None, interrupt])

    def on_infer():
        next(calls)()

    detector = FakeDetector(on_infer)
    with pytest.raises(Stopped):
        Pipeline(ScriptedSource(100), detector, [other, stuck], Controls(0.5)).run()
    assert other.closings == [Ending.FAILED]
    assert stuck.closings == []  # it is not closed under its own thread
    gate.open()


# Long runs and many of them


def resident_bytes():
    """Memory of this process, without what the C library keeps in store for the next request."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


needs_proc = pytest.mark.skipif(
    not Path("/proc/self/statm").exists() or not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="needs Linux's glibc"
)


@pytest.mark.slow
@needs_proc
@pytest.mark.parametrize("concurrency", [1, 2])
def test_memory_is_flat_over_ten_thousand_frames(tmp_path, concurrency):
    source = ScriptedSource(10_000)
    sizes = {}

    def measure(frame):
        if frame.index in (500, 9_999):
            sizes[frame.index] = resident_bytes()

    sinks = [*outputs(tmp_path, source), RecordingSink(on_write=measure)]
    sinks[-1].write = lambda result: measure(result.frame)  # it shall keep no frame
    detector = OnnxDetector(stub_model(tmp_path / "m.onnx"), provider=Provider.CPU, concurrency=concurrency)
    assert Pipeline(source, detector, sinks, Controls(0.5)).run().frames == 10_000
    assert len(lines_of(tmp_path / "out.jsonl")) == 10_000
    assert sizes[9_999] <= 1.02 * sizes[500], sizes


def open_files():
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


@needs_proc
@pytest.mark.parametrize("concurrency", [1, 2])
@pytest.mark.slow
def test_two_hundred_runs_leave_no_thread_no_file_and_no_memory(tmp_path, concurrency):
    clip = make_video(tmp_path / "in.mp4", frames=6, sound="aac")

    def cycle(i):
        source = VideoFileSource(clip)
        pipeline = Pipeline(source, detector, outputs(tmp_path, source), Controls(0.5))
        if i % 4 == 1:
            pipeline.stop()
        pipeline.run(max_frames=3 if i % 4 == 2 else None)

    detector = OnnxDetector(stub_model(tmp_path / "m.onnx"), provider=Provider.CPU, concurrency=concurrency)
    counts, memory = set(), []
    for i in range(200):
        cycle(i)
        if i % 20 == 19:
            wait_until(lambda: not [t for t in threading.enumerate() if t.name == "stop"])
            counts.add((threading.active_count(), open_files()))
            memory.append(resident_bytes())
    assert len(counts) == 1, counts
    # The C library serves threads from several stores, so that it goes up and down; a leak only goes up.
    assert min(memory[-4:]) <= 1.02 * max(memory[1:4]), memory

"""Several frames at a time: the same results as one after the other, in the same order."""

import gc
import os
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from fakes import WAIT_S, FakeDetector, RecordingSink, ScriptedSource, make_video, stub_model
from pretend_gpu import PretendGpu
from typer.testing import CliRunner

from realtime.atomic_files import partial_path
from realtime.batch.images import detect_images
from realtime.cli import app
from realtime.controls import Controls
from realtime.errors import ModelError, SourceError
from realtime.image_io import read_image, write_image
from realtime.inference import cores
from realtime.inference.cuda import UnavailableReason
from realtime.inference.detector import OnnxDetector, find_model
from realtime.inference.providers import Provider
from realtime.pipeline import Pipeline
from realtime.sinks.base import Ending
from realtime.sinks.jsonl import JsonLinesSink
from realtime.sources.video_file import VideoFileSource

SAMPLE = Path(__file__).parents[2] / "samples" / "astronaut.mp4"


def run(source, *sinks, detector, **limits):
    return Pipeline(source, detector, sinks, Controls(0.5)).run(**limits)


def indices(sink):
    return [frame.index for frame in sink.frames]


def test_frames_are_detected_at_the_same_time_and_passed_on_in_order():
    together = threading.Barrier(3)  # nobody goes on before three are there
    sink = RecordingSink(needs_canvas=True)
    stats = run(ScriptedSource(30), sink, detector=FakeDetector(lambda: together.wait(WAIT_S), concurrency=3))
    assert indices(sink) == list(range(30))
    assert stats.frames == 30
    assert {"preprocess", "infer", "track", "render"} <= set(stats.stages_ms)
    assert sink.closings == [Ending.COMPLETE]


def test_a_frame_limit_is_exact():
    source, sink = ScriptedSource(50), RecordingSink()
    assert run(source, sink, detector=FakeDetector(concurrency=3), max_frames=7).frames == 7
    assert indices(sink) == list(range(7))
    assert sink.closings == [Ending.STOPPED]


def test_what_was_read_before_the_source_failed_is_kept():
    source, sink = ScriptedSource(8, error=SourceError("unplugged")), RecordingSink()
    with pytest.raises(SourceError, match="unplugged"):
        run(source, sink, detector=FakeDetector(concurrency=3))
    assert indices(sink) == list(range(8))
    assert sink.closings == [Ending.STOPPED]


def test_what_was_found_before_the_detector_failed_is_kept():
    lock, calls = threading.Lock(), []

    def fail_at_last():
        with lock:
            calls.append(1)
            if len(calls) > 20:
                raise ModelError("out of memory")

    sink = RecordingSink()
    with pytest.raises(ModelError, match="out of memory"):
        run(ScriptedSource(100), sink, detector=FakeDetector(fail_at_last, concurrency=3))
    assert indices(sink) == list(range(len(sink.frames)))
    assert 17 <= len(sink.frames) <= 20  # three that come after the one that fails may have been found before it
    assert sink.closings == [Ending.STOPPED]


def test_to_stop_passes_on_what_was_begun():
    sink = RecordingSink(on_write=lambda frame: pipeline.stop() if frame.index == 5 else None)
    pipeline = Pipeline(ScriptedSource(10**9), FakeDetector(concurrency=3), [sink], Controls(0.5))
    pipeline.run()
    assert 6 <= len(sink.frames) <= 6 + 4
    assert indices(sink) == list(range(len(sink.frames)))
    assert sink.closings == [Ending.STOPPED]


def test_runs_leave_neither_threads_nor_themselves():
    """Frames are large: what holds them must not wait for the garbage collector."""
    gc.disable()
    try:
        for concurrency in (1, 3):
            pipeline = Pipeline(
                ScriptedSource(9), FakeDetector(concurrency=concurrency), [RecordingSink(is_slow=True)], Controls(0.5)
            )
            pipeline.run()
            held = weakref.ref(pipeline)
            del pipeline
            assert held() is None
    finally:
        gc.enable()
    assert not [t.name for t in threading.enumerate() if t.name.startswith(("capture", "detect", "encode"))]


def test_a_real_video_gives_the_same_lines(tmp_path):
    for concurrency in (1, 3):
        detector = OnnxDetector(find_model("pico"), provider=Provider.CPU, concurrency=concurrency)
        source = VideoFileSource(SAMPLE)
        lines = JsonLinesSink(tmp_path / f"{concurrency}.jsonl")
        assert run(source, lines, detector=detector).frames > 100
    assert (tmp_path / "1.jsonl").read_text() == (tmp_path / "3.jsonl").read_text()


def test_threads_that_share_a_detector_do_not_share_its_buffers():
    """Images of several sizes, so that each thread's letterbox changes all the time."""
    detector = OnnxDetector(find_model("pico"), provider=Provider.CPU, concurrency=4)
    face = read_image(next((Path(__file__).parents[2] / "export" / "images").glob("*.jpg")))
    pictures = [np.ascontiguousarray(face[top:, : 400 - top]) for top in range(0, 80, 10)]
    alone = [detector.detect(picture) for picture in pictures]
    assert all(map(len, alone))
    with ThreadPoolExecutor(4) as threads:
        for found, expected in zip(threads.map(detector.detect, 5 * pictures), 5 * alone, strict=True):
            assert np.array_equal(found.boxes, expected.boxes)
            assert np.array_equal(found.scores, expected.scores)


@pytest.fixture
def sessions(monkeypatch) -> list[ort.InferenceSession]:
    """Every session of onnxruntime that is opened."""
    opened = []

    class WatchedSession(ort.InferenceSession):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            opened.append(self)

    monkeypatch.setattr(ort, "InferenceSession", WatchedSession)
    return opened


@pytest.mark.parametrize(("concurrency", "threads"), [(1, 4), (2, 3), (4, 1), (8, 1)])
def test_frames_at_a_time_share_the_cores(tmp_path, monkeypatch, sessions, concurrency, threads):
    monkeypatch.setattr("realtime.inference.detector.core_count", lambda: 4)
    detector = OnnxDetector(stub_model(tmp_path / "m.onnx"), provider=Provider.CPU, concurrency=concurrency)
    assert detector.concurrency == concurrency
    assert [session.get_session_options().intra_op_num_threads for session in sessions] == [threads]


@pytest.mark.parametrize(("provider", "concurrency"), [(Provider.CUDA, 1), (Provider.AUTO, 1), (Provider.CPU, 4)])
def test_a_gpu_gets_one_frame_at_a_time(tmp_path, monkeypatch, provider, concurrency):
    """Its buffers and its graph are one thread's."""
    PretendGpu(monkeypatch)
    detector = OnnxDetector(stub_model(tmp_path / "m.onnx"), provider=provider, concurrency=4)
    assert detector.concurrency == concurrency


def test_the_cpu_in_place_of_a_gpu_gets_several_frames_at_a_time(tmp_path, monkeypatch, sessions):
    reason = UnavailableReason("no driver")
    monkeypatch.setattr("realtime.inference.session.unavailable_reason", lambda _provider: reason)
    detector = OnnxDetector(stub_model(tmp_path / "m.onnx"), provider=Provider.AUTO, concurrency=4)
    assert (detector.provider, detector.concurrency) == (Provider.CPU, 4)
    assert {name for session in sessions for name in session.get_providers()} == {"CPUExecutionProvider"}


@pytest.mark.parametrize(("count", "expected"), [(1, 1), (2, 2), (64, cores.MAX_CONCURRENCY)])
def test_a_file_gets_a_frame_for_each_core(monkeypatch, count, expected):
    monkeypatch.setattr("realtime.inference.cores.core_count", lambda: count)
    assert cores.file_concurrency() == expected


@pytest.mark.parametrize(
    ("arguments", "concurrency"),
    [
        ("video in.mp4", 1),  # in a window
        ("video in.mp4 --jsonl out.jsonl", 5),
        ("video in.mp4 --out out.mp4", 5),
        ("video in.mp4 in2.mp4 --csv folder", 5),
        ("cam --device 0", 1),
        ("image a.png", 1),
        ("image a.png a.png a.png", 3),
    ],
)
def test_commands_detect_at_a_time_where_nobody_waits(tmp_path, monkeypatch, arguments, concurrency):
    asked = []

    def detector(*_, concurrency=1, **__):
        asked.append(concurrency)
        raise ModelError("enough")

    monkeypatch.chdir(tmp_path)
    for name in ("in.mp4", "in2.mp4"):
        make_video(tmp_path / name, frames=2)
    write_image(tmp_path / "a.png", np.zeros((48, 64, 3), np.uint8))
    monkeypatch.setattr("realtime.inference.detector.OnnxDetector", detector)
    for command in ("video", "image", "video_batch", "image_batch"):
        monkeypatch.setattr(f"realtime.commands.{command}.file_concurrency", lambda: 5)
    monkeypatch.setattr("realtime.commands.cam.open_both", lambda _open, load, _provider: load())
    result = CliRunner().invoke(app, [*arguments.split(), "--provider", "cpu"])
    assert isinstance(result.exception, ModelError), result.output
    assert asked == [concurrency]


def test_images_are_detected_at_a_time_and_reported_in_order(tmp_path):
    detector = OnnxDetector(stub_model(tmp_path / "m.onnx"), provider=Provider.CPU, concurrency=3)
    detect, together = detector.detect, threading.Barrier(3)
    detector.detect = lambda image: (together.wait(WAIT_S), detect(image))[1]
    paths, bad = [tmp_path / f"{number}.png" for number in range(13)], []
    for path in paths:
        write_image(path, np.full((96, 128, 3), 90, np.uint8))
    paths[7].write_text("no picture")
    (out := tmp_path / "out").mkdir()
    found = detect_images(paths, detector, threshold=0.5, out=out, on_unreadable=bad.append)
    assert [result.path for result in found] == paths[:7] + paths[8:]
    assert [str(error) for error in bad] == [f"cannot read image {paths[7]}: not a readable image"]
    assert len(list(out.iterdir())) == 12


def test_no_image_is_begun_after_a_stop(tmp_path):
    detector = OnnxDetector(stub_model(tmp_path / "m.onnx"), provider=Provider.CPU, concurrency=3)
    paths, told = [tmp_path / f"{number}.png" for number in range(20)], []
    for path in paths:
        write_image(path, np.full((96, 128, 3), 90, np.uint8))
    (out := tmp_path / "out").mkdir()
    results = detect_images(
        paths, detector, threshold=0.5, out=out, on_unreadable=pytest.fail, is_stopped=lambda: len(told) >= 5
    )
    for result in results:
        told.append(result.path)  # noqa: PERF401 - is_stopped looks at it meanwhile
    assert told == paths[:8]  # three more were begun when the fifth was told
    assert sorted(file.name for file in out.iterdir()) == sorted(path.name for path in told)


def test_files_made_in_several_threads_get_the_mode_of_the_umask(tmp_path, monkeypatch):
    """It can be read only by setting it: another thread must not see it in between."""
    real, seen = os.umask, []

    def umask(mask):
        before = real(mask)
        seen.append(before)
        threading.Event().wait(0.01)  # lets the other thread in
        return before

    mask = real(0o027)
    try:
        monkeypatch.setattr(os, "umask", umask)
        with ThreadPoolExecutor(4) as threads:
            files = list(threads.map(partial_path, [tmp_path / f"{number}.png" for number in range(8)]))
        assert real(0o027) == 0o027
    finally:
        real(mask)
    assert {file.stat().st_mode & 0o777 for file in files} == {0o640}

import threading
import time
from contextlib import suppress
from itertools import cycle

import pytest
from fakes import WAIT_S, FakeDetector, Gate, RecordingSink, ScriptedSource, wait_until

from realtime.buffer import ClosableBuffer
from realtime.controls import Controls
from realtime.drawing.colours import PALETTE_BGR
from realtime.errors import SinkError, SourceError
from realtime.pipeline import Pipeline
from realtime.sinks.base import Ending, StopRun
from realtime.structures import Detections


def pipeline_of(source, *sinks, detector=None, threshold=0.5, controls=None, on_idle=None):
    return Pipeline(source, detector or FakeDetector(), sinks, controls or Controls(threshold), on_idle=on_idle)


def test_every_frame_of_a_file_reaches_every_sink_in_order():
    source, sinks = ScriptedSource(40), [RecordingSink(), RecordingSink(is_slow=True)]
    stats = pipeline_of(source, *sinks).run()
    assert stats.frames == 40
    assert stats.dropped == 0
    for sink in sinks:
        assert [frame.index for frame in sink.frames] == list(range(40))
        assert sink.closings == [Ending.COMPLETE]
    assert source.closed == 1


def test_only_detections_above_the_threshold_are_passed_on():
    low, high = RecordingSink(), RecordingSink()
    pipeline_of(ScriptedSource(1), low, threshold=0.2).run()
    pipeline_of(ScriptedSource(1), high, threshold=0.5).run()
    assert (len(low.detections[0]), len(high.detections[0])) == (2, 1)


@pytest.mark.parametrize("raw", [False, True])
def test_sinks_get_faces_steadied_unless_raw(raw):
    """A face jumps to and fro; its number stays, and as much of the jump as is wanted."""
    detector = FakeDetector()
    infer = detector.infer
    jumps = cycle([0, 0.1])

    def infer_trembling(network_input, transform):
        found = infer(network_input, transform)
        return Detections(found.boxes + next(jumps), found.labels, found.scores)

    detector.infer = infer_trembling
    sink = RecordingSink()
    Pipeline(ScriptedSource(20), detector, [sink], Controls(0.2), raw=raw).run()
    (first,), (last,) = sink.faces[0], sink.faces[-1]
    assert first.id == last.id == 1
    assert first.box == (4, 4, 30, 30)
    assert last.box == tuple(sink.detections[-1].boxes[0])
    assert last.box == pytest.approx((4.1, 4.1, 30.1, 30.1) if raw else (4.05, 4.05, 30.05, 30.05), abs=0.03)


def test_the_canvas_is_drawn_and_the_frame_untouched():
    sink = RecordingSink(needs_canvas=True)
    pipeline_of(ScriptedSource(2), sink).run()
    assert (sink.frames[1].image == 5).all()
    assert (sink.canvases[1] != 5).any()


def test_nothing_is_drawn_for_sinks_without_a_canvas():
    sink = RecordingSink()
    stats = pipeline_of(ScriptedSource(2), sink).run()
    assert "render" not in stats.stages_ms
    assert sink.canvases[0] is sink.frames[0].image


def test_a_frame_limit_ends_the_run():
    source, sink = ScriptedSource(50), RecordingSink()
    assert pipeline_of(source, sink).run(max_frames=7).frames == 7
    assert sink.closings == [Ending.STOPPED]
    assert source.closed == 1


def test_a_time_limit_ends_the_run():
    stats = pipeline_of(ScriptedSource(10**9, is_live=True)).run(duration_s=0.05)
    assert 0.05 <= stats.wall_s < WAIT_S


def test_a_time_limit_ends_a_run_that_waits_for_a_frame():
    gate = Gate()  # the source gives nothing
    source = ScriptedSource(5, is_live=True, before_read=gate)
    source.interrupt = gate.open
    sink = RecordingSink()
    assert pipeline_of(source, sink).run(duration_s=0.05).frames == 0
    assert sink.closings == [Ending.FAILED]  # nothing to keep


def test_stop_ends_a_run_that_waits_for_a_frame():
    gate = Gate()  # the source gives nothing
    source = ScriptedSource(5, is_live=True, before_read=gate)
    pipeline = pipeline_of(source, sink := RecordingSink())
    stopper = threading.Thread(
        target=lambda: (gate.entered.wait(WAIT_S), pipeline.stop(), gate.open()), name="test-stop"
    )
    stopper.start()
    assert pipeline.run().frames == 0
    stopper.join(WAIT_S)
    assert sink.closings == [Ending.FAILED]  # nothing to keep
    assert source.closed == 1


def test_stop_before_the_run_is_heeded():
    pipeline = pipeline_of(ScriptedSource(5))
    pipeline.stop()
    assert pipeline.run().frames == 0


def raise_(error):
    raise error


@pytest.mark.parametrize("is_slow", [False, True])
def test_the_first_error_of_a_sink_is_raised_after_everything_is_closed(is_slow):
    def refuse(frame):
        if frame.index == 3:
            raise SinkError("cannot write x: disk full")

    log = []
    source = ScriptedSource(100)
    first = RecordingSink(log=log, name="first")
    broken = RecordingSink(is_slow=is_slow, on_write=refuse, log=log, name="broken")
    with pytest.raises(SinkError, match="disk full"):
        pipeline_of(source, first, broken).run()
    assert log == ["broken", "first"]  # in reverse
    assert first.closings == [Ending.STOPPED]  # it keeps what was done
    assert broken.closings == [Ending.FAILED]
    assert source.closed == 1


def test_an_error_of_the_source_comes_after_the_frames_before_it():
    sink = RecordingSink()
    with pytest.raises(SourceError, match="unplugged"):
        pipeline_of(ScriptedSource(6, error=SourceError("unplugged")), sink).run()
    assert len(sink.frames) == 6
    assert sink.closings == [Ending.STOPPED]


def test_an_error_of_the_detector_closes_everything():
    source, sink = ScriptedSource(6), RecordingSink(is_slow=True)
    with pytest.raises(RuntimeError, match="out of memory"):
        pipeline_of(source, sink, detector=FakeDetector(lambda: raise_(RuntimeError("out of memory")))).run()
    assert sink.closings == [Ending.FAILED]
    assert source.closed == 1


def test_an_error_while_closing_does_not_hide_the_first():
    sink = RecordingSink(on_write=lambda _: raise_(SinkError("first")))
    sink.close = lambda _: raise_(SinkError("second"))
    source = ScriptedSource(5)
    with pytest.raises(SinkError, match="first"):
        pipeline_of(source, sink).run()
    assert source.closed == 1


def test_an_error_while_closing_is_not_swallowed():
    sink = RecordingSink()
    sink.close = lambda _: raise_(SinkError("cannot finish"))
    with pytest.raises(SinkError, match="cannot finish"):
        pipeline_of(ScriptedSource(5), sink).run()


def test_a_closed_window_ends_the_run_in_the_ordinary_way():
    window = RecordingSink(on_write=lambda frame: raise_(StopRun()) if frame.index == 4 else None)
    file = RecordingSink(is_slow=True)
    pipeline_of(ScriptedSource(100), file, window).run()
    assert file.closings == [Ending.STOPPED]
    assert len(file.frames) == 5


def test_a_live_source_is_never_behind():
    """While the detector is held, 30 frames come; the next one shown is the newest, not the one after."""
    gate, source_is_at_30 = Gate(), threading.Event()

    def before_read(index):
        if index == 1:  # the detector has the first frame
            assert gate.entered.wait(WAIT_S)
        if index == 31:
            source_is_at_30.set()
            assert frame_shown.wait(WAIT_S)

    frame_shown = threading.Event()
    sink = RecordingSink(on_write=lambda frame: frame_shown.set() if frame.index else None)
    source = ScriptedSource(31, is_live=True, before_read=before_read)
    releaser = threading.Thread(target=lambda: (source_is_at_30.wait(WAIT_S), gate.open()), name="test-release")
    releaser.start()
    stats = pipeline_of(source, sink, detector=FakeDetector(gate)).run()
    releaser.join(WAIT_S)
    assert [frame.index for frame in sink.frames] == [0, 30]
    assert stats.dropped == 29


def test_every_stage_is_timed():
    sinks = RecordingSink(needs_canvas=True, is_slow=True), RecordingSink()
    stats = pipeline_of(ScriptedSource(10), *sinks).run()
    assert set(stats.stages_ms) == {"read", "preprocess", "infer", "track", "render", "hand_over", "write"}
    for stage in stats.stages_ms.values():
        assert 0 <= stage["p50"] <= stage["p95"] <= stage["p99"]


def test_a_slow_sink_works_beside_the_detector():
    """The detector gets its second frame while the sink still has the first."""
    sink_gate, second_frame = Gate(), threading.Event()
    calls = []

    def on_infer():
        calls.append(time.monotonic())
        if len(calls) == 2:
            assert sink_gate.entered.wait(WAIT_S)
            second_frame.set()
            sink_gate.open()

    sink = RecordingSink(is_slow=True, on_write=sink_gate)
    pipeline_of(ScriptedSource(3), sink, detector=FakeDetector(on_infer)).run()
    assert second_frame.is_set()
    assert len(sink.frames) == 3


def test_one_hundred_and_fifty_runs_of_every_ending_leave_no_thread():
    for i in range(150):
        error = SourceError("broken") if i % 5 == 1 else None
        refuse = (lambda _: raise_(SinkError("full"))) if i % 5 == 2 else (lambda _: None)
        fail = (lambda: raise_(RuntimeError("bad"))) if i % 5 == 3 else (lambda: None)
        detector = FakeDetector(fail, concurrency=1 + 2 * (i % 3 == 0))
        source = ScriptedSource(5, error=error, is_live=bool(i % 2))
        pipeline = pipeline_of(source, RecordingSink(is_slow=True, on_write=refuse), detector=detector)
        with suppress(SourceError, SinkError, RuntimeError):
            pipeline.run(max_frames=2 if i % 5 == 4 else None)
        assert source.closed == 1
    assert not [t.name for t in threading.enumerate() if t.name.startswith(("capture", "detect", "encode"))]


def test_controls_are_heeded_from_the_next_frame_on():
    controls = Controls(0.5)

    def press(frame):
        controls.threshold = 0.2 if frame.index >= 1 else 0.5
        controls.hidden = {0} if frame.index >= 2 else set()

    sink = RecordingSink(needs_canvas=True, on_write=press)
    pipeline_of(ScriptedSource(4), sink, controls=controls).run()
    assert [len(found) for found in sink.detections] == [1, 1, 2, 2]  # hiding is a matter of images
    face = [tuple(canvas[28, 30]) == PALETTE_BGR[0] for canvas in sink.canvases]
    assert face == [True, True, True, False]


def test_all_that_was_found_is_passed_on_beside_what_counts():
    results = []
    sink = RecordingSink()
    sink.write = results.append
    pipeline_of(ScriptedSource(1), sink, threshold=0.5).run()
    assert (len(results[0].detections), len(results[0].candidates)) == (1, 2)


def test_a_canvas_is_drawn_from_when_a_sink_wants_it():
    class Awakening(RecordingSink):
        @property
        def needs_canvas(self):
            return len(self.frames) >= 2

        @needs_canvas.setter
        def needs_canvas(self, _):
            pass

    sink = Awakening()
    pipeline_of(ScriptedSource(4), sink).run()
    assert [(canvas == frame.image).all() for canvas, frame in zip(sink.canvases, sink.frames, strict=True)] == [
        True, True, False, False,
    ]  # fmt: skip


def test_a_pause_holds_a_file_and_a_step_lets_one_frame_through():
    controls = Controls(0.5)
    seen_while_idle = []

    def on_idle():
        seen_while_idle.append(len(sink.frames))
        if len(seen_while_idle) in (3, 6):
            controls.press(".")
        if len(seen_while_idle) == 8:
            controls.press("space")

    sink = RecordingSink(on_write=lambda frame: controls.press("space") if frame.index == 2 else None)
    stats = pipeline_of(ScriptedSource(9), sink, controls=controls, on_idle=on_idle).run()
    assert seen_while_idle == [3, 3, 3, 4, 4, 4, 5, 5]
    assert [frame.index for frame in sink.frames] == list(range(9))  # none is lost
    assert stats.dropped == 0


def test_a_step_that_is_asked_for_while_a_frame_is_shown_is_not_lost():
    controls = Controls(0.5, paused=True, step_wanted=True)
    sink = RecordingSink(on_write=lambda frame: controls.press(".") if frame.index < 3 else controls.press("q"))
    pipeline_of(ScriptedSource(9), sink, controls=controls, on_idle=lambda: None).run()
    assert [frame.index for frame in sink.frames] == [0, 1, 2, 3]


def test_after_a_pause_a_live_source_shows_its_newest_frame():
    """While the run is paused, 30 frames come."""
    controls = Controls(0.5)
    paused, source_is_at_30 = threading.Event(), threading.Event()

    def before_read(index):
        if index == 1:
            assert paused.wait(WAIT_S)
        if index == 31:
            source_is_at_30.set()

    def on_idle():
        if controls.paused:
            paused.set()
            assert source_is_at_30.wait(WAIT_S)
            controls.press("space")

    sink = RecordingSink(on_write=lambda frame: controls.press("space") if frame.index == 0 else None)
    source = ScriptedSource(31, is_live=True, before_read=before_read)
    pipeline_of(source, sink, controls=controls, on_idle=on_idle).run()
    assert [frame.index for frame in sink.frames] == [0, 30]


@pytest.mark.parametrize("end", ["stop", "time limit", "key"])
def test_a_paused_run_can_be_ended(end):
    controls = Controls(0.5)
    calls = []

    def on_idle():
        calls.append(time.monotonic())
        if len(calls) == 3 and end != "time limit":
            pipeline.stop() if end == "stop" else controls.press("q")

    sink = RecordingSink(on_write=lambda _: controls.press("space"))
    source = ScriptedSource(9)
    pipeline = pipeline_of(source, sink, controls=controls, on_idle=on_idle)
    pipeline.run(duration_s=0.2 if end == "time limit" else None)
    assert len(sink.frames) == 1
    assert sink.closings == [Ending.STOPPED]
    assert source.closed == 1


def test_the_user_is_heeded_while_a_source_gives_nothing():
    """A camera that hangs: the window can still be closed."""
    gate = Gate()

    def on_idle():
        gate.open()
        raise StopRun

    source = ScriptedSource(5, is_live=True, before_read=gate)
    pipeline_of(source, sink := RecordingSink(), on_idle=on_idle).run()
    assert sink.closings == [Ending.FAILED]  # no frame came, so there is nothing to keep
    assert source.closed == 1


def test_an_error_that_comes_after_a_wait_is_raised():
    gate = Gate()
    source = ScriptedSource(0, error=SourceError("unplugged"), before_read=gate)
    with pytest.raises(SourceError, match="unplugged"):
        pipeline_of(source, on_idle=gate.open).run()


def test_the_last_frame_is_not_lost_to_a_wait(monkeypatch):
    """It comes, and the stream ends, in the moment after the run gave up waiting and before it looks around."""
    gate = Gate()
    source = ScriptedSource(1, before_read=lambda index: gate() if index == 0 else None)

    class LateBuffer(ClosableBuffer):
        def get(self, timeout_s=None):
            if source.reads:
                return super().get(timeout_s)
            assert super().get(0.0) is None
            gate.open()
            wait_until(lambda: self.is_closed)
            return None

    monkeypatch.setattr("realtime.sources.capture.ClosableBuffer", LateBuffer)
    pipeline_of(source, sink := RecordingSink(), on_idle=lambda: None).run()
    assert [frame.index for frame in sink.frames] == [0]
    assert sink.closings == [Ending.COMPLETE]

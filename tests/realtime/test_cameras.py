"""Many cameras that share a detector: fair shares, bounded age, cameras that hang, die and come back."""

import threading
import time
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from fakes import WAIT_S, FakeDetector, Gate, RecordingSink, ScriptedSource, thread_names, wait_until
from test_reconnecting import BROKEN, Pauses, Script

from realtime.buffer import ClosableBuffer
from realtime.cameras import camera as camera_module
from realtime.cameras.camera import Camera, Looking, State
from realtime.cameras.engine import Engine
from realtime.cameras.writer import ResultWriter
from realtime.controls import Controls
from realtime.errors import ModelError, SinkError, SourceError
from realtime.faces.known import KnownFaces
from realtime.regions.frames import detect_together
from realtime.regions.planner import Plan
from realtime.regions.tiles import Reach
from realtime.sinks.base import Ending
from realtime.sources.reconnecting import ReconnectingSource

ENDLESS = 10**9


class LiveSource(ScriptedSource):
    """Frames without end, as fast as they are taken; ``interrupt`` ends it."""

    def __init__(self, count=ENDLESS, pause_s=0.001, **options):
        super().__init__(count, is_live=True, before_read=self._pace, **options)
        self.interrupted = threading.Event()
        self.pause_s = pause_s

    def _pace(self, _index):
        self.interrupted.wait(self.pause_s)

    def read(self):
        return None if self.interrupted.is_set() else super().read()

    def interrupt(self):
        self.interrupted.set()


class Rig:
    """An engine, its cameras and what they found."""

    def __init__(self, detector=None):
        self.detector = detector or FakeDetector()
        self.engine = Engine(lambda: self.detector)
        self.engine.start()
        self.results = {}
        self.order = ClosableBuffer(ENDLESS)

    def add(self, name, source, **options):
        self.results[name] = []

        def note(result):
            self.results[name].append(result)
            self.order.put(name)

        camera = Camera(name, source, self.detector, Controls(0.5), on_result=[note], **options)
        self.engine.add(camera)
        return camera

    def wait_for(self, count, *names):
        wait_until(lambda: all(len(self.results[name]) >= count for name in names or self.results))


@pytest.fixture
def rig_of():
    rigs = []

    def make(*arguments):
        rigs.append(Rig(*arguments))
        return rigs[-1]

    yield make
    for rig in rigs:
        if rig.engine.error is None:
            rig.engine.close()
    assert not [name for name in thread_names() if name.startswith(("detect-", "capture", "receive", "encode"))]


def test_every_camera_has_results_in_order_with_ids_of_its_own(rig_of):
    rig = rig_of()
    for name in ("a", "b", "c"):
        rig.add(name, ScriptedSource(5, is_live=True, before_read=lambda _: time.sleep(0.002)))
    assert rig.engine.wait(WAIT_S)
    for results in rig.results.values():
        indices = [result.frame.index for result in results]
        assert indices == sorted(set(indices))
        assert {face.id for result in results for face in result.faces} == {1}
    assert {camera.state for camera in rig.engine.cameras} == {State.ENDED}


@pytest.mark.parametrize("concurrency", [1, 2])
def test_shares_are_fair_whatever_the_rates(rig_of, concurrency):
    """The detector waits until every camera has a frame: all that counts is whose turn it is."""
    enough = threading.Event()

    def look():
        while not enough.is_set() and not all(rig.engine._turns.has_work(camera) for camera in rig.engine.cameras):
            enough.wait(0.0005)

    rig = rig_of(FakeDetector(look, concurrency=concurrency))
    for name, pause_s in (("fast", 0.0002), ("quick", 0.001), ("usual", 0.002)):
        rig.add(name, LiveSource(pause_s=pause_s))
    rig.wait_for(3)
    start = {name: len(results) for name, results in rig.results.items()}
    wait_until(lambda: sum(map(len, rig.results.values())) > 100)
    got = {name: len(results) - start[name] for name, results in rig.results.items()}
    enough.set()
    # With two threads, a camera may have no frame yet when a thread is free, and loses that turn.
    assert max(got.values()) - min(got.values()) <= (2 if concurrency == 1 else 12), got


def test_no_frame_is_older_than_a_turn_of_every_camera(rig_of):
    """Age is counted in looks of the detector, so that the machine's speed does not matter."""
    looks, ages = [0], []

    class Stamped(LiveSource):
        def read(self):
            frame = super().read()
            return frame and replace(frame, pts_s=float(looks[0]))

    def look():
        time.sleep(0.003)
        looks[0] += 1

    rig = rig_of(FakeDetector(look))
    for name in "abcdef":
        camera = rig.add(name, Stamped(pause_s=0.0005))
        camera._on_result.append(lambda result: ages.append(looks[0] - result.frame.pts_s))
    wait_until(lambda: len(ages) > 100)
    assert max(ages[10:]) <= 6 + 1


def test_a_camera_that_hangs_delays_nobody_and_says_so(rig_of, monkeypatch):
    monkeypatch.setattr(camera_module, "STALL_S", 0.05)
    rig, gate = rig_of(), Gate()
    hanging = rig.add("hanging", ScriptedSource(9, is_live=True, before_read=lambda i: i == 2 and gate()))
    rig.add("other", LiveSource())
    assert gate.entered.wait(WAIT_S)
    rig.wait_for(len(rig.results["other"]) + 50, "other")
    wait_until(lambda: hanging.state is State.STALLED)
    assert hanging.status.startswith("no frame for ")
    gate.open()


def test_a_camera_that_never_answers_holds_up_neither_the_start_nor_the_end(rig_of):
    rig, gate = rig_of(), Gate()

    def open_source():
        gate()
        raise BROKEN

    silent = ReconnectingSource(open_source, retry_first=True, retry_later=True, on_message=lambda _: None)
    camera = rig.add("silent", silent)
    rig.add("other", LiveSource())
    assert gate.entered.wait(WAIT_S)
    rig.wait_for(20, "other")
    assert camera.state is State.CONNECTING
    started_s = time.monotonic()
    rig.engine.close()
    assert time.monotonic() - started_s < 2
    gate.open()
    wait_until(lambda: "receive" not in thread_names())


def test_a_camera_that_dies_comes_back_with_its_tracker(rig_of):
    rig, said, back = rig_of(), [], threading.Event()

    def hold(index):
        if index == 3:
            back.wait(WAIT_S)

    script = Script(
        ScriptedSource(4, is_live=True, error=BROKEN, before_read=lambda _: time.sleep(0.002)),
        BROKEN,
        ScriptedSource(40, is_live=True, before_read=lambda i: (time.sleep(0.002), hold(i))),
    )
    source = ReconnectingSource(script, retry_first=True, retry_later=True, on_message=said.append, wait=Pauses())
    camera = rig.add("flaky", source)
    rig.add("steady", LiveSource())
    wait_until(lambda: "connected again" in said)
    back.set()
    wait_until(lambda: camera.is_over)
    assert len(rig.results["steady"]) > 0
    assert [line.partition(";")[0] for line in said] == ["lost it", "lost it", "connected again"]
    indices = [result.frame.index for result in rig.results["flaky"]]
    assert indices == sorted(set(indices))
    assert max(indices) > 4
    assert camera.figures.now().faces_seen == 1


def test_a_camera_that_cannot_be_opened_fails_alone(rig_of):
    rig = rig_of()

    def open_source():
        raise SourceError("cannot open camera 7: not found")

    source = ReconnectingSource(open_source, retry_first=False, retry_later=False, on_message=lambda _: None)
    camera = rig.add("gone", source)
    rig.add("other", LiveSource())
    rig.wait_for(10, "other")
    wait_until(lambda: camera.is_over)
    assert (camera.state, camera.status) == (State.FAILED, "cannot open camera 7: not found")
    assert not rig.engine.wait(0.01)


def test_two_threads_detect_in_two_cameras_at_the_same_time(rig_of):
    together = threading.Barrier(2)
    rig = rig_of(FakeDetector(lambda: together.wait(WAIT_S), concurrency=2))
    for name in "ab":
        rig.add(name, ScriptedSource(1, is_live=True))
    assert rig.engine.wait(WAIT_S)
    assert all(len(results) == 1 for results in rig.results.values())


class BatchDetector(FakeDetector):
    """Detects in up to four images at once; the first run waits until all cameras have a frame."""

    def __init__(self, gate):
        super().__init__(gate, max_batch=4)
        self.sizes = []

    def infer_batch(self, network_input, transforms):
        self.sizes.append(len(transforms))
        return super().infer_batch(network_input, transforms)


def test_a_detector_that_takes_batches_gets_the_frames_of_several_cameras(rig_of):
    gate = Gate()
    rig = rig_of(BatchDetector(gate))
    rig.add("first", ScriptedSource(1, is_live=True))
    assert gate.entered.wait(WAIT_S)
    cameras = [rig.add(name, ScriptedSource(1, is_live=True)) for name in "abcde"]
    wait_until(lambda: all(camera.is_over for camera in cameras))
    gate.open()
    assert rig.engine.wait(WAIT_S)
    assert rig.detector.sizes == [1, 4, 1]
    assert all(len(results) == 1 for results in rig.results.values())


def test_tiles_and_close_ups_of_several_cameras_share_a_run(rig_of):
    looking = Looking(reach=Reach.parse("2x2"))
    rig = rig_of(BatchDetector(lambda: time.sleep(0.01)))
    for name in "ab":
        rig.add(name, LiveSource(size_wh=(640, 480)), looking=looking)
    wait_until(lambda: 4 in rig.detector.sizes)  # the whole frames of both, and a tile of each
    rig.wait_for(1)
    for results in rig.results.values():
        assert {len(result.faces) > 0 for result in results} == {True}


def test_a_run_of_several_frames_costs_each_its_looks():
    frames = [ScriptedSource(1, is_live=True, size_wh=(640, 480)).read() for _ in range(2)]
    whole, tile = [0, 0, 640, 480], [0, 0, 320, 240]
    plans = [None, Plan(np.array([whole, tile, tile]), KnownFaces.none(), confirms=False)]
    one, three = detect_together(BatchDetector(lambda: time.sleep(0.001)), list(zip(frames, plans, strict=True)))
    assert three.infer_ms == pytest.approx(3 * one.infer_ms)
    assert three.preprocess_ms == pytest.approx(3 * one.preprocess_ms)
    assert one.looks is None
    assert len(three.looks.scales) == 3


def test_a_network_that_fails_ends_all_and_says_why(rig_of):
    def fail():
        raise ModelError("out of memory")

    rig = rig_of(FakeDetector(fail))
    rig.add("a", LiveSource())
    assert rig.engine.wait(WAIT_S)
    with pytest.raises(ModelError, match="out of memory"):
        rig.engine.close()


def test_a_model_that_cannot_be_loaded_is_an_error_of_the_start():
    def load():
        raise ModelError("not found")

    engine = Engine(load)
    with pytest.raises(ModelError, match="not found"):
        engine.start()
    engine.close()


def test_a_slow_sink_delays_its_own_camera_alone(rig_of):
    rig, gate = rig_of(), Gate()
    slow = RecordingSink(on_write=gate, needs_canvas=True)
    camera = rig.add("slow", LiveSource(), writer=ResultWriter([slow], lambda result: result.frame.image + 1))
    rig.add("other", LiveSource())
    assert gate.entered.wait(WAIT_S)
    rig.wait_for(len(rig.results["other"]) + 50, "other")
    assert len(rig.results["slow"]) == 1
    gate.open()
    rig.wait_for(3, "slow")
    rig.engine.remove("slow")
    assert slow.closings == [Ending.STOPPED]
    assert (slow.canvases[0] == slow.frames[0].image + 1).all()
    assert rig.engine.camera("slow") is None
    assert not camera.source.read()


def test_a_sink_that_fails_ends_the_run_with_its_error(rig_of):
    def fail(_frame):
        raise SinkError("disk full")

    rig, sink, kept = rig_of(), RecordingSink(on_write=fail), RecordingSink()
    rig.add("b", LiveSource(), writer=ResultWriter([kept], lambda result: result.canvas))
    wait_until(lambda: kept.frames)
    rig.add("a", LiveSource(), writer=ResultWriter([sink], lambda result: result.canvas))
    assert rig.engine.wait(WAIT_S)
    with pytest.raises(SinkError, match="disk full"):
        rig.engine.close()
    assert sink.closings == [Ending.FAILED]
    assert kept.closings == [Ending.STOPPED]


def test_cameras_that_come_and_go_leave_nothing(rig_of):
    rig = rig_of()
    rig.add("stays", LiveSource())
    for _ in range(20):
        rig.add("guest", LiveSource(), looking=Looking(reach=Reach.parse("auto")))
        rig.wait_for(1, "guest")
        rig.engine.remove("guest")
    assert Counter(thread_names())["capture"] == 1
    with pytest.raises(ValueError, match="stays"):
        rig.add("stays", LiveSource())
    rig.wait_for(len(rig.results["stays"]) + 3, "stays")


def test_work_that_needs_the_detector_is_done_between_frames(rig_of):
    rig = rig_of()
    rig.add("a", LiveSource())
    assert rig.engine.submit(lambda: threading.current_thread().name).result(WAIT_S) == "detect-1"


def test_figures_tell_what_a_camera_did(rig_of):
    rig = rig_of(FakeDetector(lambda: time.sleep(0.002)))
    camera = rig.add("a", LiveSource(pause_s=0.0005))
    rig.wait_for(20)
    figures = camera.figures.now()
    assert figures.frames >= 20
    assert figures.dropped > 0
    assert (figures.faces, figures.faces_seen) == (1, 1)
    assert figures.infer_ms >= 2
    assert 0 < figures.age_ms < 1000
    assert figures.frames_per_s > 0


@pytest.mark.parametrize(("cameras", "workers", "part"), [(1, 1, 1.0), (4, 1, 0.25), (4, 2, 0.5), (1, 2, 1.0)])
def test_closer_looks_are_given_their_share_of_the_time(rig_of, cameras, workers, part):
    rig = rig_of(FakeDetector(concurrency=workers))
    looking = Looking(reach=Reach.parse("auto"))
    added = [rig.add(str(number), LiveSource(), looking=looking) for number in range(cameras)]
    assert {camera._frames._planner.budget.share for camera in added} == {part}

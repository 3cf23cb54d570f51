"""Opening a live source again when it breaks, with scripted sources and pauses."""

import threading
from contextlib import closing, suppress

import pytest
from fakes import (
    WAIT_S,
    FakeDetector,
    Gate,
    RecordingSink,
    ScriptedSource,
    join_threads,
    thread_names,
    wait_until,
)

from realtime.buffer import ClosableBuffer
from realtime.controls import Controls
from realtime.errors import SourceError
from realtime.pipeline import Pipeline
from realtime.sinks.base import Ending
from realtime.sources.capture import CaptureThread
from realtime.sources.reconnecting import ReconnectingSource
from realtime.structures import Frame

BROKEN = SourceError("lost it")


class Script:
    """Opens the given sources one after another; an error in their place is raised."""

    def __init__(self, *sources):
        self.sources = list(sources)
        self.opened = []

    def __call__(self):
        source = self.sources.pop(0)
        if isinstance(source, Exception):
            raise source
        self.opened.append(source)
        return source


class Pauses(list):
    """Keeps the pauses and takes no time for them."""

    def __call__(self, event, seconds):
        self.append(seconds)
        return event.is_set()


def reconnecting(script, *, retry_first=False, retry_later=True, **options):
    said = []
    source = ReconnectingSource(
        script, retry_first=retry_first, retry_later=retry_later, on_message=said.append, **options
    )
    source.said = said
    return source.start()


def pipeline_of(source, detector, *sinks):
    return Pipeline(source, detector, sinks, Controls(0.5))


def live(count, *, each=lambda _: None, **options):
    """A source of ``count`` frames, each held back until the one before it was taken."""
    return ScriptedSource(count, is_live=True, before_read=each, **options)


def frames_until_the_end(source):
    frames = []
    while (frame := source.read()) is not None:
        frames.append(frame)
    return frames


def test_it_goes_on_after_a_break_and_says_so():
    pauses = Pauses()
    taken = threading.Semaphore(0)
    hold = lambda index: index == 0 or taken.acquire(timeout=WAIT_S)  # noqa: E731
    script = Script(live(2, each=hold, error=BROKEN), BROKEN, BROKEN, live(3, each=hold, size_wh=(32, 16)))
    source = reconnecting(script, wait=pauses)
    indices, times, sizes = [], [], []
    with closing(source):
        assert source.size_wh == (64, 48)
        while (frame := source.read()) is not None:
            indices.append(frame.index)
            times.append(frame.pts_s)
            sizes.append(source.size_wh)
            taken.release()
    assert indices == [0, 1, 2, 3, 4]
    assert times == sorted(times)
    assert sizes == [(64, 48)] * 2 + [(32, 16)] * 3
    assert pauses == [1, 2, 4]
    assert source.said == [
        "lost it; reconnecting, 1st try in 1 s",
        "lost it; reconnecting, 2nd try in 2 s",
        "lost it; reconnecting, 3rd try in 4 s",
        "connected again",
    ]
    assert [opened.closed for opened in script.opened] == [1, 1]


def test_pauses_grow_to_a_limit_and_begin_anew_after_an_image():
    pauses = Pauses()
    script = Script(live(1, error=BROKEN), *[BROKEN] * 7, live(1, error=BROKEN), BROKEN, live(0))
    with closing(reconnecting(script, wait=pauses)) as source:
        frames_until_the_end(source)
    assert pauses == [1, 2, 4, 8, 16, 30, 30, 30, 1, 2]


def test_the_status_tells_the_try_until_there_is_an_image():
    seen = []
    script = Script(live(1, error=BROKEN), *[BROKEN] * 20, live(1))

    def wait(_event, _seconds):
        seen.append(source.status)

    ready = threading.Event()
    source = reconnecting(script, wait=lambda *a: (ready.wait(WAIT_S), wait(*a)))
    assert source.status in ("", "reconnecting, 1st try")
    ready.set()
    with closing(source):
        frames_until_the_end(source)
    ordinals = [status.removeprefix("reconnecting, ").removesuffix(" try") for status in seen]
    assert ordinals[:4] == ["1st", "2nd", "3rd", "4th"]
    assert ordinals[10:13] == ["11th", "12th", "13th"]
    assert ordinals[-1] == "21st"
    assert source.status == ""


def test_what_cannot_be_opened_at_first_is_an_error_at_once():
    pauses = Pauses()
    with pytest.raises(SourceError, match="lost it"):
        reconnecting(Script(BROKEN), wait=pauses)
    assert not pauses


def test_the_first_opening_is_retried_if_asked_for():
    pauses = Pauses()
    with closing(reconnecting(Script(BROKEN, BROKEN, live(1)), retry_first=True, wait=pauses)) as source:
        assert len(frames_until_the_end(source)) == 1
    assert source.said[1:] == ["lost it; connecting, 2nd try in 2 s", "connected"]


def test_without_reconnecting_a_break_is_an_error_after_the_last_frame():
    with closing(reconnecting(Script(live(1, error=BROKEN)), retry_later=False)) as source:
        assert source.read().index == 0
        with pytest.raises(SourceError, match="lost it"):
            source.read()


def test_an_error_that_is_no_sources_is_not_retried():
    with pytest.raises(ZeroDivisionError):
        reconnecting(Script(ZeroDivisionError()), retry_first=True)


def test_frames_that_nobody_took_are_counted():
    with closing(reconnecting(Script(live(30)))) as source:
        join_threads("receive")
        assert [frame.index for frame in frames_until_the_end(source)] == [29]
        assert source.dropped == 29
        assert CaptureThread(source, on_read=lambda _: None).dropped == 29


@pytest.fixture
def endless_pause(monkeypatch):
    monkeypatch.setattr("realtime.sources.reconnecting.FIRST_PAUSE_S", 10 * WAIT_S)


@pytest.mark.usefixtures("endless_pause")
def test_closing_ends_a_pause():
    source = reconnecting(Script(live(1, error=BROKEN)))
    wait_until(lambda: source.status)
    source.close()
    assert "receive" not in thread_names()


@pytest.mark.usefixtures("endless_pause")
def test_a_run_can_be_stopped_while_it_pauses():
    source = reconnecting(Script(live(1, error=BROKEN)))
    file = RecordingSink(is_slow=True)
    pipeline = pipeline_of(source, FakeDetector(), file)
    stopper = threading.Thread(
        target=lambda: (wait_until(lambda: source.status and file.frames), pipeline.stop()), name="test-stop"
    )
    stopper.start()
    assert pipeline.run().frames == 1
    stopper.join(WAIT_S)
    assert file.closings == [Ending.STOPPED]
    assert "receive" not in thread_names()


def test_closing_does_not_wait_for_a_source_that_hangs(monkeypatch):
    monkeypatch.setattr("realtime.sources.reconnecting.CLOSE_TIMEOUT_S", 0.01)
    gate = Gate()
    inner = live(5, each=lambda index: index == 1 and gate())
    source = reconnecting(Script(inner))
    assert gate.entered.wait(WAIT_S)
    source.close()
    assert inner.closed == 0  # never under the thread that reads it
    gate.open()
    join_threads("receive")
    assert inner.closed == 1


def test_a_reader_is_woken_by_an_interrupt():
    gate = Gate()
    source = reconnecting(Script(live(5, each=lambda index: index == 1 and gate())))
    capture = CaptureThread(source, on_read=lambda _: None)
    capture.start()
    assert capture.buffer.get().index == 0
    assert gate.entered.wait(WAIT_S)
    interrupt = source.interrupt
    source.interrupt = lambda: (interrupt(), gate.open())
    capture.stop()
    assert "capture" not in thread_names()
    join_threads("receive")


def test_two_hundred_starts_and_stops_leave_no_thread():
    for i in range(200):
        script = Script(live(i % 5, error=BROKEN if i % 2 else None), *[BROKEN] * 1000)
        with suppress(SourceError), closing(reconnecting(script, retry_later=bool(i % 3))) as source:
            if i % 7 == 0:
                source.read()
        assert all(opened.closed == 1 for opened in script.opened)
    assert not [thread for thread in threading.enumerate() if thread.name == "receive"]


class Clock:
    """Time that passes only while the detector works."""

    def __init__(self):
        self.now_s = 0.0


INTERVAL_S = 0.1


class CameraByClock(ScriptedSource):
    """Gives a frame every ``INTERVAL_S`` of a scripted clock, when it is told to."""

    def __init__(self, clock):
        super().__init__(10**6, is_live=True)
        self.tick = threading.Semaphore(1)
        self.is_over = False
        self._clock = clock

    def read(self):
        assert self.tick.acquire(timeout=WAIT_S)
        frame = super().read()
        return None if self.is_over else Frame(frame.image, frame.index, frame.pts_s, self._clock.now_s)

    def interrupt(self):
        self.is_over = True
        self.tick.release()


@pytest.mark.parametrize("through_a_connection", [False, True])
@pytest.mark.parametrize("inference_s", [0.1, 0.25, 0.7, 2.05])
def test_a_shown_frame_is_never_older_than_one_inference_and_one_interval(
    monkeypatch, inference_s, through_a_connection
):
    clock, shown = Clock(), 30
    camera = CameraByClock(clock)
    source = reconnecting(Script(camera)) if through_a_connection else camera
    next_frame_s = INTERVAL_S
    ages_s = []
    newest_s = None

    class WatchedBuffer(ClosableBuffer):
        """Tells what the detector would get next: it takes nothing while it works."""

        def put(self, frame):
            nonlocal newest_s
            is_open = super().put(frame)
            newest_s = frame.captured_at_s
            return is_open

    def infer():
        """Let the time of an inference pass, and with it the frames come that fall into it."""
        nonlocal next_frame_s
        end_s = clock.now_s + inference_s
        while next_frame_s <= end_s + 1e-9:
            clock.now_s = next_frame_s
            camera.tick.release()
            wait_until(lambda: newest_s == clock.now_s)
            next_frame_s += INTERVAL_S
        clock.now_s = end_s

    def show(frame):
        ages_s.append(clock.now_s - frame.captured_at_s)
        if len(ages_s) == shown:
            camera.interrupt()

    monkeypatch.setattr("realtime.sources.capture.ClosableBuffer", WatchedBuffer)
    stats = pipeline_of(source, FakeDetector(infer), RecordingSink(on_write=show)).run(max_frames=shown)
    assert len(ages_s) == shown
    assert max(ages_s) <= inference_s + INTERVAL_S + 1e-9
    came = round(clock.now_s / INTERVAL_S) + 1
    assert came - 2 <= stats.frames + stats.dropped <= came  # the last one waits


def test_nothing_is_opened_before_the_start():
    script = Script(live(1))
    source = ReconnectingSource(script, retry_first=False, retry_later=False, on_message=lambda _: None)
    with pytest.raises(RuntimeError, match="must be started"):
        source.read()
    assert script.opened == []
    assert not [thread for thread in threading.enumerate() if thread.name == "receive"]
    source.close()


def test_a_with_block_starts_and_closes_it():
    script = Script(live(1))
    with ReconnectingSource(script, retry_first=False, retry_later=False, on_message=lambda _: None) as source:
        assert source.size_wh == (64, 48)
        assert len(frames_until_the_end(source)) == 1
    with reconnecting(Script(live(1))) as source:  # started already
        assert len(frames_until_the_end(source)) == 1
    assert script.opened[0].closed == 1

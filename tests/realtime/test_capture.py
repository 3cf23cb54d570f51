import threading

import pytest
from fakes import WAIT_S, Gate, ScriptedSource, join_threads, wait_until

from realtime.buffer import ClosableBuffer
from realtime.sources.capture import CaptureThread


def in_thread(function, *args):
    """Run in a thread whose result can be waited for."""
    result = []
    thread = threading.Thread(target=lambda: result.append(function(*args)), name="test-helper", daemon=True)
    thread.start()
    return thread, result


def still_waits(thread):
    """Whether a thread is alive after a moment in which it could have ended."""
    thread.join(0.05)
    return thread.is_alive()


def test_items_come_out_in_order():
    buffer = ClosableBuffer(3)
    for i in range(3):
        assert buffer.put(i)
    assert [buffer.get() for _ in range(3)] == [0, 1, 2]


def test_a_closed_buffer_gives_what_is_left_and_then_none():
    buffer = ClosableBuffer(3)
    buffer.put("a")
    buffer.close()
    assert buffer.get() == "a"
    assert buffer.get() is None
    assert buffer.put("b") is False


def test_an_error_comes_after_the_last_item():
    buffer = ClosableBuffer(3)
    buffer.put("a")
    buffer.close(ValueError("broken"))
    assert buffer.get() == "a"
    with pytest.raises(ValueError, match="broken"):
        buffer.get()


def test_discarding_drops_items_and_error():
    buffer = ClosableBuffer(3)
    buffer.put("a")
    buffer.close(ValueError("broken"))
    buffer.close(discard=True)
    assert buffer.get() is None


def test_dropping_keeps_the_newest_and_counts():
    buffer = ClosableBuffer(1, drop_oldest=True)
    for i in range(5):
        assert buffer.put(i)
    assert buffer.get() == 4
    assert buffer.dropped == 4


def test_closing_releases_a_writer_that_waits_for_room():
    buffer = ClosableBuffer(1)
    buffer.put(0)
    thread, result = in_thread(buffer.put, 1)
    assert still_waits(thread)
    buffer.close(discard=True)
    thread.join(WAIT_S)
    assert result == [False]


def test_closing_releases_a_reader_that_waits():
    buffer = ClosableBuffer(1)
    thread, result = in_thread(buffer.get)
    assert still_waits(thread)
    buffer.close()
    thread.join(WAIT_S)
    assert result == [None]


def test_a_reader_waits_no_longer_than_it_says():
    assert ClosableBuffer(1).get(timeout_s=0.01) is None


def test_a_full_buffer_makes_the_writer_wait_and_loses_nothing():
    buffer = ClosableBuffer(2)
    thread, _ = in_thread(lambda: [buffer.put(i) for i in range(500)])
    assert [buffer.get() for _ in range(500)] == list(range(500))
    thread.join(WAIT_S)
    assert buffer.dropped == 0


def test_a_file_is_read_no_further_than_ahead():
    too_far = threading.Event()
    source = ScriptedSource(50, before_read=lambda index: too_far.set() if index == 4 else None)
    capture = CaptureThread(source, ahead=3, on_read=lambda _: None)
    capture.start()
    wait_until(lambda: source.reads == 4)  # three in the buffer, one that waits for room
    assert not too_far.wait(0.05)
    capture.buffer.get()
    assert too_far.wait(WAIT_S)  # room for one more
    capture.stop()
    assert source.closed == 1


def test_two_hundred_starts_and_stops_leave_nothing_behind():
    for i in range(200):
        source = ScriptedSource(20, is_live=bool(i % 2))
        capture = CaptureThread(source, on_read=lambda _: None)
        capture.start()
        if i % 3:
            capture.buffer.get()
        capture.stop()
        assert source.closed == 1
    assert not [t for t in threading.enumerate() if t.name == "capture"]


def test_a_source_is_not_closed_under_a_thread_that_hangs_in_it(monkeypatch):
    monkeypatch.setattr("realtime.sources.capture.JOIN_TIMEOUT_S", 0.05)
    gate = Gate()
    source = ScriptedSource(5, before_read=gate)
    capture = CaptureThread(source, on_read=lambda _: None)
    capture.start()
    assert gate.entered.wait(WAIT_S)
    capture.stop()
    assert source.closed == 0
    gate.open()
    join_threads("capture")


def test_read_times_are_reported():
    times = []
    capture = CaptureThread(ScriptedSource(3), on_read=times.append)
    capture.start()
    while capture.buffer.get() is not None:
        pass
    capture.stop()
    assert len(times) == 3
    assert all(ms >= 0 for ms in times)

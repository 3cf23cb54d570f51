"""Sinks as context managers, and the thread of a slow one."""

import threading

import pytest

from realtime.errors import SinkError, SourceError
from realtime.sinks.base import ClosingSink, Ending, StopRun
from realtime.sinks.threaded import ThreadedSink


class Sink(ClosingSink):
    needs_canvas = False
    is_slow = True

    def __init__(self):
        self.results = []
        self.endings = []
        self.threads = set()

    def write(self, result):
        self.threads.add(threading.current_thread())
        self.results.append(result)

    def close(self, ending):
        self.endings.append(ending)


@pytest.mark.parametrize(
    ("error", "ending"),
    [
        (None, Ending.COMPLETE),
        (StopRun(), Ending.STOPPED),
        (SourceError("unplugged"), Ending.STOPPED),
        (SinkError("the disk is full"), Ending.FAILED),
        (KeyboardInterrupt(), Ending.FAILED),
    ],
)
def test_a_block_closes_its_sink_as_it_ended(error, ending):
    sink = Sink()

    def use():
        with sink as entered:
            assert entered is sink
            if error:
                raise error

    if error:
        with pytest.raises(type(error)):
            use()
    else:
        use()
    assert sink.endings == [ending]


def encoding_threads():
    return [thread for thread in threading.enumerate() if thread.name == "encode"]


def test_a_slow_sink_has_no_thread_before_its_first_result():
    sink = Sink()
    with ThreadedSink(sink, on_write=lambda _: None) as threaded:
        assert encoding_threads() == []
        threaded.write("first")
        assert len(encoding_threads()) == 1
        threaded.write("second")
    assert encoding_threads() == []
    assert sink.results == ["first", "second"]
    assert threading.current_thread() not in sink.threads
    assert sink.endings == [Ending.COMPLETE]


@pytest.mark.parametrize("ending", list(Ending))
def test_a_slow_sink_without_results_is_closed(ending):
    sink = Sink()
    ThreadedSink(sink, on_write=lambda _: None).close(ending)
    assert sink.endings == [ending]
    assert sink.threads == set()

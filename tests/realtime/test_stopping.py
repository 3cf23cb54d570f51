import signal

import pytest

from realtime.stopping import Stopped, StopRequests, stop_signals


@pytest.fixture(autouse=True)
def handlers_are_given_back(hang_up):  # noqa: ARG001 - for its effect
    before = {number: signal.getsignal(number) for number in stop_signals()}
    yield
    assert {number: signal.getsignal(number) for number in before} == before


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_the_first_signal_asks_and_the_second_raises(number, code):
    calls = []
    with StopRequests() as requests:
        requests.call(lambda: calls.append("stop"))
        assert (requests.exit_code, calls) == (None, [])
        signal.raise_signal(number)
        assert (requests.exit_code, calls) == (code, ["stop"])
        with pytest.raises(Stopped) as raised:
            signal.raise_signal(number)
    assert raised.value.exit_code == code
    assert calls == ["stop"]


def test_a_signal_before_there_is_anything_to_stop_is_kept():
    calls = []
    with StopRequests() as requests:
        signal.raise_signal(signal.SIGTERM)
        requests.call(lambda: calls.append("stop"))
    assert calls == ["stop"]


def test_a_hang_up_that_is_ignored_stays_ignored():
    """As under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopRequests() as requests:
            signal.raise_signal(signal.SIGHUP)
            assert requests.exit_code is None
    finally:
        signal.signal(signal.SIGHUP, before)

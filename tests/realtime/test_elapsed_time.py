import io
import threading

import pytest
from fakes import WAIT_S

from realtime.inference import elapsed_time
from realtime.inference.elapsed_time import show_elapsed_time


class Terminal(io.StringIO):
    def __init__(self, on_write=lambda _: None):
        super().__init__()
        self._on_write = on_write

    def isatty(self):
        return True

    def write(self, text):
        self._on_write(text)
        return super().write(text)


def test_elsewhere_than_on_a_terminal_it_is_said_once():
    out = io.StringIO()
    assert show_elapsed_time("building", lambda: 7, out) == 7
    assert out.getvalue() == "building …\nafter 0:00:00\n"


def test_a_terminal_shows_the_time_that_has_passed(monkeypatch):
    monkeypatch.setattr(elapsed_time, "REFRESH_S", 0.01)
    seen_twice, written = threading.Event(), []

    def on_write(text):
        written.append(text)
        if len(written) == 2:
            seen_twice.set()

    out = Terminal(on_write)
    assert show_elapsed_time("building", lambda: seen_twice.wait(WAIT_S), out) is True
    lines = out.getvalue().split("\r")
    assert lines[0] == ""
    assert all(line.startswith("building … ") for line in lines[1:])
    assert len(lines) >= 4
    assert out.getvalue().endswith("\n")


def test_what_goes_wrong_is_raised_to_who_waits():
    with pytest.raises(ZeroDivisionError):
        show_elapsed_time("building", lambda: 1 // 0, io.StringIO())


def test_the_work_is_not_in_the_way_of_ctrl_c(monkeypatch):
    """Not even work that cannot be stopped."""
    monkeypatch.setattr(elapsed_time, "REFRESH_S", 0.01)
    may_end = threading.Event()

    def press_ctrl_c(_text):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        show_elapsed_time("building", lambda: may_end.wait(WAIT_S), Terminal(press_ctrl_c))
    may_end.set()

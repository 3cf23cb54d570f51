import io

import numpy as np
import pytest

from realtime.batch import progress as batch_progress
from realtime.batch.progress import BatchProgress
from realtime.formatting import clock
from realtime.results import Result
from realtime.sinks import progress
from realtime.sinks.base import Ending
from realtime.sinks.progress import ProgressSink
from realtime.structures import Detections, Frame


class Terminal(io.StringIO):
    def isatty(self):
        return True


def result(pts_s):
    image = np.zeros((4, 4, 3), np.uint8)
    return Result(Frame(image, 0, pts_s, 0.0), Detections.empty(), image)


@pytest.fixture
def now(monkeypatch):
    """A clock that stands until it is set."""
    time = {"s": 1000.0}
    monkeypatch.setattr(progress.time, "monotonic", lambda: time["s"])
    return time


@pytest.mark.parametrize(
    ("length_s", "lines"),
    [
        (200.0, ["v.mp4: 25 %, 0.0 frames/s, 0:03:03 left", "v.mp4: 50 %, 0.0 frames/s, 0:02:02 left"]),
        (None, ["v.mp4: 2 frames, 0.0 frames/s", "v.mp4: 4 frames, 0.0 frames/s"]),
    ],
)
def test_a_line_a_minute_where_there_is_no_terminal(now, length_s, lines):
    told = io.StringIO()
    sink = ProgressSink("v.mp4", origin_s=10.0, length_s=length_s, stream=told)
    for second, pts_s in ((30, 35.0), (61, 60.0), (100, 90.0), (122, 110.0)):
        now["s"] = 1000.0 + second
        sink.write(result(pts_s))
    sink.close(Ending.COMPLETE)
    assert told.getvalue().splitlines() == lines


@pytest.mark.usefixtures("now")
def test_short_runs_print_nothing():
    told = io.StringIO()
    sink = ProgressSink("v.mp4", origin_s=0.0, length_s=5.0, stream=told)
    for i in range(100):
        sink.write(result(i / 20))
    sink.close(Ending.COMPLETE)
    sink.close(Ending.COMPLETE)
    assert told.getvalue() == ""


def test_a_terminal_shows_a_bar_that_is_taken_away(now, monkeypatch):
    told = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    sink = ProgressSink("[red]v.mp4", origin_s=0.0, length_s=10.0, stream=told)
    for i in range(50):
        now["s"] += 0.1
        sink.write(result(i / 10))
    assert "[red]v.mp4" in told.getvalue()  # a name is no markup
    assert "49 %" in told.getvalue()
    sink.close(Ending.FAILED)
    assert told.getvalue().endswith("\x1b[?25h\r\x1b[1A\x1b[2K")  # cursor shown again, line emptied


def test_clock():
    assert [clock(s) for s in (0, 59.6, 3725)] == ["0:00:00", "0:01:00", "1:02:05"]


def test_a_batch_has_one_display_for_all_files(now, monkeypatch):
    monkeypatch.setattr(batch_progress.time, "monotonic", lambda: now["s"])
    told = io.StringIO()
    progress = BatchProgress(4, 4000, "video", stream=told)
    progress.skip(1000)
    now["s"] += 61
    progress.part(1000, 0.5, 122)
    now["s"] += 61
    progress.finish(1000, 244)
    now["s"] += 1
    progress.finish(1000, 10)  # less than a minute later
    progress.close()
    assert told.getvalue().splitlines() == [
        "1 of 4 videos, 122 frames, 2.0 frames/s, 0:05:05 left",
        "2 of 4 videos, 244 frames, 2.0 frames/s, 0:04:04 left",
    ]


def test_a_terminal_shows_the_display_of_a_batch_below_the_other_lines(now, monkeypatch):
    monkeypatch.setattr(batch_progress.time, "monotonic", lambda: now["s"])
    told = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    progress = BatchProgress(2, 2000, "image", stream=told)
    now["s"] += 1
    progress.finish(500, 1)
    assert "25 %" in told.getvalue()
    assert "1 of 2 images, 1 frames" not in told.getvalue()
    assert "1 of 2 images, 0:00:03 left" in told.getvalue()
    progress.hide()
    assert told.getvalue().endswith("\x1b[?25h\r\x1b[1A\x1b[2K")

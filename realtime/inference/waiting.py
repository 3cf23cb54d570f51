"""Something that takes long and says nothing: its user is told what it is, and for how long it has been going on."""

import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TextIO, TypeVar

from realtime.formatting import clock

REFRESH_S = 1.0

Value = TypeVar("Value")


def wait_aloud(what: str, work: Callable[[], Value], stream: TextIO | None = None) -> Value:
    """Do ``work`` and return its result; meanwhile one line says ``what``, on a terminal with the time that has passed.

    It is done in a thread of its own, so that Ctrl+C ends the wait at once, even where the work cannot be stopped.

    Raises:
        BaseException: what ``work`` raises.
    """
    out = stream or sys.stderr
    future: Future[Value] = Future()
    started_s = time.monotonic()
    thread = threading.Thread(target=_run, args=(work, future), name="wait", daemon=True)
    thread.start()
    if not out.isatty():
        out.write(f"{what} …\n")
    while thread.is_alive():
        if out.isatty():
            out.write(f"\r{what} … {clock(time.monotonic() - started_s)}")
        out.flush()
        thread.join(REFRESH_S)
    ended = f"after {clock(time.monotonic() - started_s)}\n"
    out.write(f"\r{what} … {ended}" if out.isatty() else ended)
    return future.result()


def _run(work: Callable[[], Value], future: "Future[Value]") -> None:
    try:
        future.set_result(work())
    except BaseException as error:  # raised again by who waits
        future.set_exception(error)

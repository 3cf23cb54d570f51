"""A line on the terminal with the time that has passed, for work that takes minutes and reports nothing itself."""

import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TextIO, TypeVar

from realtime.formatting import clock

REFRESH_S = 1.0

Value = TypeVar("Value")


def show_elapsed_time(message: str, work: Callable[[], Value], stream: TextIO | None = None) -> Value:
    """Run ``work`` and return its result, with ``message`` and, on a terminal, the elapsed time shown meanwhile.

    The work runs in a thread of its own, so that Ctrl+C ends the wait at once even where the work cannot be stopped.

    Args:
        message: what is being done.
        work: takes no arguments.
        stream: where the line goes; by default standard error.

    Raises:
        BaseException: what ``work`` raises.
    """
    out = stream or sys.stderr
    future: Future[Value] = Future()
    started_s = time.monotonic()
    thread = threading.Thread(target=_run, args=(work, future), name="wait", daemon=True)
    thread.start()
    if not out.isatty():
        out.write(f"{message} …\n")
    while thread.is_alive():
        if out.isatty():
            out.write(f"\r{message} … {clock(time.monotonic() - started_s)}")
        out.flush()
        thread.join(REFRESH_S)
    ended = f"after {clock(time.monotonic() - started_s)}\n"
    out.write(f"\r{message} … {ended}" if out.isatty() else ended)
    return future.result()


def _run(work: Callable[[], Value], future: "Future[Value]") -> None:
    try:
        future.set_result(work())
    except BaseException as error:  # raised again in the waiting thread
        future.set_exception(error)

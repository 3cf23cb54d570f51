"""``realtime cam`` with its window on a virtual screen."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from fakes import WAIT_S, stub_model
from test_window import xdotool

ENDLESS_PAUSE = "import realtime.sources.reconnecting as r; r.FIRST_PAUSE_S = 600"
"""A camera that is not there is tried once more, but not within a test."""


class CamWindow:
    """The command while it runs."""

    def __init__(self, process: "subprocess.Popen[str]", environment: Mapping[str, str]) -> None:
        self.process = process
        self._environment = environment
        self.window: str = xdotool(environment, "search", "--sync", "--onlyvisible", "--name", "^realtime$")[0]

    def press(self, *keys: str) -> None:
        """Press keys, or what else xdotool takes after ``key``."""
        xdotool(self._environment, "windowfocus", "--sync", self.window, "key", *keys)

    def click(self, x: int, y: int) -> None:
        """Click into the window."""
        xdotool(self._environment, "mousemove", "--window", self.window, str(x), str(y), "click", "1")

    def wait_for(self, words: str) -> None:
        """Read its messages up to one with these words."""
        assert self.process.stderr
        while words not in (line := self.process.stderr.readline()):
            assert line, "it ended"

    def quit(self, *keys: str) -> list[str]:
        """Press the quit key, after others; the rest of its messages."""
        self.press(*keys, "q")
        _, errors = self.process.communicate(timeout=WAIT_S)
        assert self.process.returncode == 0, errors
        assert "Traceback" not in errors
        return errors.splitlines()


@contextmanager
def cam_window(folder: Path, environment: Mapping[str, str], *options: str, before: str = "") -> Iterator[CamWindow]:
    """Start ``realtime cam`` with a stub model in a folder; ``before`` is Python to run first."""
    stub_model(folder / "m.onnx")
    code = "; ".join(filter(None, (before, "from realtime.cli import run_cli; run_cli()")))
    process = subprocess.Popen(
        [sys.executable, "-c", code, "cam", "--model", "m.onnx", "--provider", "cpu", *options],
        cwd=folder, env=environment, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield CamWindow(process, environment)
    finally:
        process.kill()
        process.communicate()

"""Each check in a process of its own, so that a library that crashes, hangs or prints affects that check only."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable

from realtime.doctor.findings import Finding, Level
from realtime.errors import one_line

Check = Callable[..., list[Finding]]


def run_isolated(name: str, *arguments: str, timeout_s: float, if_broken: Level) -> list[Finding]:
    """Run a check of ``CHECKS`` by its name.

    Args:
        name: of the check.
        arguments: its arguments.
        timeout_s: after which it is killed.
        if_broken: level of the finding if the check itself dies.
    """
    # -P and this process's path: the check must find the same modules as the app, whatever the current folder holds.
    command = [sys.executable, "-P", "-m", "realtime.doctor", name, *arguments]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    try:
        done = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired:
        return [Finding(if_broken, f"{name}: no answer within {timeout_s:.0f} s", "it hangs; try again, or report it")]
    except OSError as error:
        return [Finding(if_broken, f"{name}: cannot start {sys.executable}: {error.strerror}", "")]
    messages = done.stderr.decode(errors="replace").strip().splitlines()
    try:
        return [Finding.from_json(values) for values in json.loads(done.stdout)]
    except (ValueError, KeyError, TypeError):
        message = f": {one_line(messages[-1])}" if messages else ""
        return [Finding(if_broken, f"{name}: the check {_how_it_ended(done.returncode)}{message}", _REINSTALL)]


_REINSTALL = "a library is broken; install the app again in a new virtual environment"


def _how_it_ended(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"crashed ({signal.Signals(-code).name})"
    except ValueError:
        return f"crashed (signal {-code})"


def answer(check: Check, arguments: list[str]) -> None:
    """Run a check in this process and write its findings as JSON to standard output.

    Libraries print there too, even from C; so the descriptor is redirected first.
    """
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as real_output:
        os.dup2(2, 1)
        findings = [finding.to_json() for finding in check(*arguments)]
        json.dump(findings, real_output)
        real_output.flush()
        os._exit(0)  # libraries may crash while they are unloaded, which does not matter here

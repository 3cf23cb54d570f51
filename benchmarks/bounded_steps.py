"""Commands that run one after the other, each bounded in time, whatever becomes of those before it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
LEAST_S = 5.0
"""A step that would have less time than this is not begun."""
LAST_LINES = 2
MAX_REASON = 300
"""Lines of its output that say why a step failed, and their length at most."""

Figures = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Step:
    """One command, and how to read what it measured."""

    name: str
    command: Sequence[str]
    limit_s: float
    figures: Callable[[str], Figures] = field(default=lambda _: {})
    """Given its standard output, plain JSON values by the names that the table shows."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a step."""

    name: str
    result: str
    """``ok``, ``failed``, ``out of time`` or ``skipped``."""
    seconds: float
    figures: Figures = field(default_factory=dict)
    reason: str | None = None


def run_steps(steps: Sequence[Step], out: Path, seconds: float, say: Callable[[str], None]) -> list[Outcome]:
    """Run all steps within ``seconds``; their output goes to ``NAME.log`` in ``out``."""
    end = time.monotonic() + seconds
    outcomes = []
    for step in steps:
        left_s = end - time.monotonic()
        if left_s < LEAST_S:
            outcomes.append(Outcome(step.name, "skipped", 0.0, reason="no time is left"))
            continue
        say(f"{step.name} …")
        outcomes.append(run_step(step, out / f"{step.name}.log", min(step.limit_s, left_s)))
    return outcomes


def run_step(step: Step, log: Path, limit_s: float) -> Outcome:
    """Run one step for at most ``limit_s``, then end it with all processes that it started."""
    started = time.monotonic()
    try:
        output, code = _run(step.command, log, limit_s)
    except OSError as error:
        return Outcome(step.name, "failed", 0.0, reason=str(error))
    seconds = round(time.monotonic() - started, 1)
    try:
        figures, reason = step.figures(output), None
    except Exception as error:  # whatever an incomplete file or output leads to
        figures, reason = {}, f"its figures cannot be read: {type(error).__name__}: {error}"
    if code is None:
        return Outcome(step.name, "out of time", seconds, figures, f"ended after {limit_s:.0f} s")
    if code:
        last = " | ".join(log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-LAST_LINES:])
        return Outcome(step.name, "failed", seconds, figures, f"exit code {code}: {last[-MAX_REASON:]}")
    return Outcome(step.name, "failed" if reason else "ok", seconds, figures, reason)


def table(outcomes: Sequence[Outcome]) -> str:
    """The outcomes as an aligned table: a line for each step, and one for each of its figures."""
    width = max(len(outcome.name) for outcome in outcomes) + 2
    lines = [f"{'step':<{width}}{'result':<13}{'seconds':>8}"]
    for outcome in outcomes:
        lines.append(f"{outcome.name:<{width}}{outcome.result:<13}{outcome.seconds:>8.1f}")
        lines += [f"{'':<{width}}{name}: {value}" for name, value in outcome.figures.items()]
        lines += [f"{'':<{width}}{outcome.reason}"] if outcome.reason else []
    return "\n".join(lines)


def script(name: str, *arguments: object) -> list[str]:
    """The command of a script in this folder."""
    return [sys.executable, str(Path(__file__).parent / name), *map(str, arguments)]


def module(name: str, *arguments: object) -> list[str]:
    """The command of a package."""
    return [sys.executable, "-m", name, *map(str, arguments)]


def _run(command: Sequence[str], log: Path, limit_s: float) -> tuple[str, int | None]:
    """Standard output, and the exit code; None if the time was over. The log also has standard error."""
    # What a site directory given by PYTHONPATH holds, such as another onnxruntime, stays.
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "PYTHONUNBUFFERED": "1"}
    errors = log.with_suffix(".err")
    with log.open("wb") as stdout, errors.open("wb") as stderr:
        process = subprocess.Popen(
            command, stdout=stdout, stderr=stderr, stdin=subprocess.DEVNULL, env=environment, start_new_session=True
        )
        try:
            code: int | None = process.wait(limit_s)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            with suppress(ProcessLookupError):  # those that it started and left behind
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    output = log.read_text(encoding="utf-8", errors="replace")
    with log.open("a", encoding="utf-8") as file:
        file.write(errors.read_text(encoding="utf-8", errors="replace"))
    errors.unlink()
    return output, code

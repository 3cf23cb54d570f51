"""The machine that is measured on, and figures of several rounds."""

import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from realtime.inference.cores import core_count


def describe() -> dict[str, Any]:
    """What the figures of a run depend on, as plain JSON values."""
    return {"cpu": cpu_name(), "cores": core_count(), "platform": platform.platform()}


def named(machine: dict[str, Any]) -> str:
    """What ``describe`` gave, in the words of a table's last line."""
    return f"{machine['cpu']}, {machine['cores']} cores"


def cpu_name() -> str:
    """The processor's name, as far as the system tells."""
    info = Path("/proc/cpuinfo")
    for line in info.read_text().splitlines() if info.exists() else []:
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def spread(rounds: Sequence[float]) -> dict[str, float]:
    """Median and quartiles of the figures of several rounds."""
    low, middle, high = np.percentile(rounds, [25, 50, 75]).tolist()
    return {"median": round(middle, 4), "q1": round(low, 4), "q3": round(high, 4)}


def spread_of_each(rounds: Sequence[dict[str, float]]) -> dict[str, dict[str, float]]:
    """``spread`` of each of the figures that all rounds have."""
    return {name: spread([figures[name] for figures in rounds]) for name in rounds[0]}


def python_path(folder: Path) -> str:
    """A ``PYTHONPATH`` with a folder before those that this process has."""
    return os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])

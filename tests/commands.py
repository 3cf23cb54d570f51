"""Commands that a page shows, and running them as a reader would."""

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

from typer.testing import CliRunner

SMALL = "--size 64 --batch-size 4 --workers 0"
SMALLER = [
    ("fit data.yaml --arch nano", f"fit data.yaml --arch nano {SMALL}"),
    ("fit data.yaml --weights nano", f"fit data.yaml --weights nano {SMALL}"),
    ("--time 10m --out mine", "--time 60s --size 64 --workers 0 --out mine"),
    ("--epochs 100", "--epochs 1"),
    ("--epochs 30", "--epochs 1"),
    ("--time 8m --sizes 192,256", "--time 30s --sizes 64,96"),
    ("--size 256x256", "--size 64x64"),
    ("--search 20", "--search 2"),
]


def commands_of(page: Path) -> list[str]:
    """The lines of all ``sh`` blocks of a page."""
    blocks = re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


def help_of(command: str) -> str:
    """What a command such as ``realtime cam`` prints with ``--help``; in this process, since torch takes seconds."""
    program, *arguments = command.removeprefix("python -m ").split()
    app = importlib.import_module(f"{program}.cli").app
    return CliRunner().invoke(app, [*arguments, "--help"], env={"COLUMNS": "200"}, catch_exceptions=False).output


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run one command line with this environment's programs, without a display; what takes long is made small."""
    bin_folder = Path(sys.executable).parent
    environment = os.environ | {"PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "200"}
    environment["WANDB_MODE"] = "offline"
    for name in ("DISPLAY", "MLFLOW_TRACKING_URI"):
        environment.pop(name, None)
    for long, small in SMALLER:
        command = command.replace(long, small)
    return subprocess.run(
        command.split(), cwd=folder, env=environment, capture_output=True, text=True, timeout=600, check=False
    )


def python_of(page: Path) -> list[str]:
    """The ``python`` blocks of a page."""
    return re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def run_python(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a block in a fresh interpreter."""
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=600, check=False
    )

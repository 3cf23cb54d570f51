"""``realtime train`` and ``realtime export``: the command lines of those packages, imported only when called."""

import signal
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import typer

from realtime.errors import RealtimeError
from realtime.stopping import stop_signals

ROOT = Path(__file__).resolve().parents[2]
"""Folder of the packages."""
FORWARD = {"allow_extra_args": True, "ignore_unknown_options": True, "allow_interspersed_args": False}
"""Context settings of a command that leaves all its arguments to another command line."""
INSTALL = "pip install 'facial-feature-rcnn[train]'"


def train(context: typer.Context) -> None:
    """Train a detector on your own labels, and evaluate it."""
    _check_package("train")
    try:
        from train.cli import run_cli
    except ModuleNotFoundError as error:
        raise _missing("train", error) from error
    _run(run_cli, context)


def export(context: typer.Context) -> None:
    """Turn a checkpoint into the ONNX file that the app runs, and verify it."""
    _check_package("export")
    try:
        from export.cli import run_cli
    except ModuleNotFoundError as error:
        raise _missing("export", error) from error
    _run(run_cli, context)


def _check_package(name: str) -> None:
    """Refuse a module of the user's that ``python -m realtime`` would find first in the current folder.

    Raises:
        RealtimeError: ``name`` is not the package beside this one.
    """
    spec = find_spec(name)
    if spec is None:
        raise RealtimeError(f"cannot run realtime {name}: the package {name} is not installed")
    found = spec.origin or "a folder of that name"
    if Path(found).resolve() != ROOT / name / "__init__.py":
        raise RealtimeError(f"cannot run realtime {name}: {found} hides the package {name}; use another working folder")


def _missing(command: str, error: ModuleNotFoundError) -> RealtimeError:
    return RealtimeError(f"cannot run realtime {command}: {error.name} is not installed. Install it with: {INSTALL}")


def _run(run_cli: Callable[[list[str], str], None], context: typer.Context) -> None:
    # As python -m would start it: training stops between two steps, and its worker processes inherit the handlers.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in stop_signals():
        if number is not signal.SIGINT:
            signal.signal(number, signal.SIG_DFL)
    run_cli(context.args, context.command_path)

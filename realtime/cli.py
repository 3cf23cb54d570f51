"""Command line of the app: ``realtime``."""

import errno
import os
import sys
import threading
from typing import Annotated

import typer

from realtime.commands.bench import bench
from realtime.commands.cam import cam
from realtime.commands.console import print_error, print_message
from realtime.commands.doctor import doctor
from realtime.commands.image import image
from realtime.commands.label import label
from realtime.commands.parsing import AppCommand, AppGroup
from realtime.commands.serve import serve
from realtime.commands.training import FORWARD, export, train
from realtime.commands.video import video
from realtime.errors import RealtimeError
from realtime.standard_streams import accept_any_text, open_missing
from realtime.stopping import cause_in, raise_on_signals

OWN_THREADS = {"capture", "receive", "encode", "wait"}

app = typer.Typer(
    cls=AppGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
    help="Detect faces, eyes, eyebrows, noses and mouths, live.",
)
for command in (cam, serve, video, image, bench, doctor):
    app.command(cls=AppCommand)(command)
app.command(cls=AppCommand, rich_help_panel="Your own model")(label)
for forwarded in (train, export):
    app.command(context_settings=FORWARD, add_help_option=False, rich_help_panel="Your own model")(forwarded)


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - typer calls it with the option's value
    if not wanted:
        return
    from importlib.metadata import PackageNotFoundError, version

    try:
        number = version("facial-feature-rcnn")
    except PackageNotFoundError:  # run from a checkout that is not installed
        number = "of an unknown version"
    typer.echo(f"realtime {number}")
    raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option(help="Show the traceback of an error.")] = False,
) -> None:
    """Common options."""


def run_cli() -> None:
    """Entry point: one line on stderr and exit code 1 for what the user can mend; 130 after Ctrl+C, 143 on SIGTERM."""
    try:
        _run()
    except SystemExit as leaving:
        if _hangs_in_a_library() and isinstance(leaving.code, int):
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(leaving.code)
        raise


def _run() -> None:
    open_missing()
    raise_on_signals()
    accept_any_text()
    # OpenCV would print lines of its own for a camera or image that it cannot open; it reads this when imported.
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    try:
        app()
    except RealtimeError as error:
        if "--debug" in sys.argv:
            raise
        print_error(error)
        sys.exit(1)
    except OSError as error:
        reason = _reason(error)
        if reason is None or "--debug" in sys.argv:
            raise
        print_error(RealtimeError(reason))
        sys.exit(1)
    except BaseException as error:
        stopped = cause_in(error)
        if stopped is None or "--debug" in sys.argv:
            raise
        print_message("stopped")
        sys.exit(stopped.exit_code)


def _reason(error: OSError) -> str | None:
    """What to tell of an error that no command expects; None if it is a fault of the program."""
    if error.errno == errno.ENAMETOOLONG:
        return f"cannot open {error.filename}: its name is longer than the file system allows"
    if error.filename is None and error.errno in {errno.ENOSPC, errno.EIO, errno.EBADF}:
        return f"cannot write to standard output: {error.strerror}"
    return None


def _hangs_in_a_library() -> bool:
    """Whether a thread was given up, in a read of a dead stream for example: it would return into a dead interpreter.

    Everything is closed by now but what that thread holds, and to wait for it could take as long as the time limits.
    """
    return any(thread.name in OWN_THREADS and thread.is_alive() for thread in threading.enumerate())

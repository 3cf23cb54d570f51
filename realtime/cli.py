"""Command line of the app: ``realtime``."""

import os
import sys
import threading
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from realtime.commands.arguments import name_blurred
from realtime.commands.bench import bench
from realtime.commands.cam import cam
from realtime.commands.doctor import doctor
from realtime.commands.image import image
from realtime.commands.running import tell_error
from realtime.commands.video import video
from realtime.errors import RealtimeError
from realtime.redaction import redacted
from realtime.stopping import cause_in, raise_on_signals


class Commands(TyperGroup):
    """Repeats no password when it complains of a word that it did not expect."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except Exception as error:  # the errors of usage have no public name, but a message
            if "message" in vars(error):
                vars(error)["message"] = redacted(vars(error)["message"])
            raise


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Find face, eyes, eyebrows, nose and mouth, live.",
)
for command in (cam, video, image, bench, doctor):
    app.command()(command)


@app.callback()
def main(debug: Annotated[bool, typer.Option(help="Show the traceback of an error.")] = False) -> None:
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
    raise_on_signals()
    # OpenCV would print lines of its own for a camera or picture that it cannot open; it reads this when imported.
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    try:
        app(name_blurred(sys.argv[1:]))
    except RealtimeError as error:
        if "--debug" in sys.argv:
            raise
        tell_error(error)
        sys.exit(1)
    except BaseException as error:
        stopped = cause_in(error)
        if stopped is None or "--debug" in sys.argv:
            raise
        typer.echo("stopped", err=True)
        sys.exit(stopped.exit_code)


def _hangs_in_a_library() -> bool:
    """Whether a thread was given up, in a read of a dead stream say: it would return into an interpreter that is gone.

    Everything is closed by now but what that thread holds, and to wait for it could take as long as the time limits.
    """
    return any(thread.daemon and thread.is_alive() for thread in threading.enumerate())

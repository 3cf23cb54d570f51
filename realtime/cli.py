"""Command line of the app: ``realtime``."""

import os
import sys
from typing import Annotated

import typer

from realtime.commands.arguments import name_blurred
from realtime.commands.bench import bench
from realtime.commands.cam import cam
from realtime.commands.image import image
from realtime.commands.video import video
from realtime.errors import RealtimeError
from realtime.stopping import Stopped, raise_on_signals

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Find face, eyes, eyebrows, nose and mouth, live.",
)
for command in (cam, video, image, bench):
    app.command()(command)


@app.callback()
def main(debug: Annotated[bool, typer.Option(help="Show the traceback of an error.")] = False) -> None:
    """Common options."""


def run_cli() -> None:
    """Entry point: one line on stderr and exit code 1 for what the user can mend; 130 after Ctrl+C, 143 on SIGTERM."""
    raise_on_signals()
    # OpenCV would print lines of its own for a camera or picture that it cannot open; it reads this when imported.
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    try:
        app(name_blurred(sys.argv[1:]))
    except RealtimeError as error:
        if "--debug" in sys.argv:
            raise
        typer.echo(f"error: {error}", err=True)
        sys.exit(1)
    except Stopped as stopped:
        if "--debug" in sys.argv:
            raise
        typer.echo("stopped", err=True)
        sys.exit(stopped.exit_code)

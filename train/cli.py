"""Command line of the training package: ``python -m train``."""

import sys
from typing import Annotated

import typer

from realtime.standard_streams import accept_any_text
from train.commands.data import check, preview
from train.commands.evaluation import average, calibrate, evaluate, predict
from train.commands.fit import fit
from train.commands.quick import quick
from train.errors import TrainError, missing_extra
from train.loop.interrupt import InterruptedRunError
from train.prepare.cli import app as prepare_app

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
    help="Train and evaluate a Faster R-CNN on a data set in YOLO format.",
)
app.add_typer(prepare_app, name="prepare")
for command in (check, preview, quick, fit, evaluate, average, calibrate, predict):
    app.command()(command)


@app.callback()
def main(
    debug: Annotated[bool, typer.Option(help="Show the traceback of an error.")] = False,
) -> None:
    """Common options."""


def run_cli(arguments: list[str] | None = None, program: str | None = None) -> None:
    """Entry point: one line on stderr and exit code 1 for an error that the user can fix.

    ``arguments`` are by default those of the process; ``program`` is the name that usage lines show for it.
    """
    accept_any_text()
    try:
        app(args=arguments, prog_name=program)
    except ModuleNotFoundError as error:  # one that is imported only when it is used
        sys.exit(missing_extra(program or "python -m train", error))
    except (TrainError, OSError) as error:  # OSError: for example, the disk is full
        if "--debug" in sys.argv:
            raise
        typer.echo(f"error: {error}", err=True)
        sys.exit(1)
    except InterruptedRunError as stopped:
        typer.echo(str(stopped), err=True)
        sys.exit(stopped.exit_code)

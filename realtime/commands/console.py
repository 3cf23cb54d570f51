"""What the commands print: results to standard output, everything else to standard error."""

from collections.abc import Iterable

import typer

from realtime.errors import RealtimeError, SinkError, one_line
from realtime.redaction import redacted
from realtime.stopping import StopRequests


def print_result(text: str) -> None:
    """Print to standard output.

    Raises:
        SinkError: it cannot be written, to a full disk for example; a reader that has gone away (``| head``) is no
            error.
    """
    try:
        typer.echo(text)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise SinkError(f"cannot write to standard output: {error.strerror}") from error


def print_error(error: RealtimeError) -> None:
    """One line for the user, as the whole command would end with."""
    typer.echo(f"error: {printable(error)}", err=True)


def print_message(text: str) -> None:
    """One line for the user that is no error."""
    typer.echo(text, err=True)


def printable(text: object) -> str:
    """One line that can be shown: file names and errors may hold anything, addresses given for files passwords."""
    return redacted(one_line(text, limit=2000))


class Notices:
    """Lines that help the user of a run that goes well: held back until it does, so that an error stands alone."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def add(self, lines: Iterable[str]) -> None:
        """Keep lines to print."""
        self._lines += lines

    def print(self) -> None:
        """Print the lines that were not printed yet."""
        for line in self._lines:
            print_message(printable(line))
        self._lines.clear()


def exit_if_stopped(requests: StopRequests, message: str | None = None) -> None:
    """End the command with the code of the signal that stopped it, if one did; ``message`` says what was done."""
    if requests.exit_code is not None:
        if message:
            print_message(message)
        raise typer.Exit(requests.exit_code)

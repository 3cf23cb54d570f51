"""What the commands print: results to standard output, everything else to standard error."""

from collections.abc import Iterable
from pathlib import Path

import typer

from realtime.errors import RealtimeError, SinkError, one_line
from realtime.formatting import listed
from realtime.redaction import redacted
from realtime.stopping import StopRequests
from realtime.wording import error_line


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
    typer.echo(f"error: {printable(error_line(error))}", err=True)


def print_message(text: str) -> None:
    """One line for the user that is no error."""
    typer.echo(text, err=True)


def printable(text: object) -> str:
    """One line that can be shown: file names and errors may hold anything, addresses given for files passwords."""
    if isinstance(text, Path) and ":/" in str(text):
        from realtime.batch.addresses import url_of

        text = url_of(text) or text
    return redacted(one_line(text, limit=2000))


def wrote(*outputs: Path | None) -> str:
    """The end of a closing line, which names the files and folders that were written; empty if there are none."""
    from realtime.sinks.text_file import STANDARD_OUTPUT

    names = [printable(path) for path in outputs if path is not None and path != STANDARD_OUTPUT]
    return f"; wrote {listed(names)}" if names else ""


class Notices:
    """Lines that help the user of a run that goes well: held back until it does, so that an error stands alone."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = list(lines)

    def put_first(self, lines: Iterable[str]) -> None:
        """Add lines before the others."""
        self._lines[:0] = lines

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

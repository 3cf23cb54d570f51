"""Standard output and standard error in every locale."""

import io
import sys


def accept_any_text() -> None:
    r"""Write characters that the locale's encoding lacks, or that are none, as escapes such as ``\u2026``.

    Else a help text ends with an error in the locale C, and so does a file name that is not in the locale's encoding.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")

"""Standard output and standard error in every locale, and where there are none."""

import io
import os
import sys


def accept_any_text() -> None:
    r"""Write characters that the locale's encoding lacks, or that are none, as escapes such as ``\u2026``.

    Else a help text ends with an error in the locale C, and so does a file name that is not in the locale's encoding.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def open_missing() -> None:
    """Open the standard streams that the caller has closed (``2>&-``, a daemon), before a file gets their number.

    Libraries write to standard error by its number, into whatever has it. What is written to it is lost; standard
    output is opened to read only, so that results that are printed there end in an error.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_WRONLY if name == "stderr" else os.O_RDONLY)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
        if getattr(sys, name) is None:
            raw = io.FileIO(number, "r" if name == "stdin" else "w", closefd=False)
            setattr(sys, name, io.TextIOWrapper(raw, encoding="utf-8", write_through=True))

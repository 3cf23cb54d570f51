"""Text files as editors and spreadsheets write them: UTF-8, or UTF-16 with a byte-order mark."""

import codecs
import re
from pathlib import Path

from train.errors import TrainError

UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
"""What PowerShell's ``>`` and some editors of Windows begin a file with."""
MARKS = re.compile("^\ufeff+", re.MULTILINE)


def decode_text(content: bytes, errors: str = "strict") -> str:
    r"""The text of a file's bytes, without byte-order marks, line ends as ``\n``.

    A mark may begin any line: files that each begin with one are joined to longer ones. ``errors`` is that of
    ``bytes.decode``.

    Raises:
        UnicodeDecodeError: it is neither UTF-8 nor, with a mark, UTF-16.
    """
    text = content.decode("utf-16" if content.startswith(UTF16_MARKS) else "utf-8", errors)
    return MARKS.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


def read_text(path: Path, errors: str = "strict") -> str:
    """Text of a file, as ``decode_text`` gives it.

    Raises:
        TrainError: it cannot be read, or is no such text.
    """
    try:
        return decode_text(path.read_bytes(), errors)
    except UnicodeDecodeError:
        raise TrainError(f"cannot read {path}: not a UTF-8 text file") from None
    except OSError as error:
        raise TrainError(f"cannot read {path}: {error.strerror or error}") from error

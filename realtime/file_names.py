"""Names of files: those that systems leave behind, and those that not every library can open."""

import os
from pathlib import Path

SYSTEM_NAMES = frozenset({"__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin", "@eadir"})
"""What Windows, macOS and network storage put into folders, in small letters."""

DASH = Path("-")
"""Among inputs, standard input unless there is a file of that name; among outputs, standard output."""
STANDARD_INPUT = Path("/dev/stdin")


def input_path(given: str | Path) -> Path:
    """The path of an input that the user gave."""
    path = Path(given)
    return STANDARD_INPUT if path == DASH and not path.exists() else path


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is not the user's own content: hidden ones too, such as ``._a.jpg``."""
    return name.startswith(".") or name.lower() in SYSTEM_NAMES


def is_hidden_below(path: Path, folder: Path) -> bool:
    """Whether a file, or a folder between it and ``folder``, is hidden."""
    return any(map(is_hidden, path.relative_to(folder).parts))


def is_utf8(path: Path) -> bool:
    """Whether the name on the disk is that of the path in UTF-8, which is what C++ libraries are given.

    Elsewhere Python has surrogates in the name (PEP 383), which OpenCV answers with a crash and onnxruntime with an
    error; in a locale of another encoding they would open another file.
    """
    try:
        return os.fsencode(path) == str(path).encode()
    except UnicodeEncodeError:
        return False

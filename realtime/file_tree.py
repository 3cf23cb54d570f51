"""Files below a folder, links to folders included."""

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from realtime.file_names import is_hidden


def files_below(
    folder: Path,
    *,
    is_left_out: Callable[[Path], bool] = lambda _: False,
    on_error: Callable[[OSError], object] | None = None,
) -> list[Path]:
    """All files in a folder and the folders below it, sorted; each real folder is searched once.

    Hidden files and folders, those that systems leave behind, and what is no file, such as a named pipe, are left out.

    Links to folders are followed, after all real folders: a folder that is reached both ways counts under its own name.
    A link to a folder that holds the link is a loop and is not followed.

    Args:
        folder: where to begin.
        is_left_out: whether a folder is not searched; called with its path without links.
        on_error: called with what is wrong with a folder that cannot be read; by default, it is left out.
    """
    seen: set[Path] = set()
    found: list[Path] = []
    roots = [folder]
    while roots:
        links: list[Path] = []
        for root in roots:
            found += _files_of_tree(root, seen, links, is_left_out, on_error)
        roots = sorted(link for link in links if not link.parent.resolve().is_relative_to(link.resolve()))
    return sorted(found)


def _files_of_tree(
    root: Path,
    seen: set[Path],
    links: list[Path],
    is_left_out: Callable[[Path], bool],
    on_error: Callable[[OSError], object] | None,
) -> Iterator[Path]:
    """Files of a tree without the links to folders in it, which are added to ``links``."""
    for name, folders, files in os.walk(root, onerror=on_error):
        here, real = Path(name), Path(name).resolve()
        if real in seen or is_left_out(real):
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [sub for sub in folders if not is_hidden(sub)]
        linked = [sub for sub in folders if (here / sub).is_symlink()]
        links += [here / sub for sub in linked]
        folders[:] = [sub for sub in folders if sub not in linked]
        yield from (here / file for file in files if not is_hidden(file) and _is_file(here / file))


def _is_file(path: Path) -> bool:
    """Whether it is one, or a link that leads nowhere; whoever reads a pipe in a folder would wait for ever."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return True

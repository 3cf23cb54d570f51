"""Files below a folder, links to folders included."""

import os
from collections.abc import Iterator
from pathlib import Path

from realtime.file_names import is_hidden


def files_below(folder: Path) -> list[Path]:
    """All files in a folder and the folders below it, sorted; each real folder is searched once.

    Hidden files and folders, and those that systems leave behind, are left out.

    Links to folders are followed, after all real folders: a folder that is reached both ways counts under its own name.
    A link to a folder that holds the link is a loop and is not followed.
    """
    seen: set[Path] = set()
    found: list[Path] = []
    roots = [folder]
    while roots:
        links: list[Path] = []
        for root in roots:
            found += _files_of_tree(root, seen, links)
        roots = sorted(link for link in links if not link.parent.resolve().is_relative_to(link.resolve()))
    return sorted(found)


def _files_of_tree(root: Path, seen: set[Path], links: list[Path]) -> Iterator[Path]:
    """Files of a tree without the links to folders in it, which are added to ``links``."""
    for name, folders, files in os.walk(root):
        here, real = Path(name), Path(name).resolve()
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [sub for sub in folders if not is_hidden(sub)]
        linked = [sub for sub in folders if (here / sub).is_symlink()]
        links += [here / sub for sub in linked]
        folders[:] = [sub for sub in folders if sub not in linked]
        yield from (here / file for file in files if not is_hidden(file))

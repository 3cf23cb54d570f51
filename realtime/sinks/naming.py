"""Names of the files that keys of the window create."""

from collections.abc import Collection
from datetime import datetime
from itertools import count
from pathlib import Path


def stamped_paths(folder: Path, *suffixes: str, taken: Collection[Path] = (), camera: str = "") -> list[Path]:
    """One path for each suffix, all named by the same time in milliseconds; none of them exists or is ``taken``.

    ``camera``: its name, where there are several.
    """
    stamp = f"realtime-{f'{camera}-' if camera else ''}{datetime.now():%Y%m%d-%H%M%S-%f}"[:-3]
    for number in count(1):
        stem = stamp if number == 1 else f"{stamp}_{number}"
        paths = [folder / f"{stem}{suffix}" for suffix in suffixes]
        if not any(path.exists() or path in taken for path in paths):
            break
    return paths

"""Names of the files that are made by a key."""

from datetime import datetime
from itertools import count
from pathlib import Path


def stamped_paths(folder: Path, *suffixes: str) -> list[Path]:
    """One path for each suffix, named alike by the time of day to the millisecond; none of them exists."""
    stamp = f"realtime-{datetime.now():%Y%m%d-%H%M%S-%f}"[:-3]
    for number in count(1):
        stem = stamp if number == 1 else f"{stamp}-{number}"
        paths = [folder / f"{stem}{suffix}" for suffix in suffixes]
        if not any(path.exists() for path in paths):
            break
    return paths

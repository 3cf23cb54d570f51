"""Files of a search in its folder; needs nothing but the standard library."""

from pathlib import Path

STUDY_FILE = "search.db"


def is_search(out: Path) -> bool:
    """Whether a folder is that of a search."""
    return (out / STUDY_FILE).is_file()


def trial_folder(out: Path, number: int) -> Path:
    """Folder of the run of a trial."""
    return out / f"trial-{number:03}"

"""Finding the files that a command works on."""

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from realtime.batch import addresses
from realtime.errors import SourceError
from realtime.file_tree import files_below
from realtime.formatting import counted, listed

MAX_KINDS = 5
"""Kinds of files that are named when some are skipped."""


class Inputs:
    """Files of one kind, in the order in which they were given; those of a folder are sorted, and each is taken once.

    Folders are searched with all that is below them, links to other folders too, as ``realtime.file_tree`` does.
    Folders that the results go to are left out, unless they were given themselves.
    """

    def __init__(self, kind: str, is_taken: Callable[[Path], bool], outputs: Iterable[Path | None] = ()) -> None:
        """Begin without files.

        Args:
            kind: what each file is, such as ``image``.
            is_taken: whether a file of a folder is of that kind.
            outputs: files and folders that are written.
        """
        self.files: list[Path] = []
        self.places: dict[Path, Path] = {}
        """Of each file, where its results go below an output folder: its path below the folder that was searched, so
        that two files of one name do not meet, or else its name."""
        self._kind = kind
        self._is_taken = is_taken
        self._outputs = {path.resolve() for path in outputs if path is not None}
        self._skipped: Counter[str] = Counter()

    def add_file(self, path: Path) -> None:
        """Take a file as it is, whatever its name."""
        self.files.append(path)
        self.places.setdefault(path, Path(path.name))

    def add_folder(self, folder: Path) -> int:
        """Take the files of the right kind in a folder and below it; return how many there are.

        Raises:
            SourceError: a folder cannot be read.
        """
        inside = files_below(folder, is_left_out=self._is_output(folder), on_error=_refuse)
        taken = [path for path in inside if self._is_taken(path)]
        self._skipped.update(path.suffix.lower() for path in set(inside).difference(taken))
        for path in taken:
            if path not in self.places:
                self.files.append(path)
                self.places[path] = path.relative_to(folder)
        return len(taken)

    def add_address(self, address: Path, is_taken: Callable[[Path], bool]) -> int:
        """Take the files of the right kind below an address, or the file that it is; return how many there are.

        Args:
            address: of a folder or file, as ``realtime.batch.addresses`` writes it.
            is_taken: whether a file is of that kind, by its name.

        Raises:
            SourceError: there is nothing there.
        """
        taken, others = addresses.files_below(address, is_taken)
        if taken == [address]:
            self.add_file(address)
            return 1
        self._skipped.update(path.suffix.lower() for path in others)
        for path in taken:
            if path not in self.places:
                self.files.append(path)
                self.places[path] = path.relative_to(address)
        return len(taken)

    @property
    def notices(self) -> list[str]:
        """A line about the files of other kinds in the folders, if there are any."""
        if not self._skipped:
            return []
        common = sorted(self._skipped.items(), key=lambda kind: (-kind[1], kind[0]))[:MAX_KINDS]
        kinds = [f"{count} {suffix or 'without a suffix'}" for suffix, count in common]
        others = self._skipped.total() - sum(count for _, count in common)
        shown = listed([*kinds, f"{others} of other kinds"] if others else kinds)
        return [f"skipped {counted(self._skipped.total(), f'non-{self._kind} file')}: {shown}"]

    def _is_output(self, given: Path) -> Callable[[Path], bool]:
        """Whether a folder is one that the results go to, or lies in one; not if the given one is or does."""
        outputs = self._outputs.difference([given.resolve(), *given.resolve().parents])
        return lambda folder: folder in outputs or not outputs.isdisjoint(folder.parents)


def _refuse(error: OSError) -> None:
    folder = Path(error.filename)
    raise SourceError(f"cannot read the folder {folder}: {error.strerror}", value=folder) from error

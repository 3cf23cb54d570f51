"""What was done, with which input, model and options: a small file for each result."""

import hashlib
import json
import os
import stat
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from realtime.batch.addresses import describe, url_of
from realtime.batch.store import Store
from realtime.batch.tasks import Outcome, Task

FOLDER = "records"
MAX_NAME_BYTES = 200
"""Longer names are replaced by a hash: file systems allow 255 bytes, and something is added to them."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """What a result depends on, apart from its input."""

    model: str
    """SHA-256 of the model's file, and of its wide companion."""
    options: Mapping[str, Any]
    """JSON values of the options that shape the results."""
    version: str
    """Of this program."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {"model": self.model, "options": dict(self.options), "version": self.version}


@dataclass(frozen=True, slots=True)
class Record:
    """What came of a task, as it was noted."""

    key: Mapping[str, Any]
    """Input and conditions."""
    sizes: Mapping[str, int | None]
    """Bytes of each output, by parameter; None for a folder."""
    finished: float
    """Seconds since 1970."""
    error: str | None
    """What went wrong."""
    is_written: bool
    frames: int
    faces: int
    seconds: float
    data: Mapping[str, Any]
    session: str
    """Of the runs that worked at the same time."""

    @classmethod
    def of(cls, task: Task, outcome: Outcome, key: Mapping[str, Any], session: str) -> "Record":
        """The record of a task that is over; ``key`` is that of its input when it began."""
        from realtime.wording import error_line

        return cls(
            key=key,
            sizes=_sizes(task) if outcome.is_written else {},
            finished=time.time(),
            error=None if outcome.error is None else error_line(outcome.error),
            is_written=outcome.is_written,
            frames=outcome.frames,
            faces=outcome.faces,
            seconds=round(outcome.seconds, 3),
            data=outcome.data,
            session=session,
        )

    @classmethod
    def parse(cls, text: bytes) -> "Record":
        """Read a record.

        Raises:
            ValueError: it is damaged, as after a power failure.
        """
        try:
            return cls(**json.loads(text))
        except TypeError as error:
            raise ValueError(str(error)) from error

    def to_bytes(self) -> bytes:
        """As JSON. Bytes of names that are not UTF-8 are escaped."""
        return json.dumps({name: getattr(self, name) for name in self.__slots__}).encode()

    def is_of(self, task: Task, conditions: Conditions) -> bool:
        """Whether the input and all else are still what they were."""
        return self.key == _key(task, conditions)

    def is_valid(self, task: Task, conditions: Conditions) -> bool:
        """Whether the results are there, and would be the same again."""
        return self.is_written and self.is_of(task, conditions) and self.sizes == _sizes(task)


class Records:
    """The records of a batch."""

    def __init__(self, store: Store, conditions: Conditions) -> None:
        self._store = store
        self._conditions = conditions
        self._begun: dict[str, Mapping[str, Any]] = {}

    def read(self, task: Task) -> Record | None:
        """What is known of a task; None if it was never finished."""
        with suppress(ValueError):
            return Record.parse(self._store.read(_file(task)) or b"")
        return None

    def is_of(self, record: Record, task: Task) -> bool:
        """Whether a record says what came of a task as it is now."""
        return record.is_of(task, self._conditions)

    def is_valid(self, record: Record, task: Task) -> bool:
        """Whether a task need not be done again."""
        return record.is_valid(task, self._conditions)

    def begin(self, task: Task) -> None:
        """Remember the input as it is before the work: a file that changes meanwhile has to be done again."""
        self._begun[task.name] = _key(task, self._conditions)

    def write(self, task: Task, outcome: Outcome, session: str) -> Record:
        """Note that a task is over which was begun.

        Raises:
            SinkError: it cannot be written.
        """
        record = Record.of(task, outcome, self._begun.pop(task.name), session)
        self._store.write(_file(task), record.to_bytes())
        return record


def _file(task: Task) -> str:
    return f"{FOLDER}/{file_name(task.name)}"


def file_name(name: str) -> str:
    """The name of the JSON file for a task of this name."""
    folder, slash, last = name.rpartition("/")
    if len(os.fsencode(last)) > MAX_NAME_BYTES:
        last = hashlib.sha256(os.fsencode(last)).hexdigest()
    return f"{folder}{slash}{last}.json"


def _key(task: Task, conditions: Conditions) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if url_of(task.source):
        found = describe(task.source) or {}
    with suppress(OSError):
        status = task.source.stat()
        found = {"size": status.st_size, "mtime_ns": status.st_mtime_ns}
        if not stat.S_ISREG(status.st_mode):  # a pipe holds something else the next time
            found["read_at"] = time.time()
    # Through JSON, so that a tuple equals the list that is read back.
    key: dict[str, Any] = json.loads(json.dumps({"input": found} | conditions.to_dict()))
    return key


def _sizes(task: Task) -> dict[str, int | None]:
    """The size of each output that is there."""
    sizes: dict[str, int | None] = {}
    for parameter, path in task.outputs.items():
        if url_of(path):
            if info := describe(path):
                sizes[parameter] = info["size"]
            continue
        with suppress(OSError):
            sizes[parameter] = None if path.is_dir() else path.stat().st_size
    return sizes


def hash_file(path: Path) -> str:
    """SHA-256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@cache
def package_version() -> str:
    """The version of this program."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("facial-feature-rcnn")
    except PackageNotFoundError:
        return "unknown"

"""Batches of small text files, which workers copy, for tests of what happens around the work."""

import os
import signal
import threading
from dataclasses import dataclass
from pathlib import Path

from realtime.batch.batch import Batch
from realtime.batch.claims import Claims
from realtime.batch.local import ThreadExecutor
from realtime.batch.records import Conditions
from realtime.batch.store import FolderStore
from realtime.batch.tasks import Outcome, Task
from realtime.errors import SourceError

CONDITIONS = Conditions("model", {"threshold": 0.5, "size": (1, 2)}, "1.0")


def made_tasks(folder: Path, contents: dict[str, str]) -> list[Task]:
    """A task for each file of these contents; results go to ``folder/out``."""
    for name, text in contents.items():
        path = folder / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return [
        Task(name, folder / "in" / name, {"out": folder / "out" / name}, number, len(contents))
        for number, name in enumerate(contents, start=1)
    ]


@dataclass(frozen=True)
class Copier:
    """Copies files; what they hold may say that something goes wrong. Each attempt adds a line to ``log``."""

    log: Path
    opened: Path | None = None

    def open(self, cores):
        if self.opened:
            with self.opened.open("a") as file:
                file.write(f"{cores}\n")
        return self

    def process(self, task):
        with self.log.open("a") as file:
            file.write(f"{task.name}\n")
        text = task.source.read_text()
        if text == "unreadable":
            raise SourceError(f"cannot read {task.source}")
        if text == "bug":
            raise KeyError("bug")
        if text == "crash":
            os.kill(os.getpid(), signal.SIGKILL)
        if text == "hang":
            threading.Event().wait()
        if text == "interrupt":
            return Outcome(exit_code=130)
        task.outputs["out"].parent.mkdir(parents=True, exist_ok=True)
        task.outputs["out"].write_text(text)
        damaged = SourceError(f"{task.source} is damaged") if text == "damaged" else None
        return Outcome(error=damaged, frames=len(text), faces=1, seconds=0.1, data={"text": text})

    @property
    def done(self) -> list[str]:
        """The names of the tasks that were begun, one for each attempt."""
        return self.log.read_text().splitlines() if self.log.exists() else []


def batch_of(folder, tasks, executor=None, conditions=CONDITIONS, claims=None, **options):
    """A batch over ``folder``, by default in this thread."""
    store = FolderStore(folder / "out" / ".realtime")
    executor = executor or ThreadExecutor(Copier(folder / "log"))
    return Batch(tasks, store, conditions, executor, claims=claims or Claims(store), **options)

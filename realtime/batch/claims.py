"""Which run works on what, so that several share a batch without doing a file twice."""

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Collection
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from realtime.batch.store import Store

FOLDER, SESSION = "claims", "session.json"
BEAT_S = 10.0
"""How often a run shows that it is alive."""
STALE_S = 60.0
"""A claim that was not renewed for longer belongs to a run that has died, or to a machine that has."""
WRITING_S = 5.0
"""A file of another run that says nothing yet is being written for at most this long; then it is damaged."""
WATCHED_BEATS = 2
"""So long it is watched before it is taken over: a clock that jumps makes every claim look old for a moment."""


class Claims:
    """A file for each task that a run has begun, made by whoever comes first and removed when the task is over.

    A run renews its claims from a thread. A claim is stale, and is taken over, if its process has ended, which a run on
    the same machine sees at once, or if it was not renewed for ``stale_s``. Runs at the same time are of one session,
    by which they know each other's results from those of earlier runs, whatever their clocks say.
    """

    def __init__(self, store: Store, *, beat_s: float = BEAT_S, stale_s: float = STALE_S) -> None:
        """Claim nothing yet.

        Args:
            store: of the batch.
            beat_s: seconds between two renewals.
            stale_s: seconds without one after which a claim is stale.
        """
        self._store = store
        self._beat_s, self._stale_s = beat_s, stale_s
        self._token = uuid.uuid4().hex
        self.session = self._token
        """The same for all runs that work on the batch at the same time."""
        self.taken_over: set[str] = set()
        """Tasks that other runs had begun, which have died meanwhile."""
        self._held: set[str] = set()
        self._old: dict[str, float] = {}
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def join_others(self) -> list[str]:
        """Be of the session of the runs that are alive; return the names of tasks that dead ones have left.

        Raises:
            SinkError: the session cannot be noted.
        """
        left = []
        for file in [*self._store.names(FOLDER)]:
            holder = self._whole_holder(file)
            if self._has_ended(holder):
                left.append(_task_name(file, holder))
                self._remove_stale(file)
            elif not self._is_old(file):
                self.session = holder.get("session", self.session)
        if self.session == self._token and not self._take(SESSION):
            self.session = self._whole_holder(SESSION).get("session", self.session)
        return left

    def take(self, name: str) -> bool:
        """Claim a task; False if another live run has it.

        Raises:
            SinkError: the claim cannot be written.
        """
        return self._take(_file(name), name)

    def release(self, name: str) -> None:
        """Give a task up that this run has claimed."""
        self._release(_file(name))

    def close(self) -> None:
        """Give everything up, and end the thread. May be called twice."""
        for file in tuple(self._held):
            self._release(file)
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _take(self, file: str, name: str = "") -> bool:
        mine = {"run": self._token, "session": self.session, "task": name} | _process()
        data = json.dumps(mine).encode()
        taken = self._store.create(file, data) or self._is_mine(file)  # a lost connection may have hidden that it was
        if not taken and self._remove_stale(file):
            self.taken_over.add(name)
            taken = self._store.create(file, data)
        if taken:
            self._held.add(file)
            self._start_beating()
        return taken

    def _release(self, file: str) -> None:
        self._held.discard(file)
        if self._is_mine(file):  # another run may have taken it over from this one, if the machine was asleep
            self._store.remove(file)

    def _is_mine(self, file: str) -> bool:
        return self._holder(file).get("run") == self._token

    def _start_beating(self) -> None:
        if self._thread is None:
            self._ended.clear()
            self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
            self._thread.start()

    def _beat(self) -> None:
        while not self._ended.wait(self._beat_s):
            for file in tuple(self._held):
                self._store.touch(file)

    def _holder(self, file: str) -> dict[str, Any]:
        """What a claim says; nothing if it is just being written, or damaged."""
        with suppress(ValueError):
            holder = json.loads(self._store.read(file) or b"")
            if isinstance(holder, dict):
                return holder
        return {}

    def _whole_holder(self, file: str) -> dict[str, Any]:
        """What a claim says, once it is written; nothing if it is damaged or gone."""
        until_s = time.monotonic() + WRITING_S
        while not (holder := self._holder(file)) and self._store.read(file) is not None and time.monotonic() < until_s:
            time.sleep(WRITING_S / 100)
        return holder

    def _is_stale(self, file: str, holder: dict[str, Any]) -> bool:
        if holder.get("machine") == _machine():
            return self._has_ended(holder)
        if not self._is_old(file):
            self._old.pop(file, None)
            return False
        return time.monotonic() - self._old.setdefault(file, time.monotonic()) >= WATCHED_BEATS * self._beat_s

    @staticmethod
    def _has_ended(holder: dict[str, Any]) -> bool:
        """Whether it is known that the process has ended."""
        return holder.get("machine") == _machine() and not _is_alive(holder.get("pid"), holder.get("started"))

    def _is_old(self, file: str) -> bool:
        age_s = self._store.age_s(file)
        return age_s is not None and age_s > self._stale_s

    def _remove_stale(self, file: str) -> bool:
        """Remove a stale claim; False if it is not stale, or another run was faster."""
        holder = self._holder(file)
        if not self._is_stale(file, holder):
            return False
        aside = f"stale/{self._token}"
        if not self._store.move(file, aside):
            return False
        if self._holder(aside) == holder:
            self._store.remove(aside)
            return True
        self._store.move(aside, file)  # another run took it over in this very moment
        return False


def _file(name: str) -> str:
    from realtime.batch.records import file_name

    return f"{FOLDER}/{file_name(name)}"


def _task_name(file: str, holder: dict[str, Any]) -> str:
    return str(holder.get("task", file.removeprefix(f"{FOLDER}/").removesuffix(".json")))


@cache
def _process() -> dict[str, Any]:
    """Which process this is: its number is known on this machine alone, and may be given again."""
    return {"machine": _machine(), "host": socket.gethostname(), "pid": os.getpid(), "started": _started(os.getpid())}


@cache
def _machine() -> str:
    """One system of processes: a machine since it was started, or a container on it."""
    parts = [socket.gethostname()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip())
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return " ".join(parts)


def _started(pid: int) -> str:
    """When a process began, in ticks; empty where the system does not say so in a file."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
    except OSError:
        return ""


def _is_alive(pid: object, started: object) -> bool:
    if not isinstance(pid, int):
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is another user's
        return True
    return started == _started(pid)


def held_by_others(store: Store, names: Collection[str]) -> list[str]:
    """Which hosts work on tasks of these names, for a message."""
    hosts = set()
    for name in names:
        with suppress(ValueError):
            hosts.add(str(json.loads(store.read(_file(name)) or b"{}").get("host", "")))
    return sorted(filter(None, hosts))

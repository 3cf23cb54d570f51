"""Whose turn it is: the newest frame of each camera, and jobs that are done between frames."""

import threading
from collections import deque
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import count
from typing import Generic, TypeVar

from realtime.structures import Frame

Key = TypeVar("Key", bound=Hashable)
Done = TypeVar("Done")
MAX_JOBS = 8


class TooManyJobsError(Exception):
    """So many jobs wait already that one more would wait for too long."""


@dataclass(frozen=True, slots=True)
class Job:
    """Work that needs the detector; ``future`` gets what it returns or raises."""

    work: Callable[[], object]
    future: "Future[object]"

    def run(self) -> None:
        """Do it, unless nobody waits for it any more."""
        if not self.future.set_running_or_notify_cancel():
            return
        try:
            self.future.set_result(self.work())
        except Exception as error:
            self.future.set_exception(error)


@dataclass(slots=True)
class _Slot:
    """Of one camera."""

    last_turn: int
    frame: Frame | None = None
    busy: bool = False
    dropped: int = 0


@dataclass(slots=True)
class _Jobs:
    """They have turns as one camera has."""

    last_turn: int = 0
    waiting: deque[Job] = field(default_factory=deque)


class Turns(Generic[Key]):
    """The newest frame of each camera, given to whoever detects; the camera that waits for longest comes first.

    So no camera gets more turns than another that has frames too, however fast it sends, and with N cameras a frame
    waits for no more than N - 1 others. A camera that gives no frames costs nothing. One frame of a camera is worked
    on at a time, so that its results keep their order.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._slots: dict[Key, _Slot] = {}
        self._jobs = _Jobs()
        self._turn = count(1)
        self._closed = False

    def add(self, key: Key) -> None:
        """Let a camera take part."""
        with self._changed:
            self._slots[key] = _Slot(next(self._turn))

    def remove(self, key: Key) -> None:
        """Forget a camera and its frame."""
        with self._changed:
            self._slots.pop(key, None)
            self._changed.notify_all()

    def put(self, key: Key, frame: Frame) -> bool:
        """Replace the camera's frame by a newer one. False once the camera is removed or all is closed."""
        with self._changed:
            slot = self._slots.get(key)
            if slot is None or self._closed:
                return False
            slot.dropped += slot.frame is not None
            slot.frame = frame
            self._changed.notify_all()
            return True

    def submit(self, work: Callable[[], Done]) -> "Future[Done]":
        """Have something done by a thread that detects, between frames.

        Raises:
            TooManyJobsError: more than ``MAX_JOBS`` wait already.
        """
        future: Future[Done] = Future()
        with self._changed:
            if len(self._jobs.waiting) >= MAX_JOBS:
                raise TooManyJobsError
            if self._closed:
                future.cancel()
                return future
            self._jobs.waiting.append(Job(work, future))  # type: ignore[arg-type]
            self._changed.notify_all()
        return future

    def take(self, limit: int = 1) -> list[tuple[Key, Frame]] | Job | None:
        """Wait for the next turn: a job, or the frames of up to ``limit`` cameras. None once all is closed.

        Whoever takes a frame says ``done`` after it.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._jobs.waiting or self._ready())
            if self._closed:
                return None
            ready = sorted(self._ready(), key=lambda key: self._slots[key].last_turn)[:limit]
            if self._jobs.waiting and (not ready or self._jobs.last_turn < self._slots[ready[0]].last_turn):
                self._jobs.last_turn = next(self._turn)
                return self._jobs.waiting.popleft()
            return [(key, self._begin(self._slots[key])) for key in ready]

    def done(self, key: Key) -> None:
        """The work on the camera's frame is finished."""
        with self._changed:
            if slot := self._slots.get(key):
                slot.busy = False
                self._changed.notify_all()

    def has_work(self, key: Key) -> bool:
        """Whether a frame of the camera waits or is worked on."""
        with self._changed:
            slot = self._slots.get(key)
            return slot is not None and (slot.busy or slot.frame is not None)

    def close(self) -> None:
        """Give no more turns; jobs that wait are cancelled."""
        with self._changed:
            self._closed = True
            for job in self._jobs.waiting:
                job.future.cancel()
            self._jobs.waiting.clear()
            self._changed.notify_all()

    def _ready(self) -> list[Key]:
        return [key for key, slot in self._slots.items() if slot.frame is not None and not slot.busy]

    def _begin(self, slot: _Slot) -> Frame:
        frame, slot.frame = slot.frame, None
        assert frame is not None
        slot.busy, slot.last_turn = True, next(self._turn)
        return frame

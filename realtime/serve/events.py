"""Faces that appear and leave, and cameras that are lost and come back."""

import itertools
import json
import threading
import time
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from realtime.results import Result
from realtime.serve.bridge import Feed, Subscription

LEFT_S = 1.0
"""A face that was not seen for this time has left: the tracker gives it a new number when it comes back."""
KEPT = 200
"""Events that a listener who was cut off can still get."""
AHEAD = 100
"""Events that may wait for a slow listener."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened at a camera."""

    number: int
    kind: str
    data: dict[str, Any]
    is_key: bool = True

    def as_text(self) -> str:
        """As a server-sent event."""
        return f"id: {self.number}\nevent: {self.kind}\ndata: {json.dumps(self.data, ensure_ascii=False)}\n\n"


class EventLog:
    """All events, in order; from any thread."""

    def __init__(self, feed: Feed[Event]) -> None:
        self._feed = feed
        self._numbers = itertools.count(1)
        self._recent: deque[Event] = deque(maxlen=KEPT)
        self._lock = threading.Lock()

    def add(self, kind: str, camera: str, **data: object) -> None:
        """Something happened now."""
        stamp = datetime.now(UTC).isoformat(timespec="milliseconds")
        with self._lock:
            event = Event(next(self._numbers), kind, {"camera": camera, "time": stamp, **data})
            self._recent.append(event)
            self._feed.publish(event)

    def listen(self, after: int | None, camera: str | None = None) -> tuple[list[Event], Subscription[Event]]:
        """The events after a number that are still known, and all that follow. In the event loop."""
        with self._lock:
            missed = [event for event in self._recent if after is not None and event.number > after]
            subscription = self._feed.subscribe(AHEAD)
        return [event for event in missed if camera in (None, event.data["camera"])], subscription


class FaceWatch:
    """Turns the results of one camera into events."""

    def __init__(self, camera: str, log: EventLog) -> None:
        self._camera = camera
        self._log = log
        self._seen: dict[int, tuple[float, float]] = {}
        """When each face that is there came and was last seen, on the monotonic clock."""
        self._lock = threading.Lock()

    def note(self, result: Result) -> None:
        """Look at a result; from the thread that detects."""
        now_s = result.frame.captured_at_s
        with self._lock:
            for face in result.faces:
                if face.id not in self._seen:
                    self._log.add("face_appeared", self._camera, frame=result.frame.index, **face.to_dict())
                came_s, _ = self._seen.get(face.id, (now_s, now_s))
                self._seen[face.id] = came_s, now_s
        self.check(now_s)

    def check(self, now_s: float | None = None) -> None:
        """Report the faces that have left; also called while no frame comes."""
        now_s = time.monotonic() if now_s is None else now_s
        with self._lock:
            for face, (came_s, last_s) in list(self._seen.items()):
                if now_s - last_s > LEFT_S:
                    del self._seen[face]
                    self._log.add("face_left", self._camera, id=face, seconds=round(last_s - came_s, 3))

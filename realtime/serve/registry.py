"""The cameras of a server, each with its streams and events, those of browsers included."""

import asyncio
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from realtime.cameras.camera import Camera, Looking, State
from realtime.cameras.engine import Engine
from realtime.controls import Controls
from realtime.results import Result
from realtime.serve.bridge import Feed
from realtime.serve.events import Event, EventLog, FaceWatch
from realtime.serve.messages import as_json, frame_message
from realtime.serve.metrics import Metrics
from realtime.serve.streams import CameraStreams
from realtime.sources.base import FrameSource

GUEST = "browser"
"""Under which name cameras of browsers are counted."""
CHECK_S = 0.5
"""How often the states of the cameras are looked at."""


@dataclass(frozen=True, slots=True)
class Served:
    """A camera and what is made of its results."""

    camera: Camera
    streams: CameraStreams
    faces: FaceWatch
    is_guest: bool
    """It belongs to a browser: only who knows its name sees it."""


class Registry:
    """Adds cameras to the engine and carries their results on. Used in the event loop."""

    def __init__(self, engine: Engine, threshold: float, looking: Looking, loop: asyncio.AbstractEventLoop) -> None:
        """``threshold`` and ``looking`` are those of all cameras; ``loop`` is the server's."""
        self.engine = engine
        self.controls = Controls(threshold)
        self.metrics = Metrics(self._rows)
        self.events = EventLog(Feed[Event](loop))
        self._looking = looking
        self._loop = loop
        self._served: dict[str, Served] = {}

    def __iter__(self) -> Iterator[Served]:
        return iter(list(self._served.values()))

    def get(self, name: str) -> Served | None:
        """The camera of that name."""
        return self._served.get(name)

    @property
    def listed(self) -> list[Served]:
        """The cameras that everybody may see."""
        return [served for served in self if not served.is_guest]

    @property
    def guests(self) -> int:
        """How many cameras of browsers there are."""
        return sum(served.is_guest for served in self)

    def add(self, name: str, source: FrameSource, *, is_guest: bool = False) -> Served:
        """Start a camera."""
        streams, faces = CameraStreams(self._loop, partial(self._describe, name)), FaceWatch(name, self.events)
        counted = GUEST if is_guest else name

        def on_result(result: Result) -> None:
            streams.publish(result)
            if not is_guest:
                faces.note(result)
            age_s = time.monotonic() - result.frame.captured_at_s
            self.metrics.frame(counted, age_s, camera.infer_ms / 1000)

        camera = Camera(name, source, self.engine.detector, self.controls, looking=self._looking, on_result=[on_result])
        served = Served(camera, streams, faces, is_guest)
        self._served[name] = served
        self.engine.add(camera)
        return served

    def add_guest(self, source: FrameSource) -> Served:
        """Start the camera of a browser under a name that cannot be guessed."""
        return self.add(f"{GUEST}-{secrets.token_hex(12)}", source, is_guest=True)

    async def remove(self, name: str) -> None:
        """End a camera and its viewers."""
        served = self._served.pop(name, None)
        if served is not None:
            served.streams.close()
            await asyncio.to_thread(self.engine.remove, name)

    async def watch_states(self) -> None:
        """Report cameras that are lost and come back, and faces that left with them; runs until it is cancelled."""
        states: dict[str, State] = {}
        while True:
            for served in self.listed:
                served.faces.check()
                name, state = served.camera.name, served.camera.state
                before = states.get(name, State.CONNECTING)
                if state is State.LIVE and before is not State.LIVE:
                    self.events.add("camera_live", name)
                elif state is not State.LIVE and before is State.LIVE:
                    self.events.add("camera_lost", name, status=served.camera.status)
                states[name] = state
            await asyncio.sleep(CHECK_S)

    def close(self) -> None:
        """End all viewers."""
        for served in self:
            served.streams.close()

    def _describe(self, name: str, result: Result, timestamp: int) -> str:
        return as_json(frame_message(name, result, timestamp, self.controls.threshold))

    def _rows(self) -> Iterator[tuple[str, Camera, CameraStreams]]:
        for served in self.listed:
            yield served.camera.name, served.camera, served.streams

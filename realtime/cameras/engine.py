"""The scheduler of many cameras: threads that detect in the newest frames, in turn."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import TypeVar

from realtime.cameras.camera import Camera
from realtime.cameras.turns import Job, Turns
from realtime.errors import RealtimeError
from realtime.inference.timed import Detected, Detector
from realtime.regions.frames import detect_together
from realtime.sinks.base import Ending
from realtime.structures import Frame

Done = TypeVar("Done")
CLOSE_TIMEOUT_S = 1.0
"""How long closing waits for the captures; one that hangs in a driver is left behind."""


class Engine:
    """Cameras that share one detector.

    Each camera has a thread that reads it, whose newest frame waits; threads that detect, one on a GPU, take the
    waiting frames in turn. A batch takes the frames of several cameras at once, with their tiles and close-ups. The
    detector is loaded by the thread that runs it, since a GPU's is bound to it. Whatever fails in detection or in a
    sink ends all; a source that fails ends its camera alone.
    """

    def __init__(self, load: Callable[[], Detector]) -> None:
        """Nothing is loaded yet; ``load`` opens the detector, which says how many threads run it."""
        self._load = load
        self._turns: Turns[Camera] = Turns()
        self._loaded: Future[Detector] = Future()
        self._workers = [threading.Thread(target=self._work_first, name="detect-1", daemon=True)]
        self._captures: dict[Camera, threading.Thread] = {}
        self._cameras: dict[str, Camera] = {}
        self._changed = threading.Condition()
        self._frames_left: int | None = None
        self.error: BaseException | None = None
        """What ended the detection."""

    def load_ahead(self) -> None:
        """Start to load the detector, and do not wait for it."""
        if self._workers[0].ident is None:
            self._workers[0].start()

    def start(self) -> Detector:
        """Load the detector and start its threads.

        Raises:
            RealtimeError: it cannot be loaded.
        """
        self.load_ahead()
        detector = self._loaded.result()
        for number in range(1, detector.concurrency):
            self._workers.append(threading.Thread(target=self._work, name=f"detect-{number + 1}", daemon=True))
            self._workers[-1].start()
        return detector

    @property
    def detector(self) -> Detector:
        """The detector, once it is loaded."""
        return self._loaded.result()

    @property
    def cameras(self) -> list[Camera]:
        """In the order in which they were added."""
        with self._changed:
            return list(self._cameras.values())

    def camera(self, name: str) -> Camera | None:
        """The camera of that name."""
        with self._changed:
            return self._cameras.get(name)

    def add(self, camera: Camera) -> None:
        """Start to read a camera.

        Raises:
            ValueError: there is one of that name.
        """
        thread = threading.Thread(target=self._capture, args=(camera,), name="capture", daemon=True)
        with self._changed:
            if camera.name in self._cameras:
                raise ValueError(f"there is a camera {camera.name} already")
            self._cameras[camera.name] = camera
            self._captures[camera] = thread
        self._turns.add(camera)
        self._share_time()
        thread.start()

    def remove(self, name: str) -> None:
        """Stop reading a camera, close its source and its sinks, and forget it."""
        with self._changed:
            camera = self._cameras.pop(name, None)
            thread = self._captures.pop(camera) if camera else None
        if camera is None or thread is None:
            return
        self._turns.remove(camera)
        camera.source.interrupt()
        thread.join(CLOSE_TIMEOUT_S)
        self._share_time()
        camera.close(Ending.STOPPED)

    def submit(self, work: Callable[[], Done]) -> "Future[Done]":
        """Have ``work`` done by a thread that detects, in turn with the cameras.

        Raises:
            TooManyJobsError: too much waits already.
        """
        return self._turns.submit(work)

    def limit(self, frames: int) -> None:
        """Let all cameras together have so many results, and no more."""
        with self._changed:
            self._frames_left = frames

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait for the end: detection failed, the limit is reached, or all cameras are over; False after the time."""
        with self._changed:
            return self._changed.wait_for(lambda: self.error is not None or self._is_over(), timeout_s)

    def close(self, ending: Ending = Ending.STOPPED) -> None:
        """End all threads, sources and sinks.

        Raises:
            RealtimeError: the first error of a sink, if detection has not failed before.
        """
        self._turns.close()
        cameras, deadline_s = self.cameras, time.monotonic() + CLOSE_TIMEOUT_S
        for camera in cameras:
            camera.source.interrupt()
        for worker in self._workers:
            if worker.ident is not None:
                worker.join()
        for camera in cameras:
            self._captures[camera].join(max(0.0, deadline_s - time.monotonic()))
        for camera in cameras:
            try:
                camera.close(ending)
            except RealtimeError as error:
                self.error = self.error or error
        if self.error is not None:
            raise self.error

    def _is_over(self) -> bool:
        return self._frames_left == 0 or all(
            camera.is_over and not self._turns.has_work(camera) for camera in self._cameras.values()
        )

    def _share_time(self) -> None:
        """Tell each camera which part of the time between its frames it may spend on looking closer."""
        cameras = self.cameras
        for camera in cameras:
            camera.share(min(1.0, len(self._workers) / len(cameras)))

    def _capture(self, camera: Camera) -> None:
        camera.capture(partial(self._turns.put, camera))
        self._notify()

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _work_first(self) -> None:
        try:
            detector = self._load()
        except BaseException as error:  # raised by ``start``, whatever it is
            self._loaded.set_exception(error)
            return
        self._loaded.set_result(detector)
        self._work()

    def _work(self) -> None:
        detector = self._loaded.result()
        try:
            while (turn := self._turns.take(detector.max_batch)) is not None:
                if isinstance(turn, Job):
                    turn.run()
                else:
                    self._detect(turn)
        except BaseException as error:  # raised by ``close``, whatever it is
            self.error = self.error or error
            self._turns.close()
        finally:
            self._notify()

    def _detect(self, turn: Sequence[tuple[Camera, Frame]]) -> None:
        if len(turn) == 1:  # which may have a helping thread
            ((camera, frame),) = turn
            self._finish(camera, camera.detect(frame, camera.plan(frame)))
            return
        planned = [(frame, camera.plan(frame)) for camera, frame in turn]
        for (camera, _), detected in zip(turn, detect_together(self.detector, planned), strict=True):
            self._finish(camera, detected)

    def _finish(self, camera: Camera, detected: Detected) -> None:
        with self._changed:
            if self._frames_left == 0:
                return
            if self._frames_left is not None:
                self._frames_left -= 1
                self._changed.notify_all()
        camera.finish(detected, partial(self._done, camera))

    def _done(self, camera: Camera) -> None:
        self._turns.done(camera)
        if camera.is_over:
            self._notify()

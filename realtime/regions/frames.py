"""Detection in the frames of a video or a camera, in the regions that a planner chooses."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np

from realtime.faces.known import KnownFaces
from realtime.faces.looks import Looks
from realtime.inference.cores import core_count
from realtime.inference.ordered_pool import OrderedPool
from realtime.inference.timed import Detected, Detector, detect_in
from realtime.letterbox import LetterboxTransform
from realtime.regions.close_ups import close_ups
from realtime.regions.detector import (
    Begin,
    Done,
    detect_closer,
    here,
    look_at_close_ups,
    look_at_regions,
    looks_of,
    merged,
    replace_by_views,
    targets_of,
    whole_first,
)
from realtime.regions.planner import LAG_FRAMES, LivePlanner, NearPlanner, Plan, planner_for
from realtime.regions.tiles import Reach
from realtime.structures import Detections, Frame


class FrameDetector:
    """Detects in one frame after another, or in several at once, and gives the results in order.

    Whoever takes a result has to ``note`` it before the next.
    """

    def __init__(
        self, network: Detector, reach: Reach, *, is_live: bool, frame_wh: tuple[int, int], uses_helper: bool = True
    ) -> None:
        """No thread runs yet.

        Args:
            network: looks.
            reach: how far to look.
            is_live: somebody waits for each frame, so that its cost is bounded.
            frame_wh: width and height in pixels of the frames; those that come live may change.
            uses_helper: do some of the looks of a frame in another thread; else all are done by the caller's.
        """
        self._network = network
        self._planner = planner_for(network.metadata, reach, is_live=is_live, frame_wh=frame_wh)
        is_near = isinstance(self._planner, NearPlanner)
        cores = core_count() if is_live and network.is_thread_safe else network.concurrency
        spare = 0 if is_near or not uses_helper else min(1, cores - 1) if is_live else cores - LAG_FRAMES
        self._helpers = ThreadPoolExecutor(spare, thread_name_prefix="look") if spare > 0 else None
        self._begin: Begin = partial(_beside, self._helpers) if self._helpers else here
        self._pool = OrderedPool(
            partial(_detect, network, self._begin),
            network.concurrency,
            name="detect",
            max_ahead=None if is_near else LAG_FRAMES,
        )

    def map(self, frames: Iterator[Frame]) -> Iterator[Detected]:
        """What is in each frame.

        Raises:
            Exception: raised by ``frames``, after the results of all frames before; or by the network.
        """
        return self._pool.map((frame, self._planner.plan(frame)) for frame in frames)

    def plan(self, frame: Frame) -> Plan | None:
        """What to look at in the next frame; None for the whole of it, once."""
        return self._planner.plan(frame)

    def detect(self, frame: Frame, plan: Plan | None) -> Detected:
        """What is in one frame, looked at as planned, in the caller's thread."""
        return _detect(self._network, self._begin, (frame, plan))

    def share(self, part: float) -> None:
        """Let closer looks at live frames spend only this part, 0..1, of the time that they have otherwise."""
        if isinstance(self._planner, LivePlanner):
            self._planner.budget.share = part

    def note(self, detected: Detected, tracked: KnownFaces) -> None:
        """Plan from now on with the faces that are known after a frame."""
        self._planner.note(detected, tracked)

    def close(self) -> None:
        """End all threads. May be called twice."""
        self._pool.close()
        if self._helpers:
            self._helpers.shutdown()


def _beside(helpers: ThreadPoolExecutor, work: Callable[[], Done], /) -> Callable[[], Done]:
    """Begin work in one of the helping threads."""
    return helpers.submit(work).result


def _detect(network: Detector, begin: Begin, planned: tuple[Frame, Plan | None]) -> Detected:
    """Do what is planned for a frame; ``begin`` gives looks to other cores."""
    frame, plan = planned
    if plan is None:
        return detect_in(network, frame)
    timed, started_s = _TimedNetwork(network), time.perf_counter()
    if plan.confirms:
        found, looks = detect_closer(timed, frame.image, plan.regions, plan.known, begin)
    else:
        found, looks = _detect_at_once(timed, frame.image, plan, begin)
    all_ms, preprocess_ms = 1000 * (time.perf_counter() - started_s), sum(timed.preprocess_ms)
    return Detected(frame, found, preprocess_ms, max(0.0, all_ms - preprocess_ms), looks)


class _TimedNetwork:
    """A network that notes how long it prepares its inputs."""

    def __init__(self, network: Detector) -> None:
        self.metadata, self.concurrency = network.metadata, network.concurrency
        self.is_thread_safe, self.infer = network.is_thread_safe, network.infer
        self.preprocess_ms: list[float] = []
        """Of each look; looks in two threads may be at the same time."""
        self._network = network

    def preprocess(self, image: np.ndarray) -> tuple[np.ndarray, LetterboxTransform]:
        """As the network."""
        started_s = time.perf_counter()
        prepared = self._network.preprocess(image)
        self.preprocess_ms.append(1000 * (time.perf_counter() - started_s))
        return prepared


def _detect_at_once(network: Detector, image: np.ndarray, plan: Plan, begin: Begin) -> tuple[Detections, Looks]:
    """Do all looks of a plan, none of which waits for another, the whole frame in this thread."""
    packs = close_ups(image, plan.known.boxes, network.metadata.input_wh)
    pending = [begin(partial(look_at_close_ups, network, pack)) for pack in packs]
    seen = look_at_regions(network, image, plan.regions, begin)
    found = merged(whole_first(seen, network.metadata), network.metadata)
    if packs:
        views = [view for views_of_pack in pending for view in views_of_pack()]
        found = replace_by_views(found, targets_of(plan.known, found), views)
    return found, looks_of(seen, packs)

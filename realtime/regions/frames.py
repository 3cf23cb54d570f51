"""Detection in the frames of a video or a camera, in the regions that a planner chooses."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property, partial
from itertools import islice
from typing import TypeVar

import numpy as np

from realtime.faces.boxes import inside_any
from realtime.faces.known import KnownFaces
from realtime.faces.looks import Looks
from realtime.inference.companions import Companion
from realtime.inference.cores import core_count
from realtime.inference.ordered_pool import OrderedPool
from realtime.inference.timed import Detected, Detector, detect_in
from realtime.letterbox import LetterboxTransform
from realtime.regions.close_ups import close_ups
from realtime.regions.detector import (
    Begin,
    Done,
    Look,
    Steps,
    all_seen,
    cut_out,
    detect_closer,
    detect_whole,
    here,
    look_at,
    looks_of,
    merged,
    run_together,
    size_of,
    split_views,
    without_repeats,
)
from realtime.regions.merge import Seen, cut_off
from realtime.regions.planner import LAG_FRAMES, LivePlanner, NearPlanner, Plan, planner_for
from realtime.regions.targets import replace_by_views, scores_in_views, targets_of
from realtime.regions.tiles import Reach
from realtime.structures import Detections, Frame

Item = TypeVar("Item")


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
        self._planner = planner_for(
            network.metadata,
            reach,
            is_live=is_live,
            frame_wh=frame_wh,
            tile_wh=network.tile_wh,
            narrow_wh=network.narrow_wh,
        )
        is_near = isinstance(self._planner, NearPlanner)
        cores = core_count() if is_live and network.is_thread_safe else network.concurrency
        spare = 0 if is_near or not uses_helper else min(1, cores - 1) if is_live else cores - LAG_FRAMES
        self._helpers = ThreadPoolExecutor(spare, thread_name_prefix="look") if spare > 0 else None
        self._follower = self._planner if isinstance(self._planner, LivePlanner) and self._planner.may_follow else None
        self._opening: Future[Detector | None] | None = None
        if self._follower:
            self._follower.may_follow = False  # until the narrow network is open
        self._begin: Begin = partial(_beside, self._helpers) if self._helpers else here
        self._pool = OrderedPool(
            partial(_detect, network, self._begin),
            network.concurrency,
            name="detect",
            max_ahead=None if is_near else LAG_FRAMES,
        )
        self._frames_in_run = 1 if is_live else min(network.max_batch, network.max_batch if is_near else LAG_FRAMES)

    def map(self, frames: Iterator[Frame]) -> Iterator[Detected]:
        """What is in each frame.

        Raises:
            Exception: raised by ``frames``, after the results of all frames before; or by the network.
        """
        if self._frames_in_run > 1:
            return self._map_together(frames)
        return self._pool.map((frame, self.plan(frame)) for frame in frames)

    def plan(self, frame: Frame) -> Plan | None:
        """What to look at in the next frame; None for the whole of it, once.

        Raises:
            ModelError: the narrow network cannot be opened.
        """
        if self._follower and self._opening and self._opening.done():
            self._opening.result()
            self._follower.may_follow, self._opening, self._follower = True, None, None
        return self._planner.plan(frame)

    def detect(self, frame: Frame, plan: Plan | None) -> Detected:
        """What is in one frame, looked at as planned, in the caller's thread."""
        return _detect(self._network, self._begin, (frame, plan))

    def share(self, part: float) -> None:
        """Let closer looks at live frames spend only this part, 0..1, of the time that they have otherwise."""
        if isinstance(self._planner, LivePlanner):
            self._planner.budget.share = part

    def _map_together(self, frames: Iterator[Frame]) -> Iterator[Detected]:
        for some, error in in_groups(frames, self._frames_in_run):
            if some:
                yield from detect_together(self._network, [(frame, self._planner.plan(frame)) for frame in some])
            if error is not None:
                try:
                    raise error
                finally:
                    del error  # its traceback refers to this stack frame, which would live on

    def note(self, detected: Detected, tracked: KnownFaces) -> None:
        """Plan from now on with the faces that are known after a frame."""
        self._planner.note(detected, tracked)
        if self._follower and not self._opening and len(tracked):
            self._opening = self._opened_beside(lambda: self._network.narrow)

    def _opened_beside(self, open_it: Callable[[], Detector | None]) -> "Future[Detector | None]":
        """Open a network while whole frames are looked at, or here if there is no other core."""
        if self._helpers:
            return self._helpers.submit(open_it)
        opened: Future[Detector | None] = Future()
        opened.set_result(open_it())
        return opened

    def close(self) -> None:
        """End all threads. May be called twice."""
        self._pool.close()
        if self._helpers:
            self._helpers.shutdown()


def _beside(helpers: ThreadPoolExecutor, work: Callable[[], Done], /) -> Callable[[], Done]:
    """Begin work in one of the helping threads."""
    return helpers.submit(work).result


def in_groups(items: Iterator[Item], size: int) -> Iterator[tuple[list[Item], Exception | None]]:
    """So many items at a time, the last time fewer; with it, what ``items`` raised after them."""
    while True:
        group: list[Item] = []
        raised: Exception | None = None
        try:
            group.extend(islice(items, size))
        except Exception as error:
            raised = error
        if group or raised:
            yield group, raised
        if len(group) < size:
            return


def _detect(network: Detector, begin: Begin, planned: tuple[Frame, Plan | None]) -> Detected:
    """Do what is planned for a frame; ``begin`` gives looks to other cores."""
    frame, plan = planned
    if plan is None:
        return detect_in(network, frame)
    # Two networks at once would wait for each other's threads: one after the other they take four fifths of the time.
    begin = begin if plan.followed is None else here
    return detect_together(network, [(frame, plan)], begin)[0]


def detect_together(
    network: Detector, planned: Sequence[tuple[Frame, Plan | None]], begin: Begin = here
) -> list[Detected]:
    """Do what is planned for each of some frames, with the looks of all of them in the same runs of the network.

    Args:
        network: looks.
        planned: frames of one source or of several, and what to look at in each; None for the whole of it, once.
        begin: gives looks to other cores.
    """
    timed, started_s = _TimedNetwork(network), time.perf_counter()
    images = [0] * len(planned)
    steps = [
        _counted(_steps(network, frame.image, plan), images, number) for number, (frame, plan) in enumerate(planned)
    ]
    results = run_together(steps, partial(look_at, timed, begin=begin))
    all_ms, preprocess_ms = 1000 * (time.perf_counter() - started_s), sum(timed.preprocess_ms)
    infer_ms, total = max(0.0, all_ms - preprocess_ms), sum(images)
    return [
        Detected(frame, found, preprocess_ms * count / total, infer_ms * count / total, looks)
        for (frame, _), (found, looks), count in zip(planned, results, images, strict=True)
    ]


def _counted(steps: Steps, images: list[int], number: int) -> Steps:
    """The same steps; adds how many images they look at to ``images[number]``."""
    wanted = next(steps)
    while True:
        images[number] += len(wanted)
        found = yield wanted
        try:
            wanted = steps.send(found)
        except StopIteration as end:
            done: tuple[Detections, Looks | None] = end.value
            return done


def _steps(network: Detector, image: np.ndarray, plan: Plan | None) -> Steps:
    if plan is None:
        return detect_whole(image)
    if plan.confirms:
        return detect_closer(network, image, plan.regions, plan.known)
    return _detect_at_once(network, image, plan)


class _TimedNetwork:
    """A network that notes how long it prepares its inputs."""

    def __init__(self, network: Detector) -> None:
        self.metadata, self.concurrency, self.max_batch = network.metadata, network.concurrency, network.max_batch
        self.is_thread_safe = network.is_thread_safe
        self.infer, self.infer_batch = network.infer, network.infer_batch
        self.tile_wh, self.narrow_wh = network.tile_wh, network.narrow_wh
        self.preprocess_ms: list[float] = []
        """Of each look; looks in two threads may be at the same time."""
        self._network = network

    @cached_property
    def wide(self) -> "_TimedNetwork | None":
        """That of the network, which notes its time here."""
        return self._timed(self._network.wide)

    @cached_property
    def narrow(self) -> "_TimedNetwork | None":
        """Likewise."""
        return self._timed(self._network.narrow)

    def _timed(self, companion: Detector | None) -> "_TimedNetwork | None":
        if companion is None:
            return None
        timed = _TimedNetwork(companion)
        timed.preprocess_ms = self.preprocess_ms
        return timed

    def preprocess(self, image: np.ndarray) -> tuple[np.ndarray, LetterboxTransform]:
        """As the network."""
        started_s = time.perf_counter()
        prepared = self._network.preprocess(image)
        self.preprocess_ms.append(1000 * (time.perf_counter() - started_s))
        return prepared

    def preprocess_batch(self, images: Sequence[np.ndarray]) -> tuple[np.ndarray, list[LetterboxTransform]]:
        """As the network."""
        started_s = time.perf_counter()
        prepared = self._network.preprocess_batch(images)
        self.preprocess_ms.append(1000 * (time.perf_counter() - started_s))
        return prepared


def _detect_at_once(network: Detector, image: np.ndarray, plan: Plan) -> Steps:
    """Do all looks of a plan, none of which waits for another."""
    metadata = network.metadata
    packs = close_ups(image, plan.known.boxes, metadata.input_wh)
    first, *others = cut_out(image, plan.regions)
    companion = None if plan.followed is None else Companion.NARROW
    answers = yield [Look(first, companion), *map(Look, others), *(Look(pack.image) for pack in packs)]
    count = len(plan.regions)
    seen = _first_seen(network, image, plan, answers[:1])
    seen += all_seen(metadata.input_wh, plan.regions[1:], answers[1:count])
    found = merged(without_repeats(seen, size_of(image), metadata), size_of(image), metadata)
    if packs:
        targets, views = targets_of(plan.known, found), split_views(packs, answers[count:])
        scores = (targets.scores + scores_in_views(targets.boxes, targets.buffers, views)) / 2
        found = replace_by_views(metadata, found, targets, views, scores)
    return found, looks_of(seen, packs)


def _first_seen(network: Detector, image: np.ndarray, plan: Plan, answers: Sequence[Detections]) -> list[Seen]:
    """What the first region shows: of the part around the followed faces, nothing else that its edge cuts off."""
    if plan.followed is None or network.narrow_wh is None:
        return all_seen(network.metadata.input_wh, plan.regions[:1], answers)
    (seen,) = all_seen(network.narrow_wh, plan.regions[:1], answers)
    kept = ~cut_off(seen, size_of(image)) | inside_any(seen.found.boxes, plan.followed)
    return [replace(seen, found=seen.found[kept])]

"""Long videos that several workers share."""

import shutil
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from realtime.batch.tasks import Executor, Outcome, Step, Task
from realtime.ffmpeg import av, open_video

PART_S = 60.0
"""About how long a part is."""
MIN_BYTES = 1 << 20
"""Smaller files are not looked into: they are short."""
FOLDER = "work"
"""Of the parts, beside the records."""


@dataclass(slots=True)
class _Shared:
    """A video that is being worked on in parts."""

    task: Task
    left: int = 0
    """Steps of this kind that are not over."""
    parts: int = 0
    seconds: float = 0.0


class SegmentedExecutor(Executor):
    """Has long videos done in parts by another executor, and everything else as it is.

    A worker looks where the video can be cut; workers detect in the parts; one of them follows the faces through what
    they found, in the order of the frames, which takes little time, and writes tables; workers draw and encode the
    parts, and cut out crops, and one joins them.
    """

    def __init__(self, executor: Executor, folder: Path, *, part_s: float = PART_S, workers: int = 1) -> None:
        """Take over an executor.

        Args:
            executor: that does all steps.
            folder: for what workers leave to each other; all of them reach it.
            part_s: about how long a part is, in seconds.
            workers: how many there are.
        """
        self._executor = executor
        self._folder = folder
        self._part_s = part_s
        self._workers = workers
        self._ready: deque[Task] = deque()
        self._shared: dict[str, _Shared] = {}

    @property
    def lost_workers(self) -> bool:
        """As of ``Executor``."""
        return self._executor.lost_workers

    def run(self, tasks: Iterator[Task]) -> Iterator[tuple[Task, Outcome]]:
        """As of ``Executor``."""
        feed = _Feed(self._ready, (self._begun(task) for task in tasks))
        for task, outcome in self._executor.run(feed):
            shared = self._shared.get(task.name)
            if task.step is None:
                yield task, outcome
            elif shared is not None:  # else it has failed in another part
                done = self._advance(shared, task.step, outcome)
                if done is not None:
                    yield done

    def close(self) -> None:
        """End all workers, and remove what they left to each other."""
        self._executor.close()
        for shared in self._shared.values():
            shutil.rmtree(self._place(shared.task), ignore_errors=True)

    def _begun(self, task: Task) -> Task:
        """The first step of a long video, or the task as it is."""
        if not self._is_long(task):
            return task
        self._shared[task.name] = _Shared(task, left=1)
        place = self._place(task)
        shutil.rmtree(place, ignore_errors=True)  # of a run that was killed
        place.mkdir(parents=True)
        return replace(task, step=Step("cut", place, part_s=self._part_s, workers=self._workers))

    def _is_long(self, task: Task) -> bool:
        try:
            if task.source.stat().st_size < MIN_BYTES:
                return False
            with open_video(task.source) as container:
                return (container.duration or 0) / av.time_base >= 2 * self._part_s
        except (OSError, ValueError, av.FFmpegError):  # the worker will say what is wrong
            return False

    def _place(self, task: Task) -> Path:
        return self._folder / task.name

    def _advance(self, shared: _Shared, step: Step, outcome: Outcome) -> tuple[Task, Outcome] | None:
        """Note that a step is over, and make the next ones ready; the outcome of the whole, if it was the last."""
        shared.left -= 1
        shared.seconds += outcome.seconds
        if outcome.error is not None or outcome.exit_code is not None:
            return self._end(shared, outcome)
        if outcome.data.get("whole"):  # it is not to be cut after all
            self._forget(shared)
            self._ready.append(shared.task)
            return None
        if step.kind == "cut":
            shared.parts = outcome.data["parts"]
        if shared.left:
            return None
        following = self._following(shared, step)
        if not following:
            return self._end(shared, outcome)
        shared.left = len(following)
        self._ready.extend(following)
        return None

    def _following(self, shared: _Shared, step: Step) -> list[Task]:
        is_drawn = not shared.task.outputs.keys().isdisjoint({"out", "crops"})
        kinds = {"cut": "detect", "detect": "track", "track": "draw" if is_drawn else "", "draw": "join", "join": ""}
        kind = kinds[step.kind]
        count = shared.parts if kind in {"detect", "draw"} else 1
        return [replace(shared.task, step=replace(step, kind=kind, part=part)) for part in range(count if kind else 0)]

    def _end(self, shared: _Shared, outcome: Outcome) -> tuple[Task, Outcome]:
        self._forget(shared)
        return shared.task, replace(outcome, seconds=shared.seconds)

    def _forget(self, shared: _Shared) -> None:
        for task in [task for task in self._ready if task.name == shared.task.name]:
            self._ready.remove(task)
        shutil.rmtree(self._place(shared.task), ignore_errors=True)
        del self._shared[shared.task.name]


class _Feed(Iterator[Task]):
    """What is ready, and then what is new; it may have more after it had none."""

    def __init__(self, ready: "deque[Task]", new: Iterator[Task]) -> None:
        self._ready = ready
        self._new = new

    def __next__(self) -> Task:
        return self._ready.popleft() if self._ready else next(self._new)

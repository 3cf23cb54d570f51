"""What a batch costs around the work, and how long one takes on 1, 10 and 100 workers.

    python benchmarks/cluster.py overhead --images 10000
    python benchmarks/cluster.py memory --tasks 100000 --on ray
    python benchmarks/cluster.py simulate drawn/.realtime --workers 1,10,100

``simulate`` takes the times of each file from the records of a run, and lets simulated workers do as many files as
``--files`` says, some of them slow, some dying.
"""

import heapq
import importlib
import json
import os
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import cv2
import machine
import numpy as np
import typer

from realtime.batch.batch import Batch
from realtime.batch.cluster import Cluster, RayExecutor
from realtime.batch.local import ThreadExecutor
from realtime.batch.records import Conditions
from realtime.batch.store import FolderStore
from realtime.batch.tasks import Executor, Outcome, Task

app = typer.Typer(add_completion=False, help=__doc__)
Json = Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.")]
CONDITIONS = Conditions("none", {}, "0")


@dataclass(frozen=True)
class Halver:
    """Reads an image and writes it at half its size: about the least that can be done with one."""

    def open(self, cores: int | None) -> "Halver":
        """As of ``WorkerSpec``."""
        return self

    def process(self, task: Task) -> Outcome:
        """As of ``Worker``."""
        halve(task.source, task.outputs["out"])
        return Outcome(frames=1)


def halve(source: Path, target: Path) -> None:
    """The work itself."""
    image = cv2.imread(str(source))
    assert image is not None
    cv2.imwrite(str(target), image[::2, ::2])


@app.command()
def overhead(
    images: Annotated[int, typer.Option(min=1, help="Tiny images.")] = 10_000,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of both, in turns.")] = 3,
    json_file: Json = None,
) -> None:
    """Milliseconds an image that claims, records and counting take, beside a plain loop."""
    with TemporaryDirectory() as name:
        tasks = _tiny_images(Path(name), images)
        plain, batch = [], []
        for number in range(rounds):
            started_s = time.perf_counter()
            for task in tasks:
                halve(task.source, task.outputs["out"])
            plain.append(1000 * (time.perf_counter() - started_s) / images)
            store = FolderStore(Path(name) / f"records{number}")
            started_s = time.perf_counter()
            Batch(tasks, store, CONDITIONS, ThreadExecutor(Halver())).run()
            batch.append(1000 * (time.perf_counter() - started_s) / images)
    differences = [with_it - without for with_it, without in zip(batch, plain, strict=True)]
    report = {
        "plain_ms": machine.spread(plain), "batch_ms": machine.spread(batch),
        "overhead_ms": machine.spread(differences), "images": images, "machine": machine.describe(),
    }  # fmt: skip
    typer.echo(f"{images} images: plain loop {np.median(plain):.3f} ms, batch {np.median(batch):.3f} ms each")
    typer.echo(f"overhead {np.median(differences):.3f} ms an image; {machine.named(machine.describe())}")
    _write(json_file, report)


def _tiny_images(folder: Path, count: int) -> list[Task]:
    (folder / "in").mkdir()
    (folder / "out").mkdir()
    image = np.zeros((32, 32, 3), np.uint8)
    tasks = []
    for number in range(count):
        name = f"{number:06}.png"
        cv2.imwrite(str(folder / "in" / name), image)
        tasks.append(Task(name, folder / "in" / name, {"out": folder / "out" / name}, number, count))
    return tasks


@dataclass(frozen=True)
class Idler:
    """Does nothing, at once."""

    model: str = "none"

    def model_files(self) -> dict[str, bytes] | None:
        """As of ``ModelSpec``."""
        return None

    def with_model(self, model: str) -> "Idler":
        """As of ``ModelSpec``."""
        return self

    def open(self, cores: int | None) -> "Idler":
        """As of ``WorkerSpec``."""
        return self

    def process(self, task: Task) -> Outcome:
        """As of ``Worker``."""
        return Outcome(frames=1)


class Weighed(Executor):
    """Notes the memory of this process while another executor works."""

    def __init__(self, executor: Executor, every: int) -> None:
        """Take over an executor.

        Args:
            executor: that does the tasks.
            every: memory is noted before each first of so many tasks, and at the end.
        """
        self.peaks_mb: list[float] = []
        self._executor = executor
        self._every = every

    @property
    def lost_workers(self) -> bool:
        """As of ``Executor``."""
        return self._executor.lost_workers

    def run(self, tasks: Iterator[Task]) -> Iterator[tuple[Task, Outcome]]:
        """As of ``Executor``."""
        yield from self._executor.run(self._weighed(tasks))
        self.peaks_mb.append(peak_mb())

    def close(self) -> None:
        """As of ``Executor``."""
        self._executor.close()

    def _weighed(self, tasks: Iterator[Task]) -> Iterator[Task]:
        for number, task in enumerate(tasks):
            if number % self._every == 0:
                self.peaks_mb.append(peak_mb())
            yield task


def peak_mb() -> float:
    """The most memory that this process has had so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)


@app.command()
def memory(
    tasks: Annotated[int, typer.Option(min=10, help="Empty tasks.")] = 100_000,
    on: Annotated[str | None, typer.Option(help="ray for a Ray on this machine; by default this process.")] = None,
    json_file: Json = None,
) -> None:
    """The driver's memory while it hands out tasks in which nothing is done: flat after the first tenth."""
    os.environ["PYTHONPATH"] = machine.python_path(Path(__file__).parent)  # workers import this file
    # By the name by which they find it, and not that of the program that was started.
    module = importlib.import_module("cluster")
    executor = RayExecutor(module.Idler(), Cluster(address=on)) if on else ThreadExecutor(module.Idler())
    with TemporaryDirectory() as name:
        folder = Path(name)
        source = folder / "none"
        jobs = [Task(f"{i // 1000}/{i}", source, {}, i, tasks) for i in range(tasks)]
        weighed = Weighed(executor, max(1, tasks // 10))
        started_s = time.perf_counter()
        Batch(jobs, FolderStore(folder / "records"), CONDITIONS, weighed).run()
        each_ms = 1000 * (time.perf_counter() - started_s) / tasks
    growth_mb = weighed.peaks_mb[-1] - weighed.peaks_mb[1]
    peaks = ", ".join(f"{peak:.0f}" for peak in weighed.peaks_mb)
    typer.echo(f"peak memory of the driver in MB, before each tenth of {tasks} tasks and at the end: {peaks}")
    typer.echo(f"growth after the first tenth {growth_mb:.1f} MB; {each_ms:.2f} ms a task")
    _write(json_file, {"peaks_mb": weighed.peaks_mb, "growth_mb": growth_mb, "task_ms": each_ms, "tasks": tasks})


@dataclass(frozen=True, slots=True)
class Trouble:
    """What goes wrong, and what is shared."""

    slow_share: float
    """Of the workers."""
    slow_factor: float
    """How many times as long a slow one takes."""
    deaths_per_hour: float
    """Of each worker."""
    driver_s: float
    """Time of the driver for each task, which no other can use."""
    restart_s: float = 30.0
    """Until a dead worker has a successor that has loaded the model."""


@dataclass(frozen=True, slots=True)
class Simulated:
    """What came of a simulation."""

    workers: int
    hours: float
    speed_up: float
    """Against one worker that is neither slow nor dies."""
    busy: float
    """Share of the workers' time in which they did work that counted."""
    repeated: int
    """Tasks that a death has made in vain."""
    limit: str


def simulate_batch(seconds: Sequence[float], workers: int, conditions: Trouble, seed: int = 0) -> Simulated:
    """Let workers take one file after the other, in order, each as soon as it is free.

    Args:
        seconds: of each file, on a worker that is not slow.
        workers: how many.
        conditions: what goes wrong.
        seed: of the deaths.
    """
    random = np.random.default_rng(seed)
    factors = np.where(np.arange(workers) < round(conditions.slow_share * workers), conditions.slow_factor, 1.0)
    free = [(0.0, worker) for worker in range(workers)]
    heapq.heapify(free)
    driver_free, end, repeated, useful = 0.0, 0.0, 0, 0.0
    waiting = list(reversed(seconds))
    while waiting:
        work_s = waiting.pop()
        ready, worker = heapq.heappop(free)
        begin = max(ready, driver_free)
        driver_free = begin + conditions.driver_s
        takes = work_s * float(factors[worker])
        dies_after = random.exponential(3600 / conditions.deaths_per_hour) if conditions.deaths_per_hour else np.inf
        if dies_after < takes:
            repeated += 1
            waiting.append(work_s)
            heapq.heappush(free, (begin + float(dies_after) + conditions.restart_s, worker))
            continue
        end = max(end, begin + takes)
        useful += takes
        heapq.heappush(free, (begin + takes, worker))
    total = float(sum(seconds))
    limits = {
        "work": total / workers,
        "the longest file": max(seconds) * float(factors.max()),
        "the driver": len(seconds) * conditions.driver_s,
    }
    limit = max(limits, key=lambda name: limits[name])
    return Simulated(workers, end / 3600, total / end, useful / (end * workers), repeated, limit)


@app.command()
def simulate(
    records: Annotated[Path, typer.Argument(help="The folder .realtime of a run.")],
    workers: Annotated[str, typer.Option(help="Numbers of workers.")] = "1,10,100",
    files: Annotated[int, typer.Option(min=1, help="Files, whose times are drawn from those of the run.")] = 10_000,
    slow_share: Annotated[float, typer.Option(min=0, max=1, help="Share of the workers that are slow.")] = 0.05,
    slow_factor: Annotated[float, typer.Option(min=1, help="How many times as long these take.")] = 3.0,
    deaths: Annotated[float, typer.Option(min=0, help="Deaths of each worker in an hour.")] = 0.02,
    driver_ms: Annotated[float, typer.Option(min=0, help="Time of the driver for each task.")] = 2.0,
    json_file: Json = None,
) -> None:
    """How long so many files take, and what limits it."""
    measured = [json.loads(path.read_text())["seconds"] for path in (records / "records").rglob("*.json")]
    measured = [seconds for seconds in measured if seconds > 0]
    if not measured:
        raise typer.BadParameter(f"{records} holds no record of a file that was done")
    seconds = np.random.default_rng(0).choice(measured, files).tolist()
    conditions = Trouble(slow_share, slow_factor, deaths, driver_ms / 1000)
    rows = [simulate_batch(seconds, int(count), conditions) for count in workers.split(",")]
    typer.echo(f"{files} files of {np.mean(measured):.2f} s each, as measured on {len(measured)}")
    typer.echo("workers    hours  speed-up  busy  repeated  limited by")
    for row in rows:
        figures = f"{row.workers:>7} {row.hours:>8.2f} {row.speed_up:>9.1f} {row.busy:>5.2f} {row.repeated:>9}"
        typer.echo(f"{figures}  {row.limit}")
    figures_of: list[dict[str, Any]] = [{name: getattr(row, name) for name in row.__slots__} for row in rows]
    _write(json_file, {"files": files, "mean_s": float(np.mean(measured)), "rows": figures_of})


def _write(path: Path | None, report: dict[str, Any]) -> None:
    if path:
        path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    app()

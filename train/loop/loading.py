"""From examples to batches: the processes that make them, and what may happen to these.

One set of processes serves a whole run, so that the first batches of an epoch are ready when it begins.
"""

import contextlib
import errno
import os
import re
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from train.data.dataset import LabelledImage
from train.distributed import World
from train.errors import TrainError
from train.loop.examples import RunExamples, SeededExample, first_examples
from train.loop.options import FitOptions
from train.models.targets import Targets, pad_targets

SHARED_MEMORY_FULL = (
    "shared memory (/dev/shm) is full, through which workers pass images on. Use --workers 0 or, in Docker, "
    "--shm-size 1g or more"
)


class Batch(NamedTuple):
    """A part of a step: images uint8 (B,3,S,S) RGB, a quarter of the bytes of float32 to copy, and their targets."""

    images: Tensor
    targets: Targets


def load_batches(
    examples: RunExamples,
    epoch: int,
    first_step: int,
    *,
    world: World,
    workers: int,
    pin_memory: bool,
    share: Callable[[], float] | None = None,
) -> Generator[Batch]:
    """This process's parts of the batches of a run, made by ``workers`` processes, in order.

    Args:
        examples: of the run.
        epoch: to begin in.
        first_step: of that epoch.
        world: the processes that share each step.
        workers: processes to start; with 0, this one makes the batches.
        pin_memory: for faster copies to a GPU.
        share: tells how much is done of a run that is limited in time.

    Raises:
        TrainError: an image cannot be read, a worker was killed, or shared memory is full.
    """
    loader: DataLoader[Batch] = DataLoader(
        examples,  # type: ignore[arg-type]
        batch_sampler=examples.parts(epoch, first_step, world, share),
        num_workers=workers,
        collate_fn=collate if workers == 0 else collate_in_worker,
        worker_init_fn=worker_init,
        pin_memory=pin_memory,
        generator=torch.Generator(),  # else each start would draw from torch's own
    )
    return unwrap_worker_errors(loader, workers)


def first_augmented_images(images: list[LabelledImage], options: FitOptions, count: int) -> Tensor:
    """Up to ``count`` images of the first epoch at the input size of the run: float32 (B,3,S,S) RGB in 0..1."""
    return collate(first_examples(images, options, count)).images.float().div_(255)


def worker_init(_worker: int) -> None:
    """Keep a worker process away from the signals of the run, and below it in priority."""
    if os.name == "posix":
        os.setpgid(0, 0)  # a terminal sends Ctrl+C to its group; the run ends its workers itself, once it is done
        os.nice(10)  # on a CPU the compute threads wait for one another: on two cores this gives 15 % more steps


def unwrap_worker_errors(batches: Iterable[Batch], workers: int) -> Generator[Batch]:
    """Pass batches on; reduce an error from a worker, which holds its traceback as text, to its message."""
    try:
        with worker_errors(workers):
            for images, (boxes, labels, seeds, counts) in batches:
                targets = Targets(torch.as_tensor(boxes), torch.as_tensor(labels), torch.as_tensor(seeds), counts)
                yield Batch(images, targets)
    except TrainError as error:
        raise TrainError(str(error).strip().splitlines()[-1].removeprefix("train.errors.TrainError: ")) from error


@contextlib.contextmanager
def worker_errors(workers: int) -> Iterator[None]:
    """A context that words what befalls worker processes; torch raises it wherever the main process is.

    Raises:
        TrainError: a worker was killed or could not be started, or shared memory is full.
    """
    try:
        yield
    except RuntimeError as error:
        # How a worker ended is in the cause, where that came first.
        if reason := _worker_failure(f"{error} {error.__cause__ or ''}"):
            raise TrainError(reason) from error
        raise
    except OSError as error:
        if error.errno == errno.ENOSPC and not error.filename:  # a semaphore of a queue
            raise TrainError(SHARED_MEMORY_FULL) from error
        if workers and error.errno in (errno.EAGAIN, errno.ENOMEM, errno.EMFILE):
            raise TrainError(
                f"cannot run {workers} worker processes: {error.strerror}. Use fewer --workers; --workers 0 needs none"
            ) from error
        raise


def _worker_failure(text: str) -> str | None:
    """The message for an error of torch about its workers; None for another error."""
    if "Too many open files" in text:
        return "too many open files. Use fewer --workers, or raise the limit with: ulimit -n 65536"
    # A file of torch's there is named </torch_…>; the kernel kills with a bus error what it has no memory for.
    if any(mark in text for mark in ("shared memory", "</torch_", "Bus error")):
        return SHARED_MEMORY_FULL
    if "DataLoader worker" not in text:
        return None
    killed = re.search(r"killed by signal: ([^.]+)", text)
    how = f"was killed by the system (signal {killed[1].strip()})" if killed else "ended unexpectedly"
    return f"a worker process {how}; often there is not enough memory. Use fewer --workers or a smaller --batch-size"


def collate(examples: list[SeededExample]) -> Batch:
    """Stack the images, which have one size, and pad the boxes to one number."""
    images = torch.from_numpy(np.stack([example.image for example, _ in examples]))
    boxes = [torch.from_numpy(example.boxes) for example, _ in examples]
    labels = [torch.from_numpy(example.classes + 1) for example, _ in examples]
    return Batch(images.permute(0, 3, 1, 2), pad_targets(boxes, labels, [seed for _, seed in examples]))


def collate_in_worker(examples: list[SeededExample]) -> Batch:
    """As ``collate``, the images in shared memory: where that is full, it fails here and not in the queue, unseen.

    Targets are sent as arrays, which need no shared memory: a tensor takes a file and a page of it, however small.

    Raises:
        TrainError: shared memory is full.
    """
    images, targets = collate(examples)
    with worker_errors(0):
        images.share_memory_()
    boxes, labels, seeds, counts = targets
    return Batch(images, Targets(boxes.numpy(), labels.numpy(), seeds.numpy(), counts))  # type: ignore[arg-type]

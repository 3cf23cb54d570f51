"""Which examples the steps of a run see.

Every example is a function of (seed, epoch, position in the epoch) and its side alone. So a run can be resumed
anywhere, and divided among any number of processes, without a change in what each step sees.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from torch.utils.data import Dataset

from train.data.augment import Augment, AugmentOptions
from train.data.dataset import LabelledImage
from train.data.examples import Example
from train.data.image_cache import ReadImage
from train.data.images import read_image
from train.distributed import World
from train.loop.options import FitOptions
from train.models.architectures import SIZE_MULTIPLE_PX

SeededExample = tuple[Example, int]
"""An example, and the seed of the draws that a step makes for it."""


class Place(NamedTuple):
    """Where an example is in a run."""

    epoch: int
    position: int
    size: int
    """Side in pixels."""


class EpochExamples:
    """The augmented examples of one epoch in their shuffled order."""

    def __init__(
        self, images: list[LabelledImage], options: FitOptions, epoch: int, read: ReadImage = read_image
    ) -> None:
        """Of the images of a split; ``read`` reads a file, or finds it in memory."""
        self.options = options
        self.epoch = epoch
        self.order = np.random.default_rng([options.seed, epoch]).permutation(len(images))
        self.steps = len(images) // options.batch_size
        self._images, self._read = images, read
        self._augment: dict[int, Augment] = {}
        self._size_draws = np.random.default_rng([options.seed, epoch, 1]).random(self.steps)

    def __len__(self) -> int:
        return self.steps * self.options.batch_size

    def __getitem__(self, position: int) -> SeededExample:
        """The example at a position of a run that is counted in epochs, and its seed."""
        if not 0 <= position < len(self):
            raise IndexError(position)
        return self.example(position, self.size_of_step(position // self.options.batch_size))

    def example(self, position: int, size: int) -> SeededExample:
        """The example at a position with this side in pixels, and its seed."""
        if size not in self._augment:
            o = self.options
            chosen = AugmentOptions(
                mosaic=o.mosaic, crowd=o.crowd, small_share=o.small_share, flip=o.flip, rotation_deg=o.rotation_deg
            )
            self._augment[size] = Augment(self._images, size, chosen, self._read)
        rng = np.random.default_rng([self.options.seed, self.epoch, position, 2])
        return self._augment[size](int(self.order[position]), rng), int(rng.integers(2**62))

    def size_of_step(self, step: int, share: float | None = None) -> int:
        """The side in pixels of the examples of a step.

        Args:
            step: of this epoch.
            share: how much of the run is done, from 0 to 1; by default as counted in epochs.
        """
        if share is None:
            share = (self.epoch + step / self.steps) / self.options.epochs
        choices = sizes_around(self.options.size_at(share), self.options.multi_scale)
        return choices[int(self._size_draws[step] * len(choices))]

    def parts(self, first_step: int, world: World) -> list[list[int]]:
        """Positions of the examples of each part of each step from ``first_step`` on that belong to this process."""
        images = self.options.images_per_part(world.size)
        parts = range(first_step * self.options.accumulate, self.steps * self.options.accumulate)
        starts = [(part * world.size + world.rank) * images for part in parts]
        return [list(range(start, start + images)) for start in starts]


class RunExamples(Dataset[SeededExample]):
    """The examples of all epochs of a run, by their places."""

    def __init__(self, images: list[LabelledImage], options: FitOptions, read: ReadImage = read_image) -> None:
        self.options = options
        self._images, self._read = images, read
        self._latest: EpochExamples | None = None

    def __getitem__(self, place: Place) -> SeededExample:
        return self.epoch(place.epoch).example(place.position, place.size)

    def epoch(self, number: int) -> EpochExamples:
        """The examples of an epoch."""
        if self._latest is None or self._latest.epoch != number:
            self._latest = EpochExamples(self._images, self.options, number, self._read)
        return self._latest

    def parts(
        self, epoch: int, first_step: int, world: World, share: Callable[[], float] | None = None
    ) -> Iterator[list[Place]]:
        """Places of the examples of each part of a step that belong to this process, to the end of the run.

        Args:
            epoch: to begin in.
            first_step: of that epoch.
            world: the processes that share each step.
            share: tells how much is done of a run that is limited in time, which then has no last epoch.
        """
        for number in itertools.count(epoch) if share else range(epoch, self.options.epochs):
            examples = self.epoch(number)
            for part in examples.parts(first_step, world):
                step = part[0] // self.options.batch_size
                size = examples.size_of_step(step, share() if share else None)
                yield [Place(number, position, size) for position in part]
            first_step = 0


def first_examples(images: list[LabelledImage], options: FitOptions, count: int) -> list[SeededExample]:
    """Up to ``count`` examples of the first epoch at the input size of the run."""
    epoch = EpochExamples(images, replace(options, multi_scale=0.0, sizes=None), epoch=0)
    return [epoch[position] for position in range(min(count, len(epoch)))]


def sizes_around(size: int, spread: float) -> list[int]:
    """Sides in pixels that differ from ``size`` by the share ``spread`` at most: multiples of 32."""
    low, high = size * (1 - spread), size * (1 + spread)
    multiples = range(2 * SIZE_MULTIPLE_PX, int(high) + 1, SIZE_MULTIPLE_PX)
    return [multiple for multiple in multiples if multiple >= low] or [size]

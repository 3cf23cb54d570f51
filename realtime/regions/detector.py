"""Detection that looks closer: the whole frame, tiles of it, and close-ups of the faces that it does not show well."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Protocol, TypeVar

import numpy as np

from realtime.faces.boxes import inside_any
from realtime.faces.known import KnownFaces
from realtime.faces.looks import FEATURES_PX, Looks
from realtime.inference.batches import detect_in_batches
from realtime.inference.companions import Companion
from realtime.inference.timed import Detector
from realtime.metadata import ModelMetadata
from realtime.regions.close_ups import CloseUps, close_ups
from realtime.regions.merge import Seen, cut_off, merge
from realtime.regions.targets import (
    are_undecided,
    is_candidate,
    is_face,
    replace_by_views,
    scores_in_views,
    shown_by_tiles_alone,
    targets_among,
)
from realtime.regions.tiles import Reach, regions_of, scale_of
from realtime.structures import Detections

SMALL = 0.25
"""Faces lower than this share of the network's input get a close-up: a quarter of their parts are missed there."""


Done = TypeVar("Done")


class Begin(Protocol):
    """Begins work, perhaps in another thread."""

    def __call__(self, work: Callable[[], Done], /) -> Callable[[], Done]:
        """What to call for the result."""


def here(work: Callable[[], Done], /) -> Callable[[], Done]:
    """Leave work to the thread that asks for its result."""
    return work


@dataclass(frozen=True, slots=True)
class CloserDetector:
    """Looks at a still image in several regions with one network.

    Tiles give faces across the room enough pixels; close-ups confirm them and find their parts.
    """

    network: Detector
    reach: Reach

    @property
    def metadata(self) -> ModelMetadata:
        """Of the model."""
        return self.network.metadata

    @property
    def concurrency(self) -> int:
        """How many images may be processed at once, each by a thread of its own."""
        return self.network.concurrency

    def detect(self, image: np.ndarray) -> Detections:
        """Find objects.

        Args:
            image: uint8 (H,W,3), BGR.

        Returns:
            What was found in all regions, boxes in pixels of ``image``, best first.
        """
        regions = regions_of(size_of(image), self.metadata.input_wh, self.reach, tile_wh=self.network.tile_wh)
        ((found, _),) = run_together([detect_closer(self.network, image, regions)], partial(look_at, self.network))
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """One image that goes through a network."""

    image: np.ndarray
    """uint8 (H,W,3), BGR."""
    companion: Companion | None = None
    """Of the model, which it goes through in place of the model, if there is one."""


Steps = Generator[Sequence[Look], Sequence[Detections], tuple[Detections, Looks | None]]
"""How a frame is detected: yields looks that do not wait for each other; is sent what was found in each; returns what
was found in the frame, and all regions that were looked at."""


def run_together(
    frames: Sequence[Steps], look_at: Callable[[Sequence[Look]], Sequence[Detections]]
) -> list[tuple[Detections, Looks | None]]:
    """Detect in several frames, a step of all of them at a time.

    Args:
        frames: the steps of each.
        look_at: gives what is in each of some images.

    Returns:
        What each returns.
    """
    done: dict[int, tuple[Detections, Looks | None]] = {}
    answers: dict[int, Sequence[Detections] | None] = dict.fromkeys(range(len(frames)))
    while answers:
        wanted: dict[int, Sequence[Look]] = {}
        for number, found in answers.items():
            try:
                wanted[number] = next(frames[number]) if found is None else frames[number].send(found)
            except StopIteration as end:
                done[number] = end.value
        everything = iter(look_at([look for looks in wanted.values() for look in looks]) if wanted else ())
        answers = {number: list(islice(everything, len(looks))) for number, looks in wanted.items()}
    return [done[number] for number in range(len(frames))]


def look_at(network: Detector, looks: Sequence[Look], begin: Begin = here) -> list[Detections]:
    """What is in each image: all in one run where the network takes several, else the first in this thread."""
    if network.max_batch > 1:
        return _in_batches(network, looks)
    others = [begin(partial(_look, _chosen(network, look), look.image)) for look in looks[1:]]
    return [_look(_chosen(network, look), look.image) for look in looks[:1]] + [other() for other in others]


def _in_batches(network: Detector, looks: Sequence[Look]) -> list[Detections]:
    chosen = [_chosen(network, look) for look in looks]
    found: dict[int, Detections] = {}
    for each in dict.fromkeys(chosen):
        rows = [i for i, one in enumerate(chosen) if one is each]
        found |= zip(rows, detect_in_batches(each, [looks[i].image for i in rows]), strict=True)
    return [found[i] for i in range(len(looks))]


def _chosen(network: Detector, look: Look) -> Detector:
    """What an image goes through."""
    if look.companion is None:
        return network
    return (network.wide if look.companion is Companion.WIDE else network.narrow) or network


def _look(network: Detector, image: np.ndarray) -> Detections:
    return network.infer(*network.preprocess(image))


def detect_whole(image: np.ndarray) -> Steps:
    """Look at the whole of an image, once."""
    (found,) = yield [Look(image)]
    return found, None


def detect_closer(network: Detector, image: np.ndarray, regions: np.ndarray, known: KnownFaces | None = None) -> Steps:
    """Look at regions of an image, then at close-ups of faces, found there or known before, that need it.

    Those are the faces that are small in the whole image, and those that only a tile showed, whose network may know no
    parts: the close-up is a second opinion. In moving images, whether a tile showed a face differs from frame to frame,
    and so would its box. Of still images, what two opinions leave undecided gets a third; of moving ones, later frames
    decide.

    Args:
        network: that will look.
        image: uint8 (H,W,3), BGR.
        regions: (R,4) int, xyxy px, the whole image first.
        known: from earlier frames, at the time of this one; None for a still image.

    Returns:
        What was found, boxes in pixels of ``image``, best first; and all regions that were looked at.
    """
    metadata = network.metadata
    whole, *tiles = cut_out(image, regions)
    answers = yield [Look(whole), *(Look(tile, Companion.WIDE) for tile in tiles)]
    tiles_seen = all_seen(network.tile_wh, regions[1:], answers[1:])
    seen = all_seen(metadata.input_wh, regions[:1], answers[:1]) + tiles_seen
    small_px = SMALL * min(metadata.input_wh) if known is None else FEATURES_PX
    found = merged(without_repeats(seen, size_of(image), metadata, small_px), size_of(image), metadata)
    candidate = is_candidate(found, metadata)
    is_small = looks_of(seen[:1]).heights_px(found.boxes) < small_px
    doubtful = candidate & (is_small | shown_by_tiles_alone(found, seen, metadata))
    targets = targets_among(found, candidate, doubtful, is_small, known or KnownFaces.none())
    if not len(targets.boxes):
        return found, looks_of(seen)
    packs = close_ups(image, targets.boxes, metadata.input_wh)
    views = split_views(packs, (yield [Look(pack.image) for pack in packs]))
    in_views = scores_in_views(targets.boxes, targets.buffers, views)
    scores = (targets.scores + in_views) / 2
    undecided = are_undecided(scores, in_views, metadata.threshold) & (known is None)
    if undecided.any():
        boxes, buffers = targets.boxes[undecided], targets.buffers[undecided]
        again = close_ups(image, boxes, metadata.input_wh, are_mirrored=True)
        mirrored_views = split_views(again, (yield [Look(pack.image) for pack in again]))
        scores[undecided] += (scores_in_views(boxes, buffers, mirrored_views) - scores[undecided]) / 3
    return replace_by_views(metadata, found, targets, views, scores), looks_of(seen, packs)


def cut_out(image: np.ndarray, regions: np.ndarray) -> list[np.ndarray]:
    """The regions (R,4) int xyxy px of an image, as views of it."""
    return [image[y1:y2, x1:x2] for x1, y1, x2, y2 in regions.tolist()]


def all_seen(input_wh: tuple[int, int], regions: np.ndarray, found: Sequence[Detections]) -> list[Seen]:
    """What an input of this size showed of each of the regions (R,4) int, boxes in pixels of the region."""
    return [_seen(input_wh, *each) for each in zip(regions, found, strict=True)]


def _seen(input_wh: tuple[int, int], region: np.ndarray, found: Detections) -> Seen:
    x1, y1, x2, y2 = region.tolist()
    moved = found.with_boxes(found.boxes + np.array([x1, y1, x1, y1], np.float32))
    return Seen(moved, region, scale_of((x2 - x1, y2 - y1), input_wh))


def split_views(packs: Sequence[CloseUps], found: Sequence[Detections]) -> list[Detections]:
    """What each close-up shows, boxes in pixels of the frame, of what was found in the images of the packs."""
    return [view for pack, one in zip(packs, found, strict=True) for view in pack.split(one)]


def size_of(image: np.ndarray) -> tuple[int, int]:
    """Width and height in pixels."""
    return image.shape[1], image.shape[0]


def merged(seen: Sequence[Seen], frame_wh: tuple[int, int], metadata: ModelMetadata) -> Detections:
    """What was found in all regions of a frame."""
    return seen[0].found if len(seen) == 1 else merge(seen, frame_wh, metadata.max_detections * len(seen))


def without_repeats(
    seen: Sequence[Seen], frame_wh: tuple[int, int], metadata: ModelMetadata, small_px: float = FEATURES_PX
) -> list[Seen]:
    """The same without what the others show of faces that the first region shows well, ``small_px`` high or more.

    Otherwise the box of a near face would jump whenever a tile has its turn there, and what is larger in a tile than
    any face of the training would have nostrils for eyes.
    """
    first = seen[0].found
    heights = looks_of(seen[:1]).heights_px(first.boxes)
    near = is_face(first) & (first.scores >= metadata.threshold) & (heights >= small_px)
    near &= ~cut_off(seen[0], frame_wh)
    faces = first.boxes[near]
    return [seen[0], *(replace(one, found=one.found[~inside_any(one.found.boxes, faces)]) for one in seen[1:])]


def looks_of(seen: Sequence[Seen], packs: Sequence[CloseUps] = ()) -> Looks:
    """The regions and close-ups of a frame."""
    regions = [one.region[None] for one in seen] + [pack.regions for pack in packs]
    scales = [np.array([one.scale]) for one in seen] + [pack.scales for pack in packs]
    return Looks(np.concatenate(regions), np.concatenate(scales))

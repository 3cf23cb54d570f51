"""Detection that looks closer: the whole frame, tiles of it, and close-ups of the faces that it does not show well."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Protocol, TypeVar

import numpy as np

from realtime.faces.boxes import grown, inside_any, iou
from realtime.faces.known import KnownFaces
from realtime.faces.looks import FEATURES_PX, Looks
from realtime.inference.batches import detect_in_batches
from realtime.inference.companions import Companion
from realtime.inference.timed import Detector
from realtime.metadata import ModelMetadata
from realtime.regions.close_ups import CloseUps, close_ups
from realtime.regions.merge import Seen, cut_off, merge
from realtime.regions.tiles import Reach, regions_of, scale_of
from realtime.structures import Detections

SMALL = 0.25
"""Faces lower than this share of the network's input get a close-up: a quarter of their parts are missed there."""
MIN_IOU = 0.3
"""Of a face in its close-up with the face as it was found: small boxes are coarse."""
BUFFER = 0.4
"""A face that is known from earlier frames may have moved: then both boxes are grown by this share on each side."""
MAX_CLOSE_UPS = 64
"""Of the best candidates, so that a crowd takes bounded time."""


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
    and so would its box.

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
    doubtful = candidate & (is_small | _shown_by_tiles_alone(found, seen, metadata))
    targets = _targets(found, candidate, doubtful, is_small, known or KnownFaces.none())
    if not len(targets.boxes):
        return found, looks_of(seen)
    packs = close_ups(image, targets.boxes, metadata.input_wh)
    views = split_views(packs, (yield [Look(pack.image) for pack in packs]))
    return replace_by_views(metadata, found, targets, views), looks_of(seen, packs)


@dataclass(frozen=True, slots=True, eq=False)
class Targets:
    """Faces that get a close-up."""

    boxes: np.ndarray
    """(F,4) float, xyxy px."""
    scores: np.ndarray
    """(F,) float, 0..1, of the first look, or of earlier frames."""
    buffers: np.ndarray
    """(F,) float, by which share their boxes are grown to be compared with those in the close-up."""
    rows: np.ndarray
    """(N,) bool, which detections of the first look are among them."""
    are_small: np.ndarray
    """(F,) bool, which are too small to be seen in the whole image: what was found in them is left to the close-up."""


def targets_of(known: KnownFaces, found: Detections) -> Targets:
    """Known faces as targets, and with them the detections that are probably the same faces."""
    rows = is_face(found) & inside_any(found.boxes, known.boxes)
    return Targets(known.boxes, known.scores, np.full(len(known), BUFFER), rows, np.ones(len(known), bool))


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


def replace_by_views(
    metadata: ModelMetadata, found: Detections, targets: Targets, views: Sequence[Detections]
) -> Detections:
    """Replace targets, and all that lies in them, by what their close-ups show.

    Of a large one that its close-up does not show, the face alone is dropped: the rest was seen in the whole image.
    """
    confirmed = [
        _confirmed(view, face, score, buffer)
        for view, face, score, buffer in zip(
            views, targets.boxes, targets.scores.tolist(), targets.buffers.tolist(), strict=True
        )
    ]
    others = found.boxes[is_candidate(found, metadata) & ~targets.rows]
    is_emptied = targets.are_small | np.array([len(face) > 0 for face in confirmed], bool)
    replaced = inside_any(found.boxes, targets.boxes[is_emptied]) & ~inside_any(found.boxes, others)
    together = Detections.concatenate([found[~targets.rows & ~replaced], *confirmed])
    together = together[np.argsort(-together.scores, kind="stable")]
    everywhere = Seen(together, np.zeros(4), 1.0)
    return merge([everywhere], (0, 0), len(together))


def is_face(found: Detections) -> np.ndarray:
    """Which detections are faces: (N,) bool."""
    return np.array([name.lower() == "face" for name in found.names], bool)


def is_candidate(found: Detections, metadata: ModelMetadata) -> np.ndarray:
    """Which detections are faces that a close-up may confirm: (N,) bool."""
    candidate: np.ndarray = is_face(found) & (found.scores >= metadata.levels.candidate)
    return candidate


def _shown_by_tiles_alone(found: Detections, seen: Sequence[Seen], metadata: ModelMetadata) -> np.ndarray:
    """Which boxes (N,) bool are those of faces in a tile that the whole image, the first region, does not show."""
    whole, *tiles = (one.found[is_candidate(one.found, metadata)] for one in seen)
    in_tiles = np.concatenate([np.zeros((0, 4), np.float32), *(faces.boxes for faces in tiles)])
    in_whole = whole.above(metadata.threshold).boxes
    alone: np.ndarray = _is_among(found.boxes, in_tiles) & ~_is_among(found.boxes, in_whole)
    return alone


def _is_among(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Which boxes (N,4) are about the same as one of the others (M,4): (N,) bool."""
    is_among: np.ndarray = iou(boxes[:, None], others[None]).max(axis=1, initial=0.0) >= MIN_IOU
    return is_among


def _targets(
    found: Detections, candidate: np.ndarray, doubtful: np.ndarray, is_small: np.ndarray, known: KnownFaces
) -> Targets:
    """Known faces, and the candidates (N,) bool that are ``doubtful`` (N,) bool.

    A known face is looked at where it is expected, though it may have been found elsewhere: the same view in each frame
    gives the steadiest boxes.
    """
    large = found.boxes[candidate & ~doubtful]
    known = known[~inside_any(known.boxes, large)][:MAX_CLOSE_UPS]
    again = doubtful & inside_any(found.boxes, known.boxes)
    fresh = doubtful & ~again & ~inside_any(found.boxes, large)
    fresh[np.flatnonzero(fresh)[MAX_CLOSE_UPS - len(known) :]] = False
    return Targets(
        np.concatenate([found.boxes[fresh], known.boxes.astype(np.float32)]),
        np.concatenate([found.scores[fresh], known.scores]),
        np.concatenate([np.zeros(fresh.sum()), np.full(len(known), BUFFER)]),
        fresh | again,
        np.concatenate([is_small[fresh], np.ones(len(known), bool)]),
    )


def _confirmed(view: Detections, face: np.ndarray, score: float, buffer: float) -> Detections:
    """A face (4,) as its close-up shows it, with its parts; nothing if the close-up does not show it.

    Its score is the mean of ``score``, that of the first look, and that of the close-up: two opinions. A part that is
    seen in a face is more likely than by itself, 1 - (1 - part)², but never more likely than the face.
    """
    faces = is_face(view)
    overlap = np.where(faces, iou(grown(view.boxes, buffer), grown(face[None], buffer)), 0.0)
    if not len(view) or overlap.max() < MIN_IOU:
        return view[:0]
    best = int(np.argmax(overlap * view.scores))
    mean = (score + float(view.scores[best])) / 2
    scores = np.minimum(1 - (1 - view.scores) ** 2, mean)
    scores[best] = mean
    part_of_it = ~faces & inside_any(view.boxes, view.boxes[best : best + 1])
    part_of_it[best] = True
    return replace(view, scores=scores.astype(np.float32))[part_of_it]

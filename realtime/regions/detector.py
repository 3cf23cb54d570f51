"""Detection that looks closer: the whole frame, tiles of it, and close-ups of the small faces that were found."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol, TypeVar

import numpy as np

from realtime.faces.boxes import grown, inside_any, iou
from realtime.faces.known import KnownFaces
from realtime.faces.looks import FEATURES_PX, Looks
from realtime.inference.timed import Detector
from realtime.metadata import ModelMetadata
from realtime.regions.close_ups import CloseUps, close_ups
from realtime.regions.merge import Seen, merge
from realtime.regions.tiles import Reach, regions_of
from realtime.structures import Detections

MIN_CANDIDATE = 0.3
"""Score from which on a small face gets a close-up."""
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
        regions = regions_of((image.shape[1], image.shape[0]), self.metadata.input_wh, self.reach)
        return detect_closer(self.network, image, regions)[0]


def detect_closer(
    network: Detector,
    image: np.ndarray,
    regions: np.ndarray,
    known: KnownFaces | None = None,
    begin: Begin = here,
) -> tuple[Detections, Looks]:
    """Look at regions of an image, then at close-ups of the small faces that were found there or known before.

    In moving images, what the whole frame shows is small by its size there: whether a tile showed it larger differs
    from frame to frame, and so would its box.

    Args:
        network: looks.
        image: uint8 (H,W,3), BGR.
        regions: (R,4) int, xyxy px, the whole image first.
        known: from earlier frames, at the time of this one; None for a still image.
        begin: where looks run that need not wait for each other.

    Returns:
        What was found, boxes in pixels of ``image``, best first; and all regions that were looked at.
    """
    seen = look_at_regions(network, image, regions, begin)
    if known is None:
        found, looks = merged(seen, network.metadata), looks_of(seen)
        targets = _targets(found, looks, KnownFaces.none(), SMALL * min(network.metadata.input_wh))
    else:
        found, looks = merged(whole_first(seen, network.metadata), network.metadata), looks_of(seen[:1])
        targets = _targets(found, looks, known, FEATURES_PX)
    if not len(targets.boxes):
        return found, looks_of(seen)
    packs = close_ups(image, targets.boxes, network.metadata.input_wh)
    pending = [begin(partial(look_at_close_ups, network, pack)) for pack in packs]
    views = [view for views_of_pack in pending for view in views_of_pack()]
    return replace_by_views(found, targets, views), looks_of(seen, packs)


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


def targets_of(known: KnownFaces, found: Detections) -> Targets:
    """Known faces as targets, and with them the detections that are probably the same faces."""
    rows = is_face(found) & inside_any(found.boxes, known.boxes)
    return Targets(known.boxes, known.scores, np.full(len(known), BUFFER), rows)


def look(network: Detector, image: np.ndarray, region: np.ndarray) -> Seen:
    """Look at a region (4,) int xyxy px of an image."""
    x1, y1, x2, y2 = region.tolist()
    found = network.infer(*network.preprocess(image[y1:y2, x1:x2]))
    moved = found.with_boxes(found.boxes + np.array([x1, y1, x1, y1], np.float32))
    input_w, input_h = network.metadata.input_wh
    return Seen(moved, region, min(input_w / (x2 - x1), input_h / (y2 - y1)))


def look_at_regions(network: Detector, image: np.ndarray, regions: np.ndarray, begin: Begin = here) -> list[Seen]:
    """Look at several regions (R,4), the first in this thread."""
    others = [begin(partial(look, network, image, region)) for region in regions[1:]]
    return [look(network, image, regions[0]), *(other() for other in others)]


def look_at_close_ups(network: Detector, pack: CloseUps) -> list[Detections]:
    """What each close-up shows, boxes in pixels of the frame."""
    return pack.split(network.infer(*network.preprocess(pack.image)))


def merged(seen: Sequence[Seen], metadata: ModelMetadata) -> Detections:
    """What was found in all regions of a frame, the whole frame first."""
    if len(seen) == 1:
        return seen[0].found
    x1, y1, x2, y2 = seen[0].region.tolist()
    return merge(seen, (x2 - x1, y2 - y1), metadata.max_detections * len(seen))


def whole_first(seen: Sequence[Seen], metadata: ModelMetadata) -> list[Seen]:
    """The same without what tiles show of the faces that the whole frame shows well.

    Otherwise the box of a near face would jump whenever a tile has its turn there.
    """
    whole = seen[0].found
    heights = looks_of(seen[:1]).heights_px(whole.boxes)
    near = is_face(whole) & (whole.scores >= metadata.threshold) & (heights >= FEATURES_PX)
    faces = whole.boxes[near]
    return [seen[0], *(replace(one, found=one.found[~inside_any(one.found.boxes, faces)]) for one in seen[1:])]


def looks_of(seen: Sequence[Seen], packs: Sequence[CloseUps] = ()) -> Looks:
    """The regions and close-ups of a frame."""
    regions = [one.region[None] for one in seen] + [pack.regions for pack in packs]
    scales = [np.array([one.scale]) for one in seen] + [pack.scales for pack in packs]
    return Looks(np.concatenate(regions), np.concatenate(scales))


def replace_by_views(found: Detections, targets: Targets, views: Sequence[Detections]) -> Detections:
    """Replace targets, and all that lies in them, by what their close-ups show."""
    confirmed = [
        _confirmed(view, face, score, buffer)
        for view, face, score, buffer in zip(
            views, targets.boxes, targets.scores.tolist(), targets.buffers.tolist(), strict=True
        )
    ]
    others = found.boxes[is_face(found) & ~targets.rows & (found.scores >= MIN_CANDIDATE)]
    replaced = inside_any(found.boxes, targets.boxes) & ~inside_any(found.boxes, others)
    together = Detections.concatenate([found[~targets.rows & ~replaced], *confirmed])
    together = together[np.argsort(-together.scores, kind="stable")]
    everywhere = Seen(together, np.zeros(4), 1.0)
    return merge([everywhere], (0, 0), len(together))


def is_face(found: Detections) -> np.ndarray:
    """Which detections are faces: (N,) bool."""
    return np.array([name.lower() == "face" for name in found.names], bool)


def _targets(found: Detections, looks: Looks, known: KnownFaces, small_px: float) -> Targets:
    """Known faces, and those among the detections that no look showed ``small_px`` high.

    A known face is looked at where it is expected, though it may have been found elsewhere: the same view in each frame
    gives the steadiest boxes.
    """
    candidate = is_face(found) & (found.scores >= MIN_CANDIDATE)
    small = looks.heights_px(found.boxes) < small_px
    large = found.boxes[candidate & ~small]
    known = known[~inside_any(known.boxes, large)][:MAX_CLOSE_UPS]
    again = candidate & small & inside_any(found.boxes, known.boxes)
    fresh = candidate & small & ~again & ~inside_any(found.boxes, large)
    fresh[np.flatnonzero(fresh)[MAX_CLOSE_UPS - len(known) :]] = False
    return Targets(
        np.concatenate([found.boxes[fresh], known.boxes.astype(np.float32)]),
        np.concatenate([found.scores[fresh], known.scores]),
        np.concatenate([np.zeros(fresh.sum()), np.full(len(known), BUFFER)]),
        fresh | again,
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

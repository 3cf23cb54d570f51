"""Which regions of each frame of a video or a camera go through the network."""

import math
from collections import deque
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from realtime.faces.boxes import inside_any
from realtime.faces.known import KnownFaces
from realtime.faces.looks import FEATURES_PX
from realtime.inference.timed import Detected
from realtime.metadata import ModelMetadata
from realtime.regions.budget import FrameBudget
from realtime.regions.close_ups import COLUMNS
from realtime.regions.cuts import CutDetector
from realtime.regions.detector import size_of
from realtime.regions.following import WHOLE_S, Follower, contains
from realtime.regions.rotation import LIVE_ROUND_S, TileRotation
from realtime.regions.targets import is_candidate, is_face
from realtime.regions.tiles import Reach, regions_of
from realtime.structures import Frame

LAG_FRAMES = 3
"""Frames of a file that may be detected at the same time: a plan knows the faces of the frame so many before, whatever
the number of threads."""


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """What is looked at in a frame."""

    regions: np.ndarray
    """(R,4) int64, xyxy px: the whole frame, and tiles; or the part around ``followed``, and others."""
    known: KnownFaces
    """Faces from earlier frames that get a close-up, where they are expected in this one."""
    confirms: bool
    """Whether small faces that are found get a close-up too, which has to wait for the look that finds them."""
    followed: np.ndarray | None = None
    """(F,4) float, xyxy px: all faces there are, expected in the first region, which is a part of the frame for the
    narrow network."""


class Planner(Protocol):
    """Decides for one frame after the other."""

    def plan(self, frame: Frame) -> Plan | None:
        """What to look at in the next frame; None if one look at the whole of it is all."""

    def note(self, detected: Detected, tracked: KnownFaces) -> None:
        """Learn from the next frame that was detected, and the faces that are known after it."""


class NearPlanner:
    """The whole of each frame, once."""

    def plan(self, frame: Frame) -> None:
        """Nothing more than that."""

    def note(self, detected: Detected, tracked: KnownFaces) -> None:
        """Nothing to learn."""


class FilePlanner:
    """Every frame of a file gets the whole frame, close-ups of all small faces, and the tiles.

    ``auto`` looks at one tile at most, in turn, and at all of them where a shot begins; other reaches at all of them in
    each frame. On average ``auto`` takes 1.6 looks at 24 frames/s, and one more for each four small faces.
    """

    def __init__(self, metadata: ModelMetadata, reach: Reach, tile_wh: tuple[int, int] | None = None) -> None:
        self._rotation = TileRotation(metadata.input_wh, reach, tile_wh=tile_wh)
        self._input_wh = metadata.input_wh
        self._in_turn = reach.is_auto
        self._known = deque([KnownFaces.none()] * LAG_FRAMES)
        self._cuts = CutDetector()

    def plan(self, frame: Frame) -> Plan | None:
        """What to look at in the next frame."""
        known = self._known.popleft().at(frame.pts_s)
        is_cut = self._cuts.begins_shot(frame)
        tiles = self._rotation.tiles(size_of(frame.image))
        if not len(tiles):
            return None
        if self._in_turn and not is_cut:
            tiles = self._rotation.take(frame.pts_s) if self._rotation.is_due(frame.pts_s) else tiles[:0]
        return Plan(np.concatenate([_whole(frame), tiles]), _small(known, frame, self._input_wh), confirms=True)

    def note(self, detected: Detected, tracked: KnownFaces) -> None:
        """Learn from a frame."""
        self._known.append(tracked)


class LivePlanner:
    """A frame that is waited for gets one look, and one more where its time allows it.

    The first is at the whole frame; or, while a narrow network shows all known faces in a part of it, at that part,
    with the whole frame as the other look when it is due. Otherwise the other look is at a tile, or at close-ups of up
    to four faces, in turn.
    """

    def __init__(self, metadata: ModelMetadata, reach: Reach, narrow_wh: tuple[int, int] | None = None) -> None:
        self._rotation = TileRotation(metadata.input_wh, reach, LIVE_ROUND_S)
        self._metadata = metadata
        self._input_wh = metadata.input_wh
        self._follower = Follower(metadata.input_wh, narrow_wh) if narrow_wh else None
        self.may_follow = narrow_wh is not None
        """Whether it may plan looks through the narrow network."""
        self.budget = FrameBudget()
        self._tracked = KnownFaces.none()
        self._candidates = KnownFaces.none()
        self._elsewhere = np.zeros((0, 4), np.float32)
        """What is in no face, such as other classes, at the last look at the whole frame: it must not be missed."""
        self._all_seen = False
        self._whole_s = -math.inf
        self._whole_was_last = False
        self._next_face = 0
        self._tile_was_last = False
        self._current: Plan | None = None

    def plan(self, frame: Frame) -> Plan | None:
        """What to look at in the next frame; None if the whole of it shows all that there is to see."""
        self.budget.begin(frame)
        self._current = self._plan(frame, has_tiles=len(self._rotation.tiles(size_of(frame.image))) > 0)
        return self._current

    def _plan(self, frame: Frame, *, has_tiles: bool) -> Plan | None:
        first = self._first(frame)
        if first.followed is not None and self._whole_is_due(frame.pts_s):
            self._note_whole(frame.pts_s)
            whole = _whole_plan(frame)
            return replace(first, regions=_joined(first, whole.regions)) if self.budget.allows_more else whole
        self._whole_was_last = first.followed is None
        if self._whole_was_last:
            self._note_whole(frame.pts_s)
        if not has_tiles:
            return None if first.followed is None else first
        return self._closer(frame, first) if self.budget.allows_more else first

    def _first(self, frame: Frame) -> Plan:
        """The first look: at the part with the known faces, if they all were there in the last frame."""
        whole = _whole_plan(frame)
        if self._follower is None or not self.may_follow or not self._all_seen:
            return whole
        faces = self._tracked.at(frame.pts_s).boxes
        part = self._follower.part(faces, size_of(frame.image))
        if part is None or not contains(part, self._elsewhere):
            return whole
        return replace(whole, regions=part[None], followed=faces)

    def _whole_is_due(self, pts_s: float) -> bool:
        """Not in two frames running, however far they are apart."""
        return not self._whole_was_last and not 0 <= pts_s - self._whole_s < WHOLE_S

    def _note_whole(self, pts_s: float) -> None:
        self._whole_s, self._whole_was_last = pts_s, True

    def _closer(self, frame: Frame, first: Plan) -> Plan:
        """The same with one look more."""
        known = self._candidates if first.followed is not None else _together(self._tracked, self._candidates)
        small = _small(known.at(frame.pts_s), frame, self._input_wh)
        if self._rotation.is_due(frame.pts_s) and not (len(small) and self._tile_was_last):
            self._tile_was_last = True
            return replace(first, regions=_joined(first, self._rotation.take(frame.pts_s)))
        self._tile_was_last = False
        return replace(first, known=self._in_turn(small))

    def note(self, detected: Detected, tracked: KnownFaces) -> None:
        """Learn from a frame: faces that may be there are known too, but for those that close-ups did not confirm."""
        plan, found = self._current or _whole_plan(detected.frame), detected.found
        self.budget.end(
            (detected.preprocess_ms + detected.infer_ms) / 1000,
            looked_closer=len(plan.regions) > 1 or len(plan.known) > 0,
            is_whole=plan.followed is None,
        )
        candidate = is_candidate(found, self._metadata)
        fresh = candidate & ~inside_any(found.boxes, np.concatenate([tracked.boxes, plan.known.boxes]))
        boxes = found.boxes[fresh].astype(np.float64)
        self._tracked = tracked
        self._candidates = KnownFaces(boxes, np.zeros_like(boxes), found.scores[fresh], tracked.pts_s)
        if plan.followed is None or len(plan.regions) > 1:
            shown = found.scores >= self._metadata.levels.continuing * self._metadata.threshold
            self._elsewhere = found.boxes[shown & ~is_face(found) & ~inside_any(found.boxes, tracked.boxes)]
        self._all_seen = bool(inside_any(tracked.boxes, found.boxes[candidate]).all())

    def _in_turn(self, known: KnownFaces) -> KnownFaces:
        """As many as fit into one look, the others next time."""
        if len(known) <= COLUMNS**2:
            return known
        rows = (self._next_face + np.arange(COLUMNS**2)) % len(known)
        self._next_face = int(rows[-1]) + 1
        return known[rows]


def _together(some: KnownFaces, others: KnownFaces) -> KnownFaces:
    """Both, which are of the same time."""
    return KnownFaces(
        np.concatenate([some.boxes, others.boxes]),
        np.concatenate([some.speeds, others.speeds]),
        np.concatenate([some.scores, others.scores]),
        some.pts_s,
    )


def _small(known: KnownFaces, frame: Frame, input_wh: tuple[int, int]) -> KnownFaces:
    """Those in the frame that are too small to be seen well in the whole of it."""
    size_wh = np.array(size_of(frame.image))
    scale = float(np.min(np.array(input_wh) / size_wh))
    heights = known.boxes[:, 3] - known.boxes[:, 1]
    centres = (known.boxes[:, :2] + known.boxes[:, 2:]) / 2
    is_inside = ((centres >= 0) & (centres < size_wh)).all(axis=1)
    return known[(scale * heights < FEATURES_PX) & is_inside]


def _whole(frame: Frame) -> np.ndarray:
    return np.array([[0, 0, *size_of(frame.image)]])


def _whole_plan(frame: Frame) -> Plan:
    return Plan(_whole(frame), KnownFaces.none(), confirms=False)


def _joined(plan: Plan, regions: np.ndarray) -> np.ndarray:
    return np.concatenate([plan.regions, regions])


def planner_for(
    metadata: ModelMetadata,
    reach: Reach,
    *,
    is_live: bool,
    frame_wh: tuple[int, int],
    tile_wh: tuple[int, int] | None = None,
    narrow_wh: tuple[int, int] | None = None,
) -> Planner:
    """The planner of a source.

    Args:
        metadata: of the model.
        reach: how far to look.
        is_live: somebody waits for each frame.
        frame_wh: width and height in pixels of the frames; those that come live may change.
        tile_wh: of the input that tiles of files go through, if it is a wider one. A live frame has no time for it.
        narrow_wh: of the input by which near faces are followed live, if there is one.
    """
    if is_live and not reach.is_near:
        return LivePlanner(metadata, reach, narrow_wh if reach.follows else None)
    return NearPlanner() if looks_once(metadata, reach, frame_wh, tile_wh) else FilePlanner(metadata, reach, tile_wh)


def looks_once(
    metadata: ModelMetadata, reach: Reach, frame_wh: tuple[int, int], tile_wh: tuple[int, int] | None = None
) -> bool:
    """Whether each frame of a file is looked at once, as a whole, whatever was in the frames before it.

    Args:
        metadata: of the model.
        reach: how far to look.
        frame_wh: width and height in pixels of the first frame.
        tile_wh: of the input that tiles go through, if it is a wider one.
    """
    return reach.is_near or len(regions_of(frame_wh, metadata.input_wh, reach, tile_wh=tile_wh)) == 1

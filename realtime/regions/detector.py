"""Detection that looks closer: the whole frame, tiles of it, and close-ups of the small faces that were found."""

from dataclasses import dataclass, replace

import numpy as np

from realtime.faces.boxes import iou
from realtime.inference.detector import OnnxDetector
from realtime.metadata import ModelMetadata
from realtime.regions.close_ups import close_ups
from realtime.regions.merge import Seen, merge
from realtime.regions.tiles import Reach, regions_of
from realtime.structures import Detections

MIN_CANDIDATE = 0.3
"""Score from which on a small face gets a close-up."""
SMALL = 0.25
"""Faces lower than this share of the network's input get a close-up: a quarter of their parts are missed there."""
MIN_IOU = 0.3
"""Of a face in its close-up with the face as it was found: small boxes are coarse."""
MAX_CLOSE_UPS = 64
"""Of the best candidates, so that a crowd takes bounded time."""


@dataclass(frozen=True, slots=True)
class CloserDetector:
    """Looks at a frame in several regions with one network.

    Tiles give faces across the room enough pixels; close-ups confirm them and find their parts.
    """

    network: OnnxDetector
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
        frame_wh = (image.shape[1], image.shape[0])
        input_wh = self.network.metadata.input_wh
        seen = [self._look(image, region) for region in regions_of(frame_wh, input_wh, self.reach)]
        limit = self.network.metadata.max_detections * len(seen)
        found = seen[0].found if len(seen) == 1 else merge(seen, frame_wh, limit)
        scale = max(one.scale for one in seen)
        small = self._small_faces(found, scale)
        return self._look_closer(image, found, small) if small.any() else found

    def _look(self, image: np.ndarray, region: np.ndarray) -> Seen:
        x1, y1, x2, y2 = region.tolist()
        found = self.network.detect(image[y1:y2, x1:x2])
        moved = found.with_boxes(found.boxes + np.array([x1, y1, x1, y1], np.float32))
        input_w, input_h = self.network.metadata.input_wh
        return Seen(moved, region, min(input_w / (x2 - x1), input_h / (y2 - y1)))

    def _small_faces(self, found: Detections, scale: float) -> np.ndarray:
        """Which detections (N,) bool are faces that need a close-up, seen at ``scale`` at best."""
        candidate = _is_face(found) & (found.scores >= MIN_CANDIDATE)
        is_small = scale * (found.boxes[:, 3] - found.boxes[:, 1]) < SMALL * min(self.metadata.input_wh)
        small: np.ndarray = candidate & is_small & ~_inside_any(found.boxes, found.boxes[candidate & ~is_small])
        small[np.flatnonzero(small)[MAX_CLOSE_UPS:]] = False
        return small

    def _look_closer(self, image: np.ndarray, found: Detections, small: np.ndarray) -> Detections:
        """Replace small faces, and all that lies in them, by what their close-ups show."""
        faces = found.boxes[small]
        views = [
            view
            for cells in close_ups(image, faces, self.network.metadata.input_wh)
            for view in cells.split(self.network.detect(cells.image))
        ]
        confirmed = [
            _confirmed(view, face, score)
            for view, face, score in zip(views, faces, found.scores[small].tolist(), strict=True)
        ]
        others = found.boxes[_is_face(found) & ~small & (found.scores >= MIN_CANDIDATE)]
        replaced = _inside_any(found.boxes, faces) & ~_inside_any(found.boxes, others)
        rest = found[~small & ~replaced]
        together = Detections.concatenate([rest, *confirmed])
        together = together[np.argsort(-together.scores, kind="stable")]
        frame = Seen(together, np.array([0, 0, image.shape[1], image.shape[0]]), 1.0)
        return merge([frame], (image.shape[1], image.shape[0]), len(together))


def _confirmed(view: Detections, face: np.ndarray, score: float) -> Detections:
    """A face (4,) as its close-up shows it, with its parts; nothing if the close-up does not show it.

    Its score is the mean of ``score``, that of the first look, and that of the close-up: two opinions. A part that is
    seen in a face is more likely than by itself, 1 - (1 - part)², but never more likely than the face.
    """
    is_face = _is_face(view)
    overlap = np.where(is_face, iou(view.boxes, face[None]), 0.0)
    if not len(view) or overlap.max() < MIN_IOU:
        return view[:0]
    best = int(np.argmax(overlap * view.scores))
    mean = (score + float(view.scores[best])) / 2
    scores = np.minimum(1 - (1 - view.scores) ** 2, mean)
    scores[best] = mean
    part_of_it = ~is_face & _inside_any(view.boxes, view.boxes[best : best + 1])
    part_of_it[best] = True
    return replace(view, scores=scores.astype(np.float32))[part_of_it]


def _is_face(found: Detections) -> np.ndarray:
    """Which detections are faces: (N,) bool."""
    return np.array([name.lower() == "face" for name in found.names], bool)


def _inside_any(boxes: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Which boxes (N,4) have their centre in one of the faces (F,4): (N,) bool."""
    centres = ((boxes[:, :2] + boxes[:, 2:]) / 2)[:, None]
    inside: np.ndarray = ((faces[:, :2] <= centres) & (centres <= faces[:, 2:])).all(axis=2).any(axis=1)
    return inside

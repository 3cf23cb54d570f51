"""Far faces in moving images: how many are found, how soon, and at how many looks a frame.

Faces of the validation images of a YOLO data set move through scenes of 1280x720 without other faces. Each reach runs
as ``realtime video`` runs it on a file, as ``realtime cam`` does on a machine that is always fast enough ("live"), or
on each frame as on a still image ("still").
"""

import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from composites import SIZE_WH, Patch, cut_out, scene_of
from machine import describe
from reach import KINDS, MATCH_IOU, Found, Tally, match

from realtime.faces.tracker import FaceTracker
from realtime.inference.detector import OnnxDetector, find_model
from realtime.inference.providers import Provider
from realtime.inference.timed import OneAtATime
from realtime.letterbox import LetterboxTransform
from realtime.regions.detector import CloserDetector
from realtime.regions.frames import FrameDetector
from realtime.regions.tiles import Reach
from realtime.structures import Detections, Frame
from train.data.data_yaml import load_data_config
from train.data.dataset import LabelledImage, load_split
from train.data.images import read_image

FRAME_RATE = 24
HEIGHTS_PX = (16.0, 120.0)
MAX_SPEED = 1.0
"""Of a face, in its heights per second."""
FACES = (0, 2, 4, 6)
"""Number of faces in the scenes, in turn."""
WIDE_LOOKS, NARROW_LOOKS = 2.0, 0.5
"""What a look at a wide or a narrow input counts, by its time."""
LOOK_MS = 12.0
NOISE_LEVELS = 3.0
"""Standard deviation of the sensor's noise."""


@dataclass(frozen=True, slots=True)
class Actor:
    """A face that moves along a line, to and fro."""

    patch: Patch
    start: np.ndarray
    """(2,) px, of its upper left corner."""
    speed: np.ndarray
    """(2,) px/s."""

    def place(self, time_s: float) -> tuple[int, int]:
        """Its corner at a time."""
        room = np.array(SIZE_WH) - self.patch.image.shape[1::-1]
        x, y = np.abs((self.start + time_s * self.speed + room) % (2 * room) - room).astype(int).tolist()
        return x, y


@dataclass(slots=True)
class Clip:
    """A scene with moving faces, made frame by frame."""

    background: np.ndarray
    """uint8 (H,W,3) RGB."""
    actors: list[Actor]
    seconds: float
    seed: int

    def frames(self) -> Iterator[tuple[Frame, list[np.ndarray]]]:
        """Each frame, and for each actor its boxes (N,4) in it, the face first or not, as ``Patch.classes`` says."""
        rng = np.random.default_rng(self.seed)
        noise = np.rint(rng.normal(0, NOISE_LEVELS, (SIZE_WH[1] + 64, SIZE_WH[0] + 64, 3))).astype(np.int8)
        for index in range(round(self.seconds * FRAME_RATE)):
            canvas = self.background.copy()
            boxes = [actor.patch.paste(canvas, *actor.place(index / FRAME_RATE)) for actor in self.actors]
            y, x = rng.integers(64, size=2)
            noisy = canvas.astype(np.int16) + noise[y : y + SIZE_WH[1], x : x + SIZE_WH[0]]
            bgr = np.ascontiguousarray(np.clip(noisy, 0, 255).astype(np.uint8)[..., ::-1])
            bgr.flags.writeable = False
            yield Frame(bgr, index, index / FRAME_RATE, time.monotonic()), boxes


def clips(images: Sequence[LabelledImage], face_class: int, count: int, seconds: float, seed: int = 0) -> list[Clip]:
    """Make clips, the same for the same arguments.

    Args:
        images: with faces, and without any.
        face_class: zero-based class of a face.
        count: of the clips.
        seconds: length of each.
        seed: of the random draws.
    """
    rng = np.random.default_rng(seed)
    empty = [image for image in images if not len(image.classes)]
    faces = [(image, int(row)) for image in images for row in np.flatnonzero(image.classes == face_class)]
    made = []
    for number in range(count):
        background = scene_of(read_image(empty[rng.integers(len(empty))].path), rng)
        actors = [_actor(*faces[rng.integers(len(faces))], rng) for _ in range(FACES[number % len(FACES)])]
        made.append(Clip(background, actors, seconds, number))
    return made


def _actor(image: LabelledImage, row: int, rng: np.random.Generator) -> Actor:
    height_px = math.exp(rng.uniform(*np.log(HEIGHTS_PX)))
    patch = cut_out(image, row, height_px)
    angle, speed = rng.uniform(0, 2 * math.pi), rng.uniform(0, MAX_SPEED) * height_px
    start = rng.uniform(0, np.array(SIZE_WH) - patch.image.shape[1::-1])
    return Actor(patch, start, speed * np.array([math.cos(angle), math.sin(angle)]))


class CountingNetwork(OneAtATime):
    """Counts its looks, and those of its companions by the time that they take."""

    def __init__(
        self, network: OnnxDetector, counts_for: "CountingNetwork | None" = None, looks_each: float = 1.0
    ) -> None:
        self.metadata, self.concurrency, self.is_thread_safe = network.metadata, 1, True
        self.preprocess = network.preprocess
        self.looks = 0.0
        self._network, self._counts_for, self._looks_each = network, counts_for or self, looks_each
        self.wide = CountingNetwork(network.wide, self, WIDE_LOOKS) if network.wide else None
        self.narrow = CountingNetwork(network.narrow, self, NARROW_LOOKS) if network.narrow else None

    def infer(self, network_input: np.ndarray, transform: LetterboxTransform) -> Detections:
        """As the network."""
        self._counts_for.looks += self._looks_each
        return self._network.infer(network_input, transform)


@dataclass(slots=True)
class Figures:
    """Counts over the frames of all clips."""

    tally: Tally = field(default_factory=Tally)
    frames: int = 0
    cpu_s: float = 0.0
    delays_s: list[float] = field(default_factory=list)
    """Until each face was found for the first time; infinite for those that never were."""

    def report(self, looks: float) -> dict[str, object]:
        """Plain values."""
        delays_s = sorted(self.delays_s)
        quantiles = [round(delays_s[int(share * (len(delays_s) - 1))], 2) for share in (0.5, 0.9)] if delays_s else None
        return self.tally.report() | {
            "frames": self.frames,
            "looks_per_frame": round(looks / self.frames, 2),
            "cpu_ms_per_frame": round(1000 * self.cpu_s / self.frames, 1),
            "faces_ever_found": round(float(np.mean(np.isfinite(delays_s))), 3) if delays_s else None,
            "delay_s_p50_p90": quantiles,
        }


def run(network: CountingNetwork, reach: str, clip: Clip, face_class: int, figures: Figures) -> None:
    """Run one clip. ``reach``: with "live" as a camera, with "still" each frame by itself, else as a file."""
    how, _, how_far = reach.rpartition(" ")
    frames, boxes = zip(*clip.frames(), strict=True)
    classes = [actor.patch.classes for actor in clip.actors]
    started_s = time.process_time()
    shown = [*(_stills if how == "still" else partial(_tracked, is_live=how == "live"))(network, how_far, frames)]
    figures.cpu_s += time.process_time() - started_s
    first_s = [math.inf] * len(clip.actors)
    for frame, found in shown:
        rows = [one[kinds == face_class][0] for one, kinds in zip(boxes[frame.index], classes, strict=True)]
        faces = np.array(rows, np.float32).reshape(-1, 4)
        is_face = found.labels == found.class_names.index("face")
        figures.frames += 1
        figures.tally.add(_as_found(found, is_face), faces, [set()] * len(faces))
        for row in match(found.boxes[is_face], faces):
            if row >= 0:
                first_s[row] = min(first_s[row], frame.pts_s)
    figures.delays_s += first_s


def _as_found(found: Detections, is_face: np.ndarray) -> Found:
    return Found(found.boxes[is_face], [set(KINDS)] * int(is_face.sum()))


def _stills(network: CountingNetwork, reach: str, frames: Sequence[Frame]) -> Iterator[tuple[Frame, Detections]]:
    detector = CloserDetector(network, Reach.parse(reach))
    for frame in frames:
        yield frame, detector.detect(frame.image).above(network.metadata.threshold)


def _tracked(
    network: CountingNetwork, reach: str, frames: Sequence[Frame], *, is_live: bool
) -> Iterator[tuple[Frame, Detections]]:
    """As the app does; for the planner, a look takes ``LOOK_MS`` and another one beside it half as much more."""
    detector = FrameDetector(network, Reach.parse(reach), is_live=is_live, frame_wh=SIZE_WH)
    metadata = network.metadata
    tracker, threshold = FaceTracker(metadata.class_names, levels=metadata.levels), metadata.threshold
    looks = network.looks
    try:
        for detected in detector.map(iter(frames)):
            frame = detected.frame
            found = tracker.update(
                detected.found, threshold=threshold, pts_s=frame.pts_s, side_px=max(SIZE_WH), looks=detected.looks
            )
            taken = network.looks - looks
            taken_ms = LOOK_MS * (taken if taken <= 1 else (1 + taken) / 2)
            looks = network.looks
            detector.note(replace(detected, preprocess_ms=0.0, infer_ms=taken_ms), tracker.known())
            yield frame, found.above_or_in_face(threshold)
    finally:
        detector.close()


def main(
    data: Annotated[Path, typer.Argument(metavar="DATA.yaml", help="Labelled images; those of its split val.")],
    model: Annotated[list[str] | None, typer.Option(help="Shipped models or ONNX files; by default nano.")] = None,
    reach: Annotated[
        list[str] | None, typer.Option(help="near, auto, far, 'live auto', 'still auto' …; several.")
    ] = None,
    count: Annotated[int, typer.Option("--clips", min=1)] = 16,
    seconds: Annotated[float, typer.Option(min=0.1, help="Length of each clip.")] = 2.0,
    json_out: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.")] = None,
) -> None:
    """Measure recall, precision, delay and cost."""
    config = load_data_config(data)
    face_class = config.class_names.index("face")
    made = clips(load_split(config, "val"), face_class, count, seconds)
    report: dict[str, dict[str, object]] = {}
    for name in model or ["nano"]:
        network = OnnxDetector(find_model(name), provider=Provider.CPU)
        for how_far in reach or ["near", "auto", "live auto", "still auto"]:
            counting, figures = CountingNetwork(network), Figures()
            for clip in made:
                run(counting, how_far, clip, face_class, figures)
            report[f"{Path(name).stem} {how_far}"] = figures.report(counting.looks)
            typer.echo(f"{Path(name).stem:<8} {how_far:<12} {json.dumps(report[f'{Path(name).stem} {how_far}'])}")
    if json_out:
        content = {"machine": describe(), "data": data.name, "match_iou": MATCH_IOU, "results": report}
        json_out.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)

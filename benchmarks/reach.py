"""How small a face may be and still be found: recall by height, precision, false faces, parts and time.

On the validation images of a YOLO data set, on composites of its faces in its images without faces, and on images of
lettering, in which all faces are false; for each shipped model, beside OpenCV's YuNet if its file is given, and
MediaPipe FaceMesh if an environment with it is.
"""

import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer
from composites import Scene, composites
from detectors import Contender, saved
from lettering import lettering
from machine import describe
from matplotlib.figure import Figure

from realtime.faces.boxes import iou
from realtime.faces.grouping import assign_faces
from realtime.inference.cores import core_count
from realtime.inference.detector import OnnxDetector, find_model
from realtime.inference.providers import Provider
from realtime.regions.detector import CloserDetector
from realtime.regions.tiles import Reach
from train.data.data_yaml import load_data_config
from train.data.dataset import boxes_in_pixels, load_split
from train.data.images import read_image

EDGES_PX = (10, 20, 32, 48, 80, 160, 10_000)
"""Bins of the height of a face in the image."""
MATCH_IOU = 0.4
"""Least IoU of a found face with a labelled one: detectors cut faces differently, and small boxes are coarse."""
KINDS = ("eye", "nose", "mouth")
YUNET_SCORE = 0.8
FACEMESH = "facemesh:20"
"""As ``contenders.py`` calls it, with as many faces as it may find."""
PEER_SCORE = 0.5
LETTERING = "lettering"
"""Name of the set without faces, which has no recall to draw."""


@dataclass(frozen=True, slots=True)
class Found:
    """Faces that a detector finds in one image."""

    boxes: np.ndarray
    """(F,4) float32 xyxy px, best first."""
    kinds: list[set[str]]
    """Which of ``KINDS`` each face has."""


Finder = Callable[[np.ndarray], Found]
"""Finds faces in an image uint8 (H,W,3) BGR."""


@dataclass(slots=True)
class Tally:
    """Counts over a set of images."""

    labelled: np.ndarray = field(default_factory=lambda: np.zeros(len(EDGES_PX) - 1, int))
    matched: np.ndarray = field(default_factory=lambda: np.zeros(len(EDGES_PX) - 1, int))
    false_faces: int = 0
    empty_images: int = 0
    false_on_empty: int = 0
    with_parts: np.ndarray = field(default_factory=lambda: np.zeros(len(EDGES_PX) - 1, int))
    complete: np.ndarray = field(default_factory=lambda: np.zeros(len(EDGES_PX) - 1, int))
    ms: list[float] = field(default_factory=list)

    def add(self, found: Found, faces: np.ndarray, kinds: Sequence[set[str]]) -> None:
        """Count one image: ``faces`` (L,4) px and, for each, the kinds that are labelled in it."""
        heights = faces[:, 3] - faces[:, 1]
        bins = np.digitize(heights, EDGES_PX) - 1
        counts = bins >= 0  # smaller faces are neither asked for nor false
        partner = match(found.boxes, faces)
        for row, face in enumerate(partner):
            if face < 0:
                self.false_faces += 1
            elif counts[face]:
                self.matched[bins[face]] += 1
                if kinds[face]:
                    self.with_parts[bins[face]] += 1
                    self.complete[bins[face]] += kinds[face] <= found.kinds[row]
        np.add.at(self.labelled, bins[counts], 1)
        if not len(faces):
            self.empty_images += 1
            self.false_on_empty += len(found.boxes)

    def report(self) -> dict[str, object]:
        """The figures, None where there is nothing to count."""
        found = int(self.matched.sum())
        return {
            "faces": int(self.labelled.sum()),
            "recall": _ratio(found, int(self.labelled.sum())),
            "precision": _ratio(found, found + self.false_faces),
            "recall_by_height": _by_height(self.matched, self.labelled),
            "false_faces_per_empty_image": _ratio(self.false_on_empty, self.empty_images),
            "found_faces_with_all_labelled_parts": _ratio(int(self.complete.sum()), int(self.with_parts.sum())),
            "with_all_labelled_parts_by_height": _by_height(self.complete, self.with_parts),
            "ms_p50": round(float(np.median(self.ms)), 2) if self.ms else None,
        }


def match(found: np.ndarray, labelled: np.ndarray) -> list[int]:
    """The labelled face of each found one, best first, each labelled face once; -1 for none."""
    overlap = iou(found[:, None], labelled[None]) if len(found) and len(labelled) else np.zeros((len(found), 1))
    free, partners = np.ones(overlap.shape[1], bool), []
    for row in overlap:
        best = int(np.argmax(np.where(free, row, -1)))
        is_match = bool(free[best]) and row[best] >= MATCH_IOU
        free[best] &= not is_match
        partners.append(best if is_match else -1)
    return partners


def ours(model: str, reach: str) -> Finder:
    """A model of the app at its own threshold, on one core."""
    network = OnnxDetector(find_model(model), provider=Provider.CPU, concurrency=core_count())
    detector = network if reach == "near" else CloserDetector(network, Reach.parse(reach))

    def find(image: np.ndarray) -> Found:
        faces = assign_faces(detector.detect(image).above(network.metadata.threshold)).faces
        boxes = np.array([face.box for face in faces], np.float32).reshape(-1, 4)
        return Found(boxes, [{name.rpartition("_")[2] for name in face.features} & set(KINDS) for face in faces])

    return find


def yunet(path: Path, side: int | None) -> Finder:
    """OpenCV's YuNet, the image scaled to a longer side of ``side`` px, or as it is; it gives five points, no boxes."""
    network = cv2.FaceDetectorYN.create(str(path), "", (320, 320), YUNET_SCORE)

    def find(image: np.ndarray) -> Found:
        scale = side / max(image.shape[:2]) if side else 1.0
        scaled = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if side else image
        network.setInputSize(scaled.shape[1::-1])
        rows = network.detect(scaled)[1]
        rows = np.zeros((0, 15), np.float32) if rows is None else rows[np.argsort(-rows[:, 14])]
        boxes = np.concatenate([rows[:, :2], rows[:, :2] + rows[:, 2:4]], axis=1) / scale
        return Found(boxes.astype(np.float32), [set() for _ in rows])

    return find


def measure(find: Finder, scenes: Sequence[Scene], class_names: tuple[str, ...]) -> Tally:
    """Run a detector over labelled scenes."""
    tally = Tally()
    for scene in scenes:
        image = bgr(scene)
        started_s = time.perf_counter()
        found = find(image)
        tally.ms.append(1000 * (time.perf_counter() - started_s))
        tally.add(found, *labels_of(scene, class_names))
    return tally


def measure_peer(spec: str, python: Path, scenes: Sequence[Scene], class_names: tuple[str, ...]) -> Tally:
    """The same for one of ``contenders.py``, in another environment."""
    with tempfile.TemporaryDirectory() as folder:
        contender = Contender(spec, str(python), saved([bgr(scene) for scene in scenes], Path(folder)), threads=1)
        try:
            answers = contender.ask("boxes")
            tally = Tally(ms=contender.ask("time"))
        finally:
            contender.close()
    for scene, answer in zip(scenes, answers, strict=True):
        rows = [row for row in answer if row[1] >= PEER_SCORE]
        boxes = np.array([box for _, _, box in rows], np.float32).reshape(-1, 4)
        classes = np.array([class_names.index(name) for name, _, _ in rows], np.int64)
        faces, kinds = labels_of((scene[0], boxes, classes), class_names)
        tally.add(Found(faces, kinds), *labels_of(scene, class_names))
    return tally


def bgr(scene: Scene) -> np.ndarray:
    """The image of a scene as a camera gives it, uint8 (H,W,3)."""
    return np.ascontiguousarray(scene[0][..., ::-1])


def labels_of(scene: Scene, class_names: tuple[str, ...]) -> tuple[np.ndarray, list[set[str]]]:
    """The faces (F,4) of a scene, and which of ``KINDS`` each has."""
    _, boxes, classes = scene
    faces = boxes[classes == class_names.index("face")]
    return faces, [kinds_in(face, boxes, classes, class_names) for face in faces]


def kinds_in(face: np.ndarray, boxes: np.ndarray, classes: np.ndarray, class_names: tuple[str, ...]) -> set[str]:
    """Which of ``KINDS`` are labelled with their centre in a face (4,)."""
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    inside = ((face[:2] <= centres) & (centres <= face[2:])).all(axis=1)
    return {class_names[label] for label in classes[inside].tolist()} & set(KINDS)


def main(
    data: Annotated[Path, typer.Argument(metavar="DATA.yaml", help="Labelled images; those of its split val.")],
    model: Annotated[list[str] | None, typer.Option(help="Shipped models or ONNX files; by default all three.")] = None,
    reach: Annotated[list[str] | None, typer.Option(help="near, auto, far or a grid such as 3x2; several.")] = None,
    count: Annotated[int, typer.Option("--composites", min=0, help="Composites to make.")] = 60,
    letterings: Annotated[int, typer.Option("--lettering", min=0, help="Images of lettering to make.")] = 60,
    yunet_file: Annotated[Path | None, typer.Option("--yunet", help="YuNet's ONNX file.")] = None,
    peer_python: Annotated[
        Path | None, typer.Option(help="Python of an environment with mediapipe 0.10.21: adds FaceMesh.")
    ] = None,
    json_out: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Write the curves to this image file.")] = None,
) -> None:
    """Measure recall by the height of the face."""
    cv2.setNumThreads(1)
    config = load_data_config(data)
    images = load_split(config, "val")
    sets = {
        "val": [
            (rgb, boxes_in_pixels(image, rgb.shape[1], rgb.shape[0]), image.classes)
            for image in images
            for rgb in [read_image(image.path)]
        ],
        "composites": list(composites(images, config.class_names.index("face"), count)),
        LETTERING: [(image, np.zeros((0, 4), np.float32), np.zeros(0, np.int64)) for image in lettering(letterings)],
    }
    finders = {
        f"{Path(name).stem} {how_far}": ours(name, how_far)
        for name in model or ["pico", "nano", "mobile"]
        for how_far in reach or ["near"]
    }
    if yunet_file:
        finders |= {f"YuNet at {side or 'full size'}": yunet(yunet_file, side) for side in (320, 640, None)}
    measures = {name: partial(measure, find) for name, find in finders.items()}
    if peer_python:
        measures["FaceMesh"] = partial(measure_peer, FACEMESH, peer_python)
    report: dict[str, dict[str, dict[str, object]]] = {}
    for set_name, scenes in sets.items():
        for name, tally in measures.items() if scenes else ():
            figures = tally(scenes, config.class_names).report()
            report.setdefault(set_name, {})[name] = figures
            typer.echo(f"{set_name:<11} {name:<20} {_line(figures)}")
    if json_out:
        content = {"machine": describe(), "data": data.name, "match_iou": MATCH_IOU, "results": report}
        json_out.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    if plot:
        draw({name: results for name, results in report.items() if name != LETTERING}, plot)


def draw(report: dict[str, dict[str, dict[str, object]]], path: Path) -> None:
    """Recall against the height of the face, a panel for each set of images."""
    figure = Figure(figsize=(6 * len(report), 4.5), layout="constrained")
    for axes, (set_name, results) in zip(np.atleast_1d(figure.subplots(1, len(report))), report.items(), strict=True):
        for name, figures in results.items():
            recalls = figures["recall_by_height"]
            assert isinstance(recalls, dict)
            axes.plot(range(len(recalls)), [np.nan if r is None else r for r in recalls.values()], "o-", label=name)
            axes.set_xticks(range(len(recalls)), list(recalls))
        axes.set(title=set_name, xlabel="height of the face, px", ylabel="recall", ylim=(0, 1.02))
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path, dpi=110)


def _ratio(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None


def _by_height(parts: np.ndarray, wholes: np.ndarray) -> dict[str, float | None]:
    """The shares of some counts (H,) in others, by the range of the height."""
    ranges = (f"{low}-{high if high < EDGES_PX[-1] else ''}" for low, high in pairwise(EDGES_PX))
    return {name: _ratio(int(part), int(whole)) for name, part, whole in zip(ranges, parts, wholes, strict=True)}


def _line(figures: dict[str, object]) -> str:
    heights = figures["recall_by_height"]
    assert isinstance(heights, dict)
    shown = {"recall": figures["recall"], "precision": figures["precision"]} | heights
    shown |= {"false/empty": figures["false_faces_per_empty_image"]}
    shown |= {"parts": figures["found_faces_with_all_labelled_parts"], "ms": figures["ms_p50"]}
    line = "  ".join(f"{name} {_short(value)}" for name, value in shown.items())
    by_height = figures["with_all_labelled_parts_by_height"]
    assert isinstance(by_height, dict)
    return f"{line}  (parts by height: {' '.join(_short(value) for value in by_height.values())})"


def _short(value: object) -> str:
    return "-" if value is None else f"{value:.3g}"


if __name__ == "__main__":
    typer.run(main)

"""How well a shipped detector does as images get worse: F1 against the strength of each change, on labelled photos.

Each change is applied to the whole photo, boxes with it; the score threshold is the model's own, the same for all. For
neighbours, faces are set side by side in one frame, and recall is compared with that of each alone at the same place.
"""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import typer
from matplotlib.figure import Figure

from export.score import labelled_and_found, open_detector
from realtime.inference.detector import OnnxDetector
from realtime.letterbox import PADDING_VALUE
from train.data.data_yaml import load_data_config
from train.data.dataset import LabelledImage, boxes_in_pixels, load_split
from train.data.geometry import about_pixel_centres, transform_boxes
from train.data.images import read_image
from train.evaluation.matching import match_image
from train.evaluation.metrics import Metrics, evaluate_boxes

SHIPPED = Path(__file__).parents[1] / "realtime" / "models"
Photo = tuple[np.ndarray, np.ndarray, np.ndarray]
"""uint8 (H,W,3) RGB; boxes (N,4) float32 xyxy px; classes (N,) int64."""


@dataclass(frozen=True, slots=True)
class Change:
    """One way in which images get worse."""

    name: str
    strengths: tuple[float, ...]
    apply: Callable[[Photo, float], Photo]


def warped(photo: Photo, linear: np.ndarray) -> Photo:
    """The photo through a linear map (2,2) about its centre; the frame keeps its size."""
    image, boxes, classes = photo
    centre = np.array([image.shape[1], image.shape[0]]) / 2
    matrix = np.column_stack([linear, centre - linear @ centre])
    wh = image.shape[1], image.shape[0]
    shrink = math.sqrt(abs(np.linalg.det(linear)))
    if shrink < 1:  # average first: bilinear sampling would alias
        image = cv2.GaussianBlur(image, (0, 0), 0.5 * math.sqrt(1 / shrink**2 - 1))
    border = (PADDING_VALUE,) * 3
    moved = cv2.warpAffine(image, about_pixel_centres(matrix), wh, flags=cv2.INTER_LINEAR, borderValue=border)
    return moved, transform_boxes(boxes, matrix), classes


def rotated(photo: Photo, degrees: float) -> Photo:
    """Turned about the centre."""
    angle = math.radians(degrees)
    return warped(photo, np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]))


def shrunk(photo: Photo, factor: float) -> Photo:
    """As if from further away."""
    return warped(photo, np.eye(2) * factor)


def lit(photo: Photo, gain: float) -> Photo:
    """Darker or lighter, cut off at white as a sensor does."""
    return cv2.convertScaleAbs(photo[0], alpha=gain), *photo[1:]


def motion_blurred(photo: Photo, share: float) -> Photo:
    """Smeared sideways over a share of the image's longer side."""
    length = max(1, round(share * max(photo[0].shape[:2])))
    return cv2.blur(photo[0], (length, 1)), *photo[1:]


def noisy(photo: Photo, sigma: float) -> Photo:
    """With Gaussian noise of this deviation in grey levels."""
    noise = np.random.default_rng(0).normal(0, sigma, photo[0].shape)
    return (photo[0] + noise).clip(0, 255).astype(np.uint8), *photo[1:]


def compressed(photo: Photo, quality: float) -> Photo:
    """Through JPEG."""
    _, coded = cv2.imencode(".jpg", photo[0], [cv2.IMWRITE_JPEG_QUALITY, int(quality)])
    decoded = cv2.imdecode(coded, cv2.IMREAD_COLOR)
    assert decoded is not None
    return decoded, *photo[1:]


CHANGES = (
    Change("rotation, degrees", (-40, -30, -20, -10, 0, 10, 20, 30, 40), rotated),
    Change("size, factor", (1, 0.7, 0.5, 0.35, 0.25), shrunk),
    Change("light, gain", (0.15, 0.3, 0.5, 1, 1.6, 2.5, 4), lit),
    Change("motion blur, share of side", (0, 0.01, 0.02, 0.04, 0.06), motion_blurred),
    Change("noise, grey levels", (0, 10, 20, 40), noisy),
    Change("JPEG quality", (100, 50, 30, 20, 10), compressed),
)
NEIGHBOURS = (2, 3, 4, 6)


def measure(
    data: Annotated[Path, typer.Argument(metavar="DATA.yaml", help="Labelled photos; those of split val.")],
    model: Annotated[str, typer.Option(help="Name of a shipped model, or an ONNX file.")] = "nano",
    every: Annotated[int, typer.Option(min=1, help="Use every so-manieth photo.")] = 1,
    out: Annotated[Path, typer.Option(help="Folder for robustness.json and robustness.png.")] = Path(),
) -> None:
    """Measure F1 per class at each strength of each change."""
    out.mkdir(parents=True, exist_ok=True)
    config = load_data_config(data)
    path = SHIPPED / f"{model}.onnx" if (SHIPPED / f"{model}.onnx").exists() else Path(model)
    loaded = open_detector(path, config.class_names)
    photos = [as_photo(image) for image in load_split(config, "val")[::every]]
    results: dict[str, dict[str, Any]] = {}
    for change in CHANGES:
        results[change.name] = {}
        for strength in change.strengths:
            metrics = score(loaded, [change.apply(photo, strength) for photo in photos])
            f1 = {c.name: round(c.f1, 4) for c in metrics.classes if c.labelled}
            results[change.name][str(strength)] = {"mean_f1": round(metrics.mean_f1, 4), "f1": f1}
            cells = "  ".join(f"{name} {value:.3f}" for name, value in f1.items())
            typer.echo(f"{change.name:<28}{strength:>7g}   F1 {metrics.mean_f1:.3f}   {cells}")
    faces = [photo for photo in photos if len(photo[1])]
    for count in (number for number in NEIGHBOURS if number <= len(faces)):
        alone, together = recall_beside_neighbours(loaded, faces, count)
        results.setdefault("neighbours", {})[str(count)] = {"recall_alone": alone, "recall_together": together}
        typer.echo(f"{f'{count} faces in a frame':<35}   recall {together:.3f}, each alone {alone:.3f}")
    content = {"model": path.name, "photos": len(photos), "threshold": loaded.metadata.threshold, "results": results}
    (out / "robustness.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    plot(results, out / "robustness.png", path.name)


def as_photo(image: LabelledImage) -> Photo:
    """Read a labelled image."""
    rgb = read_image(image.path)
    return rgb, boxes_in_pixels(image, rgb.shape[1], rgb.shape[0]), image.classes


def score(model: OnnxDetector, photos: list[Photo]) -> Metrics:
    """Score at the model's own threshold; labels whose centre left the frame are not asked for."""
    labelled, found = [], []
    for image, boxes, classes in photos:
        centres = (boxes[:, :2] + boxes[:, 2:]) / 2
        inside = ((centres >= 0) & (centres <= [image.shape[1], image.shape[0]])).all(axis=1)
        truth, detected = labelled_and_found(model, image, boxes[inside], classes[inside])
        labelled.append(truth)
        found.append(detected)
    return evaluate_boxes(labelled, found, model.metadata.class_names, model.metadata.threshold)


def recall_beside_neighbours(model: OnnxDetector, photos: list[Photo], count: int) -> tuple[float, float]:
    """Recall of all parts of ``count`` faces in one frame, each alone in the frame, and all together."""
    alone = together = labelled = 0
    for first in range(0, len(photos) - count + 1, count):
        cells = [in_cell(photo, i, count) for i, photo in enumerate(photos[first : first + count])]
        frame = np.full_like(cells[0][0], PADDING_VALUE)
        for image, _, _, (x1, y1, x2, y2) in cells:
            frame[y1:y2, x1:x2] = image[y1:y2, x1:x2]
        for image, boxes, classes, _ in cells:
            labelled += len(boxes)
            alone += hits(model, image, boxes, classes)
            together += hits(model, frame, boxes, classes)
    return round(alone / labelled, 4), round(together / labelled, 4)


def in_cell(photo: Photo, index: int, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[int, ...]]:
    """A photo cut to its first face and set into its cell of a frame of 640x480, grey elsewhere."""
    image, boxes, classes = photo
    columns, rows = math.ceil(count / (2 if count > 3 else 1)), 2 if count > 3 else 1
    width, height = 640 // columns, 480 // rows
    x1, y1 = index % columns * width, index // columns * height
    face = boxes[np.argmax((boxes[:, 2:] - boxes[:, :2]).prod(axis=1))]
    scale = min(0.75 * height / (face[3] - face[1]), 0.85 * width / (face[2] - face[0]))
    shift = np.array([x1 + width / 2, y1 + height / 2]) - scale * (face[:2] + face[2:]) / 2
    matrix = np.column_stack([np.eye(2) * scale, shift])
    moved = cv2.warpAffine(image, about_pixel_centres(matrix), (640, 480), borderValue=(PADDING_VALUE,) * 3)
    frame = np.full((480, 640, 3), PADDING_VALUE, np.uint8)
    frame[y1 : y1 + height, x1 : x1 + width] = moved[y1 : y1 + height, x1 : x1 + width]
    placed = transform_boxes(boxes, matrix)
    inside = (placed[:, :2] >= [x1, y1]).all(axis=1) & (placed[:, 2:] <= [x1 + width, y1 + height]).all(axis=1)
    return frame, placed[inside], classes[inside], (x1, y1, x1 + width, y1 + height)


def hits(model: OnnxDetector, image: np.ndarray, boxes: np.ndarray, classes: np.ndarray) -> int:
    """How many of these labelled boxes are found."""
    truth, found = labelled_and_found(model, image, boxes, classes)
    partners, _ = match_image(truth, found.above(model.metadata.threshold), same_class=True)
    return int((partners >= 0).sum())


def plot(results: dict[str, dict[str, Any]], path: Path, title: str) -> None:
    """Draw F1 of each class against the strength of each change."""
    figure = Figure(figsize=(13, 7.5), layout="constrained")
    figure.suptitle(f"{title}: F1 at IoU 0.5 as images get worse")
    for axes, change in zip(figure.subplots(2, 3).flat, CHANGES, strict=True):
        rows = results[change.name]
        ticks = range(len(rows))
        for name in next(iter(rows.values()))["f1"]:
            axes.plot(ticks, [row["f1"][name] for row in rows.values()], marker=".", label=name)
        axes.plot(ticks, [row["mean_f1"] for row in rows.values()], "k", linewidth=2.5, label="mean")
        axes.set_xticks(ticks, list(rows))
        axes.set_xlabel(change.name)
        axes.set_ylim(0, 1.02)
        axes.grid(alpha=0.3)
    axes.legend(fontsize="small", loc="lower left")
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    typer.run(measure)

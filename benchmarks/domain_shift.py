"""What ``train quick`` gains on images of another kind, and what it forgets: a made domain shift, and a sixth class.

From the val photos of a data set, some are changed and trained on, and the others judge: as they are, and changed. The
changes are made by fixed rules, from a seed that is the photo's name. ``night``: a twentieth of the light, shot and
read noise, blur, a bluish cast, partly lifted by gain. ``glasses``: frames are drawn around the labelled eyes of most
faces, and are a class of their own.
"""

import csv
import json
import math
import os
import random
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import typer
from machine import describe

from export.errors import ExportError
from export.score import labelled_and_found, open_detector
from realtime.inference.detector import find_model
from realtime.inference.onnx_file import read_metadata_props
from realtime.metadata import ModelMetadata
from train.data.data_yaml import load_data_config
from train.data.dataset import LabelledImage, boxes_in_pixels, load_split
from train.data.images import read_image
from train.evaluation.metrics import Metrics, evaluate_boxes
from train.models.checkpoint import load_checkpoint
from train.prepare.splits import group_of

Photo = tuple[np.ndarray, np.ndarray, np.ndarray]
"""uint8 (H,W,3) RGB; boxes (N,4) float32 xyxy px; classes (N,) int64."""
GAMMA = 2.2
NIGHT_LIGHT = (0.03, 0.1)
"""Share of the light that is left, drawn log-uniformly."""
NIGHT_CAST = (0.75, 0.9, 1.2)
NIGHT_BLUR = (0.004, 0.009)
"""Standard deviation, as a share of the longer side."""
PHOTONS, READ_NOISE = 200.0, 0.004
"""Counted at white by day; standard deviation of the read-out, as a share of it."""
WEARING = 0.7
"""Share of the faces with glasses."""
LENS = 0.40
"""Half a lens's width, as a share of the distance of the eyes."""
FRAMES = ((20, 20, 25), (90, 50, 25), (150, 20, 30), (160, 160, 165), (25, 35, 90))
DRAWN_BITS = 4
"""Fractional bits of the coordinates of what is drawn."""
MAX_LOST_PLAIN, MAX_LOST_BESIDE = 0.005, 0.01


class Shift(StrEnum):
    """What is changed."""

    NIGHT = "night"
    GLASSES = "glasses"


def night(photo: Photo, rng: np.random.Generator) -> Photo:
    """As a camera sees it by night: the boxes stay."""
    light_in = (photo[0].astype(np.float32) / 255) ** GAMMA
    linear = cv2.GaussianBlur(light_in, (0, 0), max(light_in.shape[:2]) * rng.uniform(*NIGHT_BLUR))
    light = math.exp(rng.uniform(math.log(NIGHT_LIGHT[0]), math.log(NIGHT_LIGHT[1])))
    seen = linear * light * np.array(NIGHT_CAST, np.float32)
    noisy = rng.poisson(seen * PHOTONS) / PHOTONS + rng.normal(0, READ_NOISE, seen.shape)
    lifted = (noisy / math.sqrt(light)).clip(0, 1) ** (1 / GAMMA)
    return (255 * lifted).round().astype(np.uint8), *photo[1:]


def glasses(photo: Photo, rng: np.random.Generator, names: Sequence[str]) -> Photo:
    """Glasses on most of the faces with two labelled eyes; they are the class after the last of ``names``."""
    image, boxes, classes = photo[0].copy(), *photo[1:]
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    eyes = centres[classes == names.index("eye")]
    worn = []
    for face in boxes[classes == names.index("face")]:
        inside = eyes[((eyes > face[:2]) & (eyes < face[2:])).all(axis=1)]
        if len(inside) == 2 and rng.random() < WEARING:
            left, right = sorted(inside.tolist())
            worn.append(draw_glasses(image, left, right, face.tolist(), rng))
    worn_boxes = np.array(worn, np.float32).reshape(-1, 4)
    labels = np.full(len(worn), len(names), np.int64)
    return image, np.concatenate([boxes, worn_boxes]), np.concatenate([classes, labels])


def draw_glasses(
    image: np.ndarray, left: list[float], right: list[float], face: list[float], rng: np.random.Generator
) -> list[float]:
    """Draw one pair, in place, around eyes at (x, y); return the box of its lenses."""
    (lx, ly), (rx, ry) = left, right
    apart = math.hypot(rx - lx, ry - ly)
    half_w, half_h = LENS * apart, LENS * apart * rng.uniform(0.65, 0.95)
    angle = math.degrees(math.atan2(ry - ly, rx - lx))
    colour = FRAMES[rng.integers(len(FRAMES))]
    thick = max(1, round(apart * rng.uniform(0.04, 0.08)))
    tint = image.copy()
    for x, y in (left, right):
        _ellipse(tint, (x, y), (half_w, half_h), angle, (200, 215, 225), cv2.FILLED)
    image[:] = cv2.addWeighted(image, 0.88, tint, 0.12, 0)
    along = np.array([rx - lx, ry - ly]) / max(apart, 1e-6)
    for (x, y), sign, edge in ((left, -1, face[0]), (right, 1, face[2])):
        _ellipse(image, (x, y), (half_w, half_h), angle, colour, thick)
        rim = np.array([x, y]) + sign * half_w * along
        _line(image, rim, (edge, rim[1] - 0.1 * apart), colour, thick)
    _line(image, np.array(left) + half_w * along, np.array(right) - half_w * along, colour, thick)
    # What a turned ellipse reaches to each side.
    cos, sin = abs(along[0]), abs(along[1])
    reach = np.hypot([half_w * cos, half_w * sin], [half_h * sin, half_h * cos]) + thick / 2
    corners = np.concatenate([np.minimum(left, right) - reach, np.maximum(left, right) + reach])
    limit = [image.shape[1], image.shape[0]] * 2
    found: list[float] = np.clip(corners, 0, limit).tolist()
    return found


def _ellipse(
    image: np.ndarray, centre: Sequence[float], half: Sequence[float], angle: float, colour: Any, thick: int
) -> None:
    points = [(round(x * 2**DRAWN_BITS), round(y * 2**DRAWN_BITS)) for x, y in (centre, half)]
    cv2.ellipse(image, points[0], points[1], angle, 0, 360, colour, thick, cv2.LINE_AA, DRAWN_BITS)


def _line(image: np.ndarray, start: Any, end: Any, colour: Any, thick: int) -> None:
    points = [(round(x * 2**DRAWN_BITS), round(y * 2**DRAWN_BITS)) for x, y in (start, end)]
    cv2.line(image, points[0], points[1], colour, thick, cv2.LINE_AA, DRAWN_BITS)


def measure(
    data: Annotated[Path, typer.Argument(metavar="DATA.yaml", help="Labelled photos; those of split val.")],
    shift: Annotated[Shift, typer.Option(help="What is changed.")] = Shift.NIGHT,
    images: Annotated[int, typer.Option(min=2, help="Changed photos to train on; the others judge.")] = 100,
    time: Annotated[str, typer.Option(help="How long train quick may train.")] = "12m",
    arch: Annotated[str, typer.Option(help="Shipped detector to begin with.")] = "nano",
    size: Annotated[int | None, typer.Option(help="Side of the input; by default the detector's.")] = None,
    workers: Annotated[int, typer.Option(min=0, help="Of train quick.")] = 2,
    out: Annotated[Path | None, typer.Option(help="Keep the made photos and the run in this new folder.")] = None,
    json_out: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.")] = None,
) -> None:
    """Train on the changed photos, and print F1 before and after on the others, changed and as they are."""
    names = load_data_config(data).class_names
    trained, judging = drawn(load_split(load_data_config(data), "val"), images, manifest_groups(data.parent))
    with tempfile.TemporaryDirectory() as temporary:
        folder = out or Path(temporary) / "shift"
        folder.mkdir(parents=True)
        changed = make_data(trained, judging, shift, names, folder)
        train_quick(folder, time, arch, size, workers)
        run = load_checkpoint(folder / "mine" / "run" / "last.pt").info
        figures = compare(find_model(arch), folder / "mine" / "mine.onnx", names, judging, changed)
    figures |= {"shift": shift.value, "trained_on": images, "judged_by": len(changed), "time": time,
                "images_seen": run["images_seen"], "load_average": os.getloadavg()[1],
                "machine": describe()}  # fmt: skip
    typer.echo(report(figures))
    if json_out:
        json_out.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def manifest_groups(folder: Path) -> dict[str, str]:
    """Groups of photos, such as one person, by stem, of a ``manifest.csv``; empty without one."""
    path = folder / "manifest.csv"
    if not path.exists():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        return {row["name"]: row["group"] for row in csv.DictReader(file)}


def drawn(
    photos: list[LabelledImage], count: int, groups: dict[str, str]
) -> tuple[list[LabelledImage], list[LabelledImage]]:
    """Photos to train on, drawn once for all, and those that judge: no group and no copies are in both."""
    keys = {photo.path: groups.get(photo.path.stem) or group_of("", photo.path.stem) for photo in photos}
    order = sorted(set(keys.values()))
    random.Random(0).shuffle(order)
    places = {group: place for place, group in enumerate(order)}
    photos = sorted(photos, key=lambda photo: (places[keys[photo.path]], photo.path.name))
    trained = photos[:count]
    used = {keys[photo.path] for photo in trained}
    return trained, [photo for photo in photos if keys[photo.path] not in used]


def make_data(
    trained: list[LabelledImage], judging: list[LabelledImage], shift: Shift, names: Sequence[str], folder: Path
) -> list[LabelledImage]:
    """Write the changed photos to train on, with data.yaml, and those that judge; return the latter."""
    change: Callable[[Photo, np.random.Generator], Photo] = night
    known = list(names)
    if shift is Shift.GLASSES:
        known += ["glasses"]
        change = lambda photo, rng: glasses(photo, rng, names)  # noqa: E731
    judged = []
    to_train = {photo.path for photo in trained}
    for photo in [*trained, *judging]:
        part = "train" if photo.path in to_train else "judge"
        rgb = read_image(photo.path)
        given = rgb, boxes_in_pixels(photo, rgb.shape[1], rgb.shape[0]), photo.classes
        image, boxes, classes = change(given, np.random.default_rng(zlib.crc32(photo.path.stem.encode())))
        path = folder / "images" / part / f"{photo.path.stem}.jpg"
        write_labelled(path, image, boxes, classes)
        if part == "judge":
            wh = np.array([image.shape[1], image.shape[0]] * 2, np.float32)
            judged.append(LabelledImage(path, boxes / wh, classes))
    (folder / "data.yaml").write_text(f"train: images/train\nnames: {json.dumps(known)}\n", encoding="utf-8")
    return judged


def write_labelled(path: Path, rgb: np.ndarray, boxes: np.ndarray, classes: np.ndarray) -> None:
    """Write an image below ``images`` and its label file below ``labels``."""
    labels = path.parents[2] / "labels" / path.parent.name / f"{path.stem}.txt"
    for folder in (path.parent, labels.parent):
        folder.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
    height, width = rgb.shape[:2]
    centred = np.column_stack([boxes[:, :2] + boxes[:, 2:], 2 * (boxes[:, 2:] - boxes[:, :2])]) / 2
    rows = np.column_stack([classes, centred / ([width, height] * 2)]).tolist()
    lines = [f"{row[0]:.0f} {' '.join(f'{value:.6f}' for value in row[1:])}\n" for row in rows]
    labels.write_text("".join(lines), encoding="utf-8")


def train_quick(folder: Path, time: str, arch: str, size: int | None, workers: int) -> None:
    """Run the command as a user does."""
    command = ["train", "quick", folder / "data.yaml", "--out", folder / "mine", "--time", time, "--arch", arch]
    command += ["--workers", workers, "--device", "cpu", *(["--size", size] if size else [])]
    subprocess.run([sys.executable, "-m", "realtime", *map(str, command)], check=True)


def compare(
    shipped: Path, mine: Path, names: Sequence[str], plain: list[LabelledImage], changed: list[LabelledImage]
) -> dict[str, Any]:
    """F1 of each class of both detectors, each at its own threshold as in the app, on both kinds of photos."""
    figures: dict[str, Any] = {"f1": {}, "mean_f1": {}, "map50_95": {}}
    for detector, path in (("before", shipped), ("after", mine)):
        for kind, images in (("plain", plain), ("changed", changed)):
            metrics = score(path, names, images)
            key = f"{kind} {detector}"
            figures["f1"][key] = {c.name: round(c.f1, 4) for c in metrics.classes if c.labelled}
            shared = [c for c in metrics.classes if c.name in names and c.labelled]
            figures["mean_f1"][key] = round(float(np.mean([c.f1 for c in shared])), 4)
            figures["map50_95"][key] = round(float(np.mean([c.ap50_95 for c in shared])), 4)
    return figures


def score(path: Path, names: Sequence[str], images: list[LabelledImage]) -> Metrics:
    """Score a detector of the app at its own threshold; labels of classes that it does not have do not count."""
    known = ModelMetadata.from_props(read_metadata_props(path), str(path)).class_names
    if known[: len(names)] != tuple(names):
        raise ExportError(f"{path} finds {', '.join(known)}, but the data has {', '.join(names)}")
    detector = open_detector(path, known)
    labelled, found = [], []
    for image in images:
        rgb = read_image(image.path)
        kept = image.classes < len(known)
        boxes = boxes_in_pixels(image, rgb.shape[1], rgb.shape[0])
        truth, detected = labelled_and_found(detector, rgb, boxes[kept], image.classes[kept])
        labelled.append(truth)
        found.append(detected)
    return evaluate_boxes(labelled, found, known, detector.metadata.threshold)


def report(figures: dict[str, Any]) -> str:
    """The figures as text, with the marks."""
    mean = figures["mean_f1"]
    lost, left = (mean["plain before"] - mean[f"changed {when}"] for when in ("before", "after"))
    beside = mean["plain before"] - mean["plain after"]
    lines = [
        f"{figures['shift']}: trained on {figures['trained_on']} photos, {figures['images_seen']} augmented images "
        f"in {figures['time']}, judged by {figures['judged_by']}, load average {figures['load_average']:.1f}",
        f"{'':<16}{'plain':>8}{'changed':>9}   mean F1 of {', '.join(figures['f1']['plain before'])}",
    ]
    lines += [f"{when:<16}{mean[f'plain {when}']:>8.4f}{mean[f'changed {when}']:>9.4f}" for when in ("before", "after")]
    if figures["shift"] == Shift.NIGHT.value:
        share = "at most half" if left <= lost / 2 else "more than half"
        lines.append(f"lost by the shift: {lost:.4f} before, {left:.4f} after ({share})")
        lines.append(f"lost on plain photos: {beside:.4f} (at most {MAX_LOST_PLAIN} wanted)")
    else:
        new = figures["f1"]["changed after"].get("glasses", 0.0)
        changed = mean["changed before"] - mean["changed after"]
        lines.append(f"glasses: F1 {new:.4f}")
        lines.append(
            f"the others lost {beside:.4f} on plain and {changed:.4f} on changed photos "
            f"(at most {MAX_LOST_BESIDE} wanted)"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    typer.run(measure)

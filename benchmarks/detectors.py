"""Our detectors against what people would use instead: milliseconds an image on the CPU, and accuracy beside it.

Every contender is a process of its own on the same cores. They take turns, one round over all images each, so that
whatever else the machine does hits all of them alike; figures are medians over all images and rounds.

With ``--data`` the images are photos of its val split and accuracy is scored on them. Landmarks and cascades mark
other extents than the labels, so their boxes are first fitted to the labels, class by class, on photos of train.
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from machine import cpu_name, python_path
from torchvision.ops import box_iou

from realtime.inference.detector import shipped_models
from realtime.sources.video_file import VideoFileSource
from train.data.data_yaml import load_data_config
from train.data.dataset import LabelledImage, boxes_in_pixels, load_split
from train.data.images import read_image
from train.evaluation.matching import Boxes
from train.evaluation.metrics import Metrics, evaluate_boxes

ROOT = Path(__file__).parents[1]
CLIP = ROOT / "samples" / "astronaut.mp4"
OWN = [f"ours:{name}" for name in shipped_models()]
TORCHVISION = ["torchvision:fasterrcnn_mobilenet_v3_large_320_fpn:320", "torchvision:fasterrcnn_resnet50_fpn:480"]
EXPORTED = [spec.replace("torchvision:", "torchvision-onnx:") for spec in TORCHVISION]
PEERS = ["facemesh:1", "facemesh:1:refined", "haar"]
CALIBRATED = ("facemesh", "haar")
CALIBRATION_PHOTOS = 300
FITTING_IOU = 0.2
"""Overlap from which a found box and a label are a pair to calibrate on."""


class Contender:
    """A process that runs one detector over images on request."""

    def __init__(self, spec: str, python: str, images: Path, threads: int) -> None:
        self.spec = spec
        self.times_ms: list[float] = []
        # The packages of this process may be wherever its PYTHONPATH says; another Python has packages of its own.
        path = python_path(ROOT) if python == sys.executable else str(ROOT)
        environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": str(threads), "GLOG_minloglevel": "3"}
        self._process = subprocess.Popen(
            [python, ROOT / "benchmarks" / "contenders.py", spec, images, str(threads)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment,
        )  # fmt: skip

    def ask(self, task: str) -> list[Any]:
        """Let it ``warm`` up, ``time`` each image, or give the ``boxes`` of each."""
        assert self._process.stdin
        assert self._process.stdout
        try:
            self._process.stdin.write(task + "\n")
            self._process.stdin.flush()
            return list(json.loads(self._process.stdout.readline()))
        except (BrokenPipeError, ValueError):
            raise typer.BadParameter(f"{self.spec} does not run: try benchmarks/contenders.py by hand") from None

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin
        with suppress(BrokenPipeError):  # it has ended by itself
            self._process.stdin.close()
        self._process.wait()


def measure(
    data: Annotated[Path | None, typer.Option(help="data.yaml: its val photos are the images.")] = None,
    contenders: Annotated[
        str, typer.Option("--contenders", help="Kinds to run, with commas; peers need --peer-python.")
    ] = ",".join([*OWN, *TORCHVISION, *EXPORTED]),
    peer_python: Annotated[
        Path | None, typer.Option(help="Python of an environment with mediapipe 0.10.21: adds FaceMesh and Haar.")
    ] = None,
    images: Annotated[int, typer.Option(min=1, help="Images a round.")] = 40,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds over the images.")] = 5,
    threads: Annotated[int, typer.Option(min=1, help="Cores that each contender may use.")] = 2,
    json_out: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.")] = None,
) -> None:
    """Time the contenders in turns; with --data, score them too."""
    specs = [*contenders.split(","), *(PEERS if peer_python else [])]
    pythons = {spec: str(peer_python) if spec.startswith(CALIBRATED) else sys.executable for spec in specs}
    val, train = labelled_photos(data)
    timed = [image_of(photo) for photo in spread(val, images)] if val else clip_images(images)
    times_ms = time_in_turns(specs, pythons, timed, threads, rounds)
    scores = {spec: score(spec, pythons[spec], val, train, threads) for spec in specs} if val else {}
    report = {
        "machine": {"cpu": cpu_name(), "threads": threads, "platform": platform.platform()},
        "images": len(timed),
        "rounds": rounds,
        "detectors": {spec: summary(times_ms[spec]) | scores.get(spec, {}) for spec in specs},
    }
    typer.echo(table(report))
    if json_out:
        json_out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def labelled_photos(data: Path | None) -> tuple[list[LabelledImage], list[LabelledImage]]:
    """The photos of val, and those of train to calibrate on; none without a data set."""
    if data is None:
        return [], []
    config = load_data_config(data)
    return load_split(config, "val"), spread(load_split(config, "train"), CALIBRATION_PHOTOS)


def spread(photos: Sequence[LabelledImage], count: int) -> list[LabelledImage]:
    """``count`` photos from the whole of a split."""
    return [photos[i] for i in np.linspace(0, len(photos) - 1, min(count, len(photos))).round().astype(int)]


def image_of(photo: LabelledImage) -> np.ndarray:
    """uint8 (H,W,3), BGR."""
    return np.ascontiguousarray(read_image(photo.path)[..., ::-1])


def clip_images(count: int) -> list[np.ndarray]:
    """Images of the sample clip, from its whole length."""
    source = VideoFileSource(CLIP)
    frames = []
    while (frame := source.read()) is not None:
        frames.append(frame.image)
    source.close()
    return [frames[i] for i in np.linspace(0, len(frames) - 1, min(count, len(frames))).round().astype(int)]


def time_in_turns(
    specs: list[str],
    pythons: dict[str, str],
    images: list[np.ndarray],
    threads: int,
    rounds: int,
    *,
    all_must_run: bool = True,
) -> dict[str, list[float]]:
    """Milliseconds of every image in every round; of those contenders that run, if not all must."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as opened:
        listing = saved(images, Path(folder))
        running = []
        for spec in specs:
            contender = Contender(spec, pythons[spec], listing, threads)
            opened.callback(contender.close)
            try:
                contender.ask("warm")
            except typer.BadParameter:
                if all_must_run:
                    raise
                continue
            running.append(contender)
        for number in range(rounds):
            for contender in running if number % 2 == 0 else reversed(running):
                contender.times_ms += contender.ask("time")
        return {contender.spec: contender.times_ms for contender in running}


def saved(images: list[np.ndarray], folder: Path) -> Path:
    """Write images for another process; the file that lists them."""
    paths = [folder / f"{i:05}.npy" for i in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        np.save(path, image)
    listing = folder / "images.txt"
    listing.write_text("".join(f"{path}\n" for path in paths), encoding="utf-8")
    return listing


def score(spec: str, python: str, val: list[LabelledImage], train: list[LabelledImage], threads: int) -> dict[str, Any]:
    """Accuracy on val; nothing for detectors that nobody trained."""
    kind, *arguments = spec.split(":")
    if kind.startswith("torchvision"):
        return {}
    names = names_of(val)
    if kind == "facemesh":  # photos have several faces; its time was taken with one
        spec = ":".join([kind, "10", *arguments[1:]])
    found = detect_all(spec, python, val, names, threads)
    if kind in CALIBRATED:
        edges = calibration(detect_all(spec, python, train, names, threads), [labels_of(photo) for photo in train])
        found = [calibrated(boxes, edges) for boxes in found]
    metrics = evaluate_boxes([labels_of(photo) for photo in val], found, names, default_threshold(spec))
    return accuracy(metrics)


def names_of(val: list[LabelledImage]) -> tuple[str, ...]:
    """The classes of the shipped detectors, which the labels must be of."""
    count = 1 + max(int(photo.classes.max(initial=0)) for photo in val)
    names = ("face", "eye", "eyebrow", "nose", "mouth")
    if count > len(names):
        raise typer.BadParameter(f"--data: expected the classes {', '.join(names)}, found {count} classes")
    return names


def default_threshold(spec: str) -> float | None:
    """The score threshold that a shipped model comes with; landmarks and cascades have no scores."""
    from realtime.inference.detector import OnnxDetector, find_model
    from realtime.inference.providers import Provider

    kind, *arguments = spec.split(":")
    if kind != "ours":
        return 0.5
    return OnnxDetector(find_model(arguments[0]), provider=Provider.CPU).metadata.threshold


def detect_all(
    spec: str, python: str, photos: list[LabelledImage], names: tuple[str, ...], threads: int
) -> list[Boxes]:
    """What a contender finds in each photo, boxes in its pixels, labels from 1 as torchvision's."""
    with tempfile.TemporaryDirectory() as folder:
        contender = Contender(spec, python, saved([image_of(photo) for photo in photos], Path(folder)), threads)
        answers = contender.ask("boxes")
        contender.close()
    return [
        Boxes(
            np.array([box for _, _, box in rows], np.float32).reshape(-1, 4),
            np.array([1 + names.index(name) for name, _, _ in rows], np.int64),
            np.array([score for _, score, _ in rows], np.float32),
        )
        for rows in answers
    ]


def labels_of(photo: LabelledImage) -> Boxes:
    """The labelled boxes in pixels of the photo."""
    height, width = read_image(photo.path).shape[:2]
    ones = np.ones(len(photo.classes), np.float32)
    return Boxes(boxes_in_pixels(photo, width, height), photo.classes + 1, ones)


def calibration(found: list[Boxes], labelled: list[Boxes]) -> dict[int, np.ndarray]:
    """How far each edge of a label lies from that of the found box, (4,) in sides of the box, medians by class."""
    offsets: dict[int, list[np.ndarray]] = {}
    for boxes, labels in zip(found, labelled, strict=True):
        for box, label in zip(boxes.boxes, boxes.labels.tolist(), strict=True):
            same = labels.boxes[labels.labels == label]
            overlaps = box_iou(torch.from_numpy(box[None]), torch.from_numpy(same))[0].numpy()
            if overlaps.max(initial=0) >= FITTING_IOU:
                sides = np.tile(box[2:] - box[:2], 2)
                offsets.setdefault(label, []).append((same[overlaps.argmax()] - box) / sides)
    return {label: np.median(rows, axis=0) for label, rows in offsets.items()}


def calibrated(found: Boxes, edges: dict[int, np.ndarray]) -> Boxes:
    """The boxes with their edges moved as ``calibration`` says."""
    sides = np.tile(found.boxes[:, 2:] - found.boxes[:, :2], 2)
    moves = np.array([edges.get(label, np.zeros(4)) for label in found.labels.tolist()]).reshape(-1, 4)
    return Boxes((found.boxes + sides * moves).astype(np.float32), found.labels, found.scores)


def accuracy(metrics: Metrics) -> dict[str, Any]:
    """F1 at IoU 0.5 and mAP50-95."""
    classes = {c.name: round(c.f1, 4) for c in metrics.classes}
    return {"mean_f1": round(metrics.mean_f1, 4), "map50_95": round(metrics.map50_95, 4), "f1": classes}


def summary(times_ms: list[float]) -> dict[str, float]:
    """Percentiles of milliseconds."""
    p10, p50, p90 = np.percentile(times_ms, [10, 50, 90])
    return {"p10_ms": round(p10, 2), "p50_ms": round(p50, 2), "p90_ms": round(p90, 2)}


def table(report: dict[str, Any]) -> str:
    """The figures as an aligned table; ratios are to the first detector."""
    rows = report["detectors"]
    first = next(iter(rows.values()))["p50_ms"]
    width = max(map(len, rows)) + 2
    lines = [f"{'detector':<{width}}{'p50 ms':>9}{'p10':>8}{'p90':>8}{'ratio':>8}{'mean F1':>9}{'mAP50-95':>10}"]
    for spec, row in rows.items():
        scores = f"{row['mean_f1']:>9.3f}{row['map50_95']:>10.3f}" if "mean_f1" in row else f"{'-':>9}{'-':>10}"
        times = f"{row['p50_ms']:>9.2f}{row['p10_ms']:>8.2f}{row['p90_ms']:>8.2f}{row['p50_ms'] / first:>8.2f}"
        lines.append(f"{spec:<{width}}{times}{scores}")
    machine = report["machine"]
    counts = f"{report['images']} images, {report['rounds']} rounds"
    lines.append(f"{machine['cpu']}, {machine['threads']} threads, {counts}")
    return "\n".join(lines)


if __name__ == "__main__":
    typer.run(measure)

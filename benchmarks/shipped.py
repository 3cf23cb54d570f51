"""The shipped models on this machine: one frame at a time, and several in one run of the network.

A row is a model and how many frames it takes at a time: milliseconds of a run from frames in memory to boxes in memory,
of these milliseconds those in the network, and frames a second. ``card.py --prepare FOLDER`` exports other forms of the
models, ``FOLDER/NAME-*.onnx``: for several frames in a run, and with the short tail.
"""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from detectors import clip_images

from realtime.errors import RealtimeError
from realtime.inference.detector import OnnxDetector, find_model, shipped_models
from realtime.inference.providers import Provider

WARM_UP_RUNS = 5
IMAGES = 140
"""Of the sample clip: more than the largest batch."""


def measure(
    folder: Annotated[Path | None, typer.Argument(help="Folder of other forms of the models, NAME-*.onnx.")] = None,
    provider: Annotated[Provider, typer.Option(help="Where the network runs.")] = Provider.CUDA,
    seconds: Annotated[float, typer.Option(min=0, help="Time for each row.")] = 3.0,
    models: Annotated[str, typer.Option(help="Names, with commas.")] = ",".join((*shipped_models(), "resnet50")),
    json_out: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.")] = None,
) -> None:
    """Time the shipped models and their other forms. Exit code 1 if one does not run."""
    images = clip_images(IMAGES)
    rows: dict[str, dict[str, Any]] = {}
    typer.echo(f"{'model':<24}{'p50 ms':>9}{'p95':>9}{'network':>9}{'frames/s':>10}")
    for path in files_of(models.split(","), folder):
        name, row = measured(path, provider, images, seconds)
        rows[name] = row
        times = [row.get(key) for key in ("p50_ms", "p95_ms", "network_p50_ms")]
        shown = "".join(f"{ms:>9.2f}" for ms in times if ms is not None)
        typer.echo(f"{name:<24}" + (row.get("error") or f"{shown}{row['frames_per_s']:>10.1f}"))
        if json_out:
            json_out.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    if any("error" in row for row in rows.values()):
        raise typer.Exit(1)


def files_of(names: Sequence[str], folder: Path | None) -> list[Path]:
    """The shipped file of each model that has one, then its other forms in the folder."""
    files = []
    for name in names:
        files += [find_model(name)] if name in shipped_models() else []
        files += sorted(folder.glob(f"{name}-*.onnx")) if folder else []
    return files


def measured(path: Path, provider: Provider, images: list[np.ndarray], seconds: float) -> tuple[str, dict[str, Any]]:
    """The row's name, and the figures of a model or why there are none."""
    try:
        detector = OnnxDetector(path, provider=provider)
    except RealtimeError as error:
        return path.stem, {"error": f"{type(error).__name__}: {error}"}
    count = detector.max_batch
    run = one_by_one(detector) if count == 1 else together(detector)
    inputs = [images[i : i + count] for i in range(len(images) - count + 1)]
    return f"{path.stem.removesuffix(f'-{count}')} x{count}", timed(run, inputs, seconds)


def one_by_one(detector: OnnxDetector) -> Callable[[list[np.ndarray]], float]:
    """A run of one frame; it returns the seconds in the network."""

    def run(images: list[np.ndarray]) -> float:
        prepared = detector.preprocess(images[0])
        started = time.perf_counter()
        detector.infer(*prepared)
        return time.perf_counter() - started

    return run


def together(detector: OnnxDetector) -> Callable[[list[np.ndarray]], float]:
    """A run of several frames; it returns the seconds in the network."""

    def run(images: list[np.ndarray]) -> float:
        prepared = detector.preprocess_batch(images)
        started = time.perf_counter()
        detector.infer_batch(*prepared)
        return time.perf_counter() - started

    return run


def timed(
    run: Callable[[list[np.ndarray]], float], inputs: list[list[np.ndarray]], seconds: float
) -> dict[str, float | int]:
    """Percentiles of milliseconds of runs over the inputs in turn, for so long."""
    for images in inputs[:WARM_UP_RUNS]:
        run(images)
    whole: list[float] = []
    network: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or not whole:
        images = inputs[len(whole) % len(inputs)]
        started = time.perf_counter()
        network.append(1000 * run(images))
        whole.append(1000 * (time.perf_counter() - started))
    p50, p95 = np.percentile(whole, [50, 95])
    return {
        "p50_ms": round(p50, 3),
        "p95_ms": round(p95, 3),
        "network_p50_ms": round(float(np.median(network)), 3),
        "frames_per_s": round(1000 * len(inputs[0]) / float(np.mean(whole)), 1),
        "runs": len(whole),
    }


if __name__ == "__main__":
    typer.run(measure)

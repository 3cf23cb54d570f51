"""Our fixed-shape graph against torchvision's own way of running the same weights, on a GPU: time and accuracy.

Every contender gets an image of the size of the network in memory and gives boxes in memory: upload and download are
counted. Each is a process of its own; they take turns, one round over all images each. ``roofline.py`` says below
which time no run of the graph can come, ``parity`` how far the boxes are from those of the float32 graph on the CPU.
"""

import json
import os
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import torch
import typer
from detectors import (
    Contender,
    accuracy,
    clip_images,
    detect_all,
    labels_of,
    saved,
    time_in_turns,
)
from machine import cpu_name
from roofline import Rates, rates_of, work_of

from export.errors import ExportError
from export.to_onnx import export_onnx
from export.verify import FLOAT16_TOLERANCE, IMAGES, compare_image
from train.data.data_yaml import load_data_config
from train.data.dataset import load_split
from train.evaluation.metrics import evaluate_boxes
from train.models.architectures import ARCHITECTURES, ModelConfig, build_model
from train.models.checkpoint import Checkpoint, load_checkpoint

EAGER = ("float32", "amp", "channels-last", "compile")
PRECISIONS = ("float32", "half")
SHORT = "short"
UNTRAINED_NAMES = ("face", "eye", "eyebrow", "nose", "mouth")
NEVER_SCORE = 0.9
"""Untrained models keep no detection then, which spares them the work after the second stage."""


def measure(
    checkpoint: Annotated[
        Path | None, typer.Option(help="best.pt of a run; without, an untrained model, whose time is about the same.")
    ] = None,
    arch: Annotated[str, typer.Option(help="Of the untrained model.")] = "resnet50",
    data: Annotated[
        Path | None, typer.Option(help="data.yaml: accuracy on its val photos; needs --checkpoint.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="cuda, or cpu to try the script; by default cuda.")] = None,
    sizes: Annotated[str, typer.Option(help="WIDTHxHEIGHT of the network, several with commas.")] = (
        "320x320,480x480,640x480"
    ),
    modes: Annotated[str, typer.Option("--eager", help="Ways to run torchvision's model.")] = ",".join(EAGER),
    precisions: Annotated[
        str, typer.Option(help="Of our graph; with -short, such as half-short, that with the short tail.")
    ] = ",".join(PRECISIONS),
    settings: Annotated[
        str, typer.Option(help="Ways to run our graph, each none or some of graph+nhwc+tf32+exhaustive.")
    ] = "none,graph,graph+nhwc",
    images: Annotated[int, typer.Option(min=1, help="Images a round.")] = 40,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds over the images.")] = 10,
    threads: Annotated[int, typer.Option(min=1, help="Cores that each contender may use.")] = os.cpu_count() or 1,
    graphs_in: Annotated[
        Path | None, typer.Option("--graphs", help="Folder with graphs of this checkpoint that card.py prepared.")
    ] = None,
    json_out: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.")] = None,
) -> None:
    """Time both ways in turns at each size; with --data, score them too."""
    device = chosen_device(device)
    if data and not checkpoint:
        raise typer.BadParameter("an untrained model has no accuracy: give --checkpoint too", param_hint="--data")
    loaded = load_checkpoint(checkpoint) if checkpoint else untrained(arch)
    report: dict[str, Any] = {
        "machine": {"device": device_name(device), "cpu": cpu_name(), "threads": threads, "torch": torch.__version__},
        "architecture": loaded.config.arch,
        "trained": checkpoint is not None,
        "images": images,
        "rounds": rounds,
        "sizes": {},
    }
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "model.pt"
        loaded.save(weights)
        for size in sizes.split(","):
            kept = graphs_in or Path(folder)
            graphs = {name: exported(loaded, size, name, kept) for name in precisions.split(",")}
            specs = contenders(device, size, weights, modes.split(","), graphs, settings.split(","))
            shown = images_of(size, images)
            rows = timed(specs, shown, threads, rounds)
            report["sizes"][size] = {"contenders": rows, "parity": {}, "roofline": {}}
            write_report(report, json_out)  # what follows may take long
            running = {name: specs[name] for name, row in rows.items() if row}
            if data:
                for name, spec in running.items():
                    rows[name] |= scores(spec, data, loaded, threads)
            report["sizes"][size] = {
                "contenders": rows,
                "parity": parity(running, graphs, shown, loaded, threads),
                "roofline": roofline(graphs, device, rows),
            }
            typer.echo(table(size, report["sizes"][size]))
    machine = report["machine"]
    typer.echo(f"{loaded.config.arch}{'' if checkpoint else ' (untrained)'} on {machine['device']}, {machine['cpu']}")
    write_report(report, json_out)


def write_report(report: dict[str, Any], path: Path | None) -> None:
    """Write the figures so far, if there is a file for them."""
    if path:
        path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def chosen_device(given: str | None) -> str:
    """The device asked for, or a GPU; ends the script where there is none."""
    device = given or "cuda"
    if device not in ("cuda", "cpu"):
        raise typer.BadParameter(f"expected cuda or cpu, found {device}", param_hint="--device")
    if device == "cuda" and not torch.cuda.is_available():
        typer.echo("error: no GPU that torch can use; --device cpu tries the script without one", err=True)
        raise typer.Exit(1)
    return device


def device_name(device: str) -> str:
    """The card's name."""
    return torch.cuda.get_device_name() if device == "cuda" else "the CPU"


def untrained(arch: str) -> Checkpoint:
    """A model with random weights."""
    size = ARCHITECTURES[arch].default_size
    config = ModelConfig(arch, UNTRAINED_NAMES, size, {"box_score_thresh": NEVER_SCORE})
    torch.manual_seed(0)
    return Checkpoint(config, build_model(config).state_dict(), {})


def exported(checkpoint: Checkpoint, size: str, precision: str, folder: Path) -> Path:
    """Our graph of a size such as 640x480, unless it is there already."""
    width, height = map(int, size.split("x"))
    path = folder / f"{size}-{precision}.onnx"
    if path.exists():
        return path
    kind, _, tail = precision.partition("-")
    if kind not in PRECISIONS or tail not in ("", SHORT):
        raise typer.BadParameter(f"expected {', '.join(PRECISIONS)}, with -{SHORT} or without, found {precision}")
    export_onnx(checkpoint, path, size_wh=(width, height), images=IMAGES, half=kind == "half", short_tail=tail == SHORT)
    return path


def contenders(
    device: str, size: str, weights: Path, modes: list[str], graphs: dict[str, Path], settings: list[str]
) -> dict[str, str]:
    """What ``contenders.py`` is started with, by the names of the table's rows."""
    specs = {f"torchvision {mode}": f"eager:{weights}:{size}:{device}:{mode}" for mode in modes if mode}
    for precision, path in graphs.items():
        if device == "cpu":
            specs[f"ours {precision}"] = f"ours:{path}:cpu"
            continue
        specs |= {f"ours {precision} {chosen}": f"ours:{path}:cuda:{chosen}" for chosen in settings}
    return specs


def images_of(size: str, count: int) -> list[np.ndarray]:
    """Images of the sample clip in the network's size, so that hardly a part of the time is letterboxing."""
    width, height = map(int, size.split("x"))
    return [cv2.resize(p, (width, height), interpolation=cv2.INTER_AREA) for p in clip_images(count)]


def timed(specs: dict[str, str], shown: list[np.ndarray], threads: int, rounds: int) -> dict[str, dict[str, Any]]:
    """The times of each contender by its name; nothing for one that does not run."""
    pythons = dict.fromkeys(specs.values(), sys.executable)
    times_ms = time_in_turns(list(specs.values()), pythons, shown, threads, rounds, all_must_run=False)
    return {name: summary(times_ms[spec]) if spec in times_ms else {} for name, spec in specs.items()}


def summary(times_ms: list[float]) -> dict[str, Any]:
    """Percentiles of milliseconds, and frames a second."""
    p50, p95, p99 = np.percentile(times_ms, [50, 95, 99])
    return {
        "p50_ms": round(p50, 3),
        "p95_ms": round(p95, 3),
        "p99_ms": round(p99, 3),
        "frames_per_s": round(1000 / float(np.mean(times_ms)), 1),
    }


def parity(
    specs: dict[str, str], graphs: dict[str, Path], shown: list[np.ndarray], checkpoint: Checkpoint, threads: int
) -> dict[str, str]:
    """How far the boxes of our graphs lie from those of the float32 graph on the CPU."""
    names = checkpoint.config.class_names
    # The short tail is another function, whose boxes are not those of the graph in float32.
    ours = {name: spec for name, spec in specs.items() if name.startswith("ours") and f"-{SHORT}" not in name}
    if "float32" not in graphs:
        return {}
    with tempfile.TemporaryDirectory() as folder:
        listing = saved(shown[:4], Path(folder))

        def found_by(spec: str) -> list[tuple[np.ndarray, ...]]:
            contender = Contender(spec, sys.executable, listing, threads)
            answers = contender.ask("boxes")
            contender.close()
            return [as_arrays(rows, names) for rows in answers]

        expected = found_by(f"ours:{graphs['float32']}:cpu")
        return {name: compared(expected, found_by(spec), names) for name, spec in ours.items()}


def as_arrays(rows: list[Any], names: tuple[str, ...]) -> tuple[np.ndarray, ...]:
    """Boxes (N,4), scores (N,) and zero-based labels (N,); a row without a score where there is none."""
    rows = [*rows, [names[0], 0.0, [0.0] * 4]]
    boxes = np.array([box for _, _, box in rows], np.float32)
    labels = np.array([names.index(name) for name, _, _ in rows])
    return boxes, np.array([score for _, score, _ in rows], np.float32), labels


def compared(
    expected: list[tuple[np.ndarray, ...]], found: list[tuple[np.ndarray, ...]], names: tuple[str, ...]
) -> str:
    """The largest differences, or the first detection that the other has not."""
    try:
        pairs = zip(expected, found, strict=True)
        each = [
            compare_image(one, other, f"image {i}", names, FLOAT16_TOLERANCE) for i, (one, other) in enumerate(pairs)
        ]
    except ExportError as error:
        return f"differs: {error}"
    return str(sum(each[1:], each[0]))


def scores(spec: str, data: Path, checkpoint: Checkpoint, threads: int) -> dict[str, Any]:
    """Accuracy on val, at the checkpoint's threshold."""
    config = load_data_config(data)
    if config.class_names != checkpoint.config.class_names:
        raise typer.BadParameter(f"--data: expected the classes of the checkpoint, found {config.class_names}")
    val = load_split(config, "val")
    found = detect_all(spec, sys.executable, val, config.class_names, threads)
    return accuracy(evaluate_boxes([labels_of(p) for p in val], found, config.class_names, checkpoint.threshold))


def roofline(graphs: dict[str, Path], device: str, rows: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Least milliseconds of each graph on this device, and their part of the best time that was measured."""
    side, copied = (8192, 2**30) if device == "cuda" else (512, 2**26)
    lines = {}
    for precision, path in graphs.items():
        is_half = (
            precision.startswith("half") and device == "cuda"
        )  # the CPU computes in float32 whatever the file holds
        rates: Rates = rates_of(device, torch.float16 if is_half else torch.float32, side=side, copied=copied)
        work = work_of(path)
        times = [row["p50_ms"] for name, row in rows.items() if name.split()[:2] == ["ours", precision] and row]
        lines[precision] = (
            asdict(work)
            | asdict(rates)
            | {
                "least_ms": round(work.least_ms(rates), 4),
                "part_of_best": round(work.least_ms(rates) / min(times), 3) if times else None,
            }
        )
    return lines


def table(size: str, figures: dict[str, Any]) -> str:
    """The figures of one size as an aligned table; ratios are to the first row that ran."""
    rows: dict[str, dict[str, Any]] = figures["contenders"]
    first = next((row["p50_ms"] for row in rows.values() if row), 0.0)
    width = max(map(len, rows)) + 2
    lines = [
        f"{size:<{width}}{'p50 ms':>9}{'p95':>9}{'p99':>9}{'frames/s':>10}{'ratio':>8}{'mean F1':>9}{'mAP50-95':>10}"
    ]
    for name, row in rows.items():
        if not row:
            lines.append(f"{name:<{width}}does not run here: start benchmarks/contenders.py by hand to see why")
            continue
        scored = f"{row['mean_f1']:>9.3f}{row['map50_95']:>10.3f}" if "mean_f1" in row else f"{'-':>9}{'-':>10}"
        times = "".join(f"{row[key]:>9.2f}" for key in ("p50_ms", "p95_ms", "p99_ms"))
        lines.append(f"{name:<{width}}{times}{row['frames_per_s']:>10.1f}{row['p50_ms'] / first:>8.2f}{scored}")
    lines += [f"  parity of {name}: {text}" for name, text in figures["parity"].items()]
    for precision, line in figures["roofline"].items():
        part = f", {100 * line['part_of_best']:.0f} % of the best time" if line["part_of_best"] else ""
        lines.append(
            f"  roofline {precision}: {line['flop'] / 1e9:.1f} GFLOP at {line['flop_per_s'] / 1e12:.2f} TFLOP/s, "
            f"{line['bytes'] / 1e6:.0f} MB at {line['bytes_per_s'] / 1e9:.0f} GB/s: "
            f"at least {line['least_ms']:.3f} ms{part}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    typer.run(measure)

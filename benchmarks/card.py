"""All that is to be measured on a card, in five minutes and without a network.

``--prepare FOLDER`` makes the exports beforehand, on any machine. On the machine with the card, ``--prepared FOLDER``
then runs the tests that need a GPU, ``doctor``, ``gpu.py``, the shipped models, ``train fit`` and ``realtime bench``.
Each step is bounded in time, and when one fails the next one begins. At the end there is one table, and ``card.json``
and the log of each step in ``--out``.
"""

import csv
import json
import os
import platform
import statistics
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from bounded_steps import ROOT, Figures, Step, module, run_steps, script, table
from card_exports import GRAPHS
from machine import describe

SIZE = "640x480"
BATCH = 16
SHIPPED = ("pico", "nano", "mobile")
REPORTS = ("gpu.json", "shipped.json", "card.json")
TRAIN_IMAGES = 640
"""Of the data set that is made where none is given."""


def measure(
    prepare: Annotated[Path | None, typer.Option(help="Only make the exports, in this folder; needs no card.")] = None,
    prepared: Annotated[Path | None, typer.Option(help="Folder that --prepare made.")] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="resnet50 checkpoint to prepare; by default an untrained one.")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="data.yaml to train on; by default a data set is made.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for card.json and the logs.")] = Path("card"),
    device: Annotated[str, typer.Option(help="cuda, or cpu to try the script.")] = "cuda",
    arch: Annotated[str, typer.Option(help="Architecture of gpu.py and of the training.")] = "resnet50",
    size: Annotated[str, typer.Option(help="WIDTHxHEIGHT of gpu.py's graphs.")] = SIZE,
    batch_size: Annotated[int, typer.Option(min=1, help="Of the training.")] = 64,
    train_time: Annotated[str, typer.Option(help="Of the training.")] = "60s",
    seconds: Annotated[float, typer.Option(min=1, help="For all steps together.")] = 300.0,
    only: Annotated[str, typer.Option(help="Names of the steps to run, with commas; by default all.")] = "",
) -> None:
    """Prepare, or measure. Exit code 1 if a step failed."""
    out.mkdir(parents=True, exist_ok=True)
    if prepare:
        prepare.mkdir(parents=True, exist_ok=True)
        steps = preparations(prepare, checkpoint, arch, size)
    else:
        for name in REPORTS:  # of an earlier run
            (out / name).unlink(missing_ok=True)
        steps = measurements(prepared, data, out, device, arch, size, batch_size, train_time)
    if wanted := set(filter(None, only.split(","))):
        if unknown := wanted - {step.name for step in steps}:
            raise typer.BadParameter(f"no such step: {', '.join(sorted(unknown))}", param_hint="--only")
        steps = [step for step in steps if step.name in wanted]
    outcomes = run_steps(steps, out, 3600.0 if prepare else seconds, typer.echo)
    typer.echo(table(outcomes))
    if not prepare:
        found = machine(device)
        report = {"machine": found, "steps": [asdict(outcome) for outcome in outcomes]}
        (out / "card.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        typer.echo(f"{', '.join(f'{key} {value}' for key, value in found.items())}\nwrote {out}/card.json")
    if any(outcome.result != "ok" for outcome in outcomes):
        raise typer.Exit(1)


def preparations(folder: Path, checkpoint: Path | None, arch: str, size: str) -> list[Step]:
    """Export what the measurements need."""
    export = script("card_exports.py", folder, "--arch", arch, "--size", size)
    graphs = Step("graphs", [*export, *(["--checkpoint", str(checkpoint)] if checkpoint else [])], 1500)
    forms = script("card_exports.py", folder, "--batch", BATCH, "--shipped")
    return [graphs, *(Step(name, [*forms, name], 600) for name in SHIPPED)]


def measurements(
    prepared: Path | None,
    data: Path | None,
    out: Path,
    device: str,
    arch: str,
    size: str,
    batch_size: int,
    train_time: str,
) -> list[Step]:
    """The steps on the card, the most telling first: each limit is what it takes, and half as much again."""
    provider = "cuda" if device == "cuda" else "cpu"
    graphs = ["--graphs", prepared, "--checkpoint", prepared / f"{arch}.pt"] if prepared else ["--arch", arch]
    ways = ["--eager", "float32,amp", "--settings", "graph", "--images", 20, "--rounds", 5]
    forms = ["--precisions", ",".join(GRAPHS)]
    gpu = script("gpu.py", "--device", device, "--sizes", size, *ways, *graphs, *forms, "--json", out / "gpu.json")
    shipped = script("shipped.py", *([prepared] if prepared else []), "--provider", provider,
                     "--seconds", 1, "--json", out / "shipped.json")  # fmt: skip
    train = script("card_training.py", out / "run", "--device", device, "--arch", arch, "--batch-size", batch_size,
                   "--time", train_time, "--images", TRAIN_IMAGES, *(["--data", data] if data else []))  # fmt: skip
    bench = module("realtime", "bench", "--provider", provider, "--frames", 300, "--json")
    # Only these files: others import what a machine with a card need not have.
    files = [
        path for path in sorted((ROOT / "tests").rglob("test_*.py")) if "mark.needs_cuda" in path.read_text("utf-8")
    ]
    tests = module("pytest", "-m", "needs_cuda", "-p", "no:cacheprovider", *files)
    return [
        Step("doctor", module("realtime", "doctor", "--json"), 30, doctor_figures),
        Step("gpu", gpu, 110, lambda _: gpu_figures(json.loads((out / "gpu.json").read_text()))),
        Step("shipped", shipped, 50, lambda _: shipped_figures(json.loads((out / "shipped.json").read_text()))),
        Step("train", train, 100, lambda _: train_figures(out / "run" / "losses.csv")),
        Step("bench", bench, 40, bench_figures),
        Step("tests", tests, 90, tests_figures),
    ]


def doctor_figures(output: str) -> Figures:
    """The verdict."""
    return {"verdict": json.loads(output)["verdict"]}


def gpu_figures(report: dict[str, Any]) -> Figures:
    """Milliseconds of each contender, and how often the fastest of ours goes into the fastest of the others."""
    figures: Figures = {}
    for size, found in report["sizes"].items():
        times = {name: row["p50_ms"] for name, row in found["contenders"].items() if row}
        figures |= {f"{size} {name}, p50 ms": ms for name, ms in times.items()}
        ours = [ms for name, ms in times.items() if name.startswith("ours")]
        others = [ms for name, ms in times.items() if not name.startswith("ours")]
        if ours and others:
            figures[f"{size}, times as fast as torchvision"] = round(min(others) / min(ours), 2)
    return figures


def shipped_figures(rows: dict[str, dict[str, Any]]) -> Figures:
    """Milliseconds of a run and frames a second of each model."""
    return {
        name: row.get("error") or f"{row['p50_ms']:.2f} ms, {row['frames_per_s']:.0f} frames/s"
        for name, row in rows.items()
    }


def train_figures(losses: Path) -> Figures:
    """Images a second, without the first line of the log, in which the machine warms up."""
    with losses.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    speeds = [float(row["images_per_s"]) for row in rows]
    return {
        "images/s": round(statistics.median(speeds[1:] or speeds), 1),
        "images seen": int(rows[-1]["images_seen"]),
        "loss, first and last": f"{float(rows[0]['loss']):.3f}, {float(rows[-1]['loss']):.3f}",
    }


def bench_figures(output: str) -> Figures:
    """Frames a second as a file and live."""
    report = json.loads(output)
    live = report["live"] or {}
    return {"frames/s": report["frames_per_s"], "live frames/s": live.get("frames_per_s"), "on": report["provider"]}


def tests_figures(output: str) -> Figures:
    """Pytest's last line."""
    lines = output.strip().splitlines()
    return {"pytest": lines[-1].strip("= ")} if lines else {}


def machine(device: str) -> dict[str, Any]:
    """What the figures depend on."""
    found = describe() | {"python": platform.python_version(), "cpus": os.cpu_count()}
    try:
        import onnxruntime
        import torch
    except ImportError as error:
        return found | {"error": str(error)}
    found |= {"torch": str(torch.__version__), "onnxruntime": onnxruntime.__version__}
    if device == "cuda" and torch.cuda.is_available():
        found |= {"gpu": torch.cuda.get_device_name(), "cuda": torch.version.cuda}
    return found


if __name__ == "__main__":
    typer.run(measure)

"""The logs of a run: ``run.json``, ``losses.csv`` and ``metrics.csv`` in its folder, and what its loggers get."""

import csv
import hashlib
import io
import json
import math
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision

from train.data.data_yaml import DataConfig
from train.data.dataset import LabelledImage
from train.data.text_files import read_text
from train.loop.loggers.base import Outcome, RunLogger
from train.loop.options import FitOptions

LOGGED_METRICS = ("threshold", "map50", "map50_95", "false_positives_per_negative", "mean_f1")


class RunLog:
    """Writes what a run measures. Steps are counted in images seen."""

    def __init__(self, out: Path, images_seen: int, epoch: int, loggers: Sequence[RunLogger]) -> None:
        """Begin a record, or continue one: rows after this point are dropped, since they will be logged again."""
        self.loggers = loggers
        self._losses, self._metrics = out / "losses.csv", out / "metrics.csv"
        drop_rows(self._losses, lambda row: int(row["images_seen"]) > images_seen)
        drop_rows(self._metrics, lambda row: int(row["epoch"]) > epoch)

    def losses(self, position: dict[str, int], losses: dict[str, float], lr: float, images_per_s: float) -> None:
        """Log the mean losses of some steps; ``position`` is their end: epoch, step and images_seen."""
        row: dict[str, Any] = position | {"lr": lr} | losses | {"images_per_s": images_per_s}
        append_csv(self._losses, row)
        values = {name: row[name] for name in ("lr", *losses, "images_per_s")}
        for logger in self.loggers:
            logger.scalars("train", values, position["images_seen"])

    def metrics(self, epoch: int, images_seen: int, scores: dict[str, Any]) -> None:
        """Log the metrics of an epoch, in the form of ``Metrics.as_dict``."""
        row = {name: scores[name] for name in LOGGED_METRICS}
        row |= {f"f1_{c['name']}": c["f1"] for c in scores["classes"]}
        append_csv(self._metrics, {"epoch": epoch, "images_seen": images_seen} | row)
        for logger in self.loggers:
            logger.scalars("val", {name: value for name, value in row.items() if value is not None}, images_seen)

    def plots(self, files: Sequence[Path], images_seen: int) -> None:
        """Pass on the plots of the best epoch so far."""
        for logger in self.loggers:
            logger.plots(files, images_seen)

    def close(self, outcome: Outcome, best: Path) -> None:
        """Close the loggers; they get the best checkpoint of a run that is done."""
        for logger in self.loggers:
            if outcome is Outcome.DONE:
                logger.model(best)
            logger.close(outcome)


def write_run_json(
    out: Path, options: FitOptions, data: DataConfig, splits: dict[str, list[LabelledImage]], device: torch.device
) -> None:
    """Write ``run.json``: all that is needed to repeat the run."""
    content = {
        "options": asdict(options),
        "data": str(data.path),
        "class_names": data.class_names,
        "images": {split: len(images) for split, images in splits.items()},
        "data_sha256": {split: data_hash(images) for split, images in splits.items()},
        "versions": versions(),
        "git_revision": git_revision(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine(),
        "command": sys.argv,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    (out / "run.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def data_hash(images: list[LabelledImage]) -> str:
    """SHA-256 over the names, file sizes and labels of a split, in its order: cheap, and different for each version."""
    digest = hashlib.sha256()
    for image in images:
        digest.update(os.fsencode(image.path.name) + f" {image.path.stat().st_size}\n".encode())
        digest.update(image.classes.tobytes() + image.boxes.tobytes())
    return digest.hexdigest()


def versions() -> dict[str, str]:
    """Versions of Python and the libraries that compute."""
    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "torchvision": str(torchvision.__version__),
        "numpy": np.__version__,
    }


def git_revision() -> str | None:
    """Commit of this program's source, with ``-dirty`` if it was changed since; None outside a git checkout."""
    command = ["git", "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def drop_rows(path: Path, is_late: Callable[[dict[str, str]], bool]) -> None:
    """Remove the rows of a log for which ``is_late``, and those that are incomplete."""
    if not path.exists():
        return
    reader = csv.DictReader(io.StringIO(read_text(path)))
    rows = [row for row in reader if None not in row.values() and not is_late(row)]  # None: an incomplete line
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=reader.fieldnames or [])
        writer.writeheader()
        writer.writerows(rows)
    partial.replace(path)


def append_csv(path: Path, row: dict[str, Any]) -> None:
    """Append a row, with the header if the file is new."""
    is_new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(row))
        if is_new:
            writer.writeheader()
        writer.writerow({k: round(v, 5) if isinstance(v, float) and math.isfinite(v) else v for k, v in row.items()})

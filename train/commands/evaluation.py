"""``train evaluate``, ``train average``, ``train calibrate`` and ``train predict``."""

import json
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
import typer

from train.commands.arguments import (
    CheckpointFile,
    DataFile,
    Device,
    Split,
    check_folder_of,
    choose_device,
    make_folder,
)
from train.data.data_yaml import DataConfig, load_data_config
from train.data.dataset import load_split, warn_of_shared_labels
from train.errors import TrainError
from train.evaluation.calibrate import (
    calibrated_if_possible,
    calibrated_metrics,
    calibration_table,
    fit_to_metrics,
    with_new_figures,
)
from train.evaluation.evaluate import evaluate as evaluate_model
from train.evaluation.metrics import Metrics
from train.evaluation.plots import plot_evaluation
from train.evaluation.predict import find_images, worst_first
from train.evaluation.predict import predict as predict_images
from train.evaluation.report import write_report
from train.evaluation.tables import metrics_report
from train.folder_lock import FolderLock
from train.models.averaging import average_weights
from train.models.calibration import CALIBRATED_THRESHOLD
from train.models.checkpoint import Checkpoint, load_checkpoint


def evaluate(
    checkpoint: CheckpointFile,
    data: DataFile,
    split: Annotated[Split, typer.Option(help="Split to score on.")] = Split.VAL,
    threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="Score threshold; by default that with the best mean F1.")
    ] = None,
    json_out: Annotated[Path | None, typer.Option("--json", help="Write the metrics to this file too.")] = None,
    plots: Annotated[
        Path | None,
        typer.Option(help="Folder for plots: precision-recall and F1 curves, confusion matrix, IoU of matches."),
    ] = None,
    device: Device = None,
) -> None:
    """Score a checkpoint: precision, recall, F1 per class, mean IoU, mAP50, mAP50-95, proposal recall, by size."""
    if json_out:
        check_folder_of(json_out)
    config = load_data_config(data)
    loaded = load_of_same_classes(checkpoint, config)
    with ExitStack() as held:
        if plots:
            make_folder(plots)
            held.enter_context(FolderLock(plots))
        metrics = score(loaded, config, split, choose_device(device), threshold)
        typer.echo(metrics_report(metrics))
        if json_out:
            json_out.write_text(json.dumps(metrics.as_dict(), indent=2) + "\n", encoding="utf-8")
        if plots:
            plot_evaluation(metrics, plots)


def load_of_same_classes(path: Path, data: DataConfig) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        TrainError: it cannot be read, or has other classes than the data.
    """
    loaded = load_checkpoint(path)
    if loaded.config.class_names != data.class_names:
        raise TrainError(
            f"{path} finds {', '.join(loaded.config.class_names)}, but {data.path} names {', '.join(data.class_names)}"
        )
    return loaded


def score(
    checkpoint: Checkpoint, data: DataConfig, split: Split, device: torch.device, threshold: float | None = None
) -> Metrics:
    """Score on a split, at the best threshold if none is given."""
    images = load_split(data, split.value)
    warn_of_shared_labels(images, lambda line: typer.echo(line, err=True))
    return evaluate_model(
        checkpoint.build().to(device),
        images,
        size=checkpoint.config.input_size,
        class_names=data.class_names,
        device=device,
        threshold=threshold,
    )


def average(
    data: DataFile,
    checkpoints: Annotated[
        list[Path],
        typer.Argument(
            metavar="CHECKPOINT...",
            help="Two or more with a common origin: one was trained from the other, or both from a third.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="Checkpoint to write.")],
    device: Device = None,
) -> None:
    """Average the weights of checkpoints with a common origin, and calibrate the scores of the result on val."""
    check_folder_of(out)
    config = load_data_config(data)
    loaded = [load_of_same_classes(path, config) for path in checkpoints]
    info = loaded[0].info | {"averaged": len(loaded)}
    mean = Checkpoint(replace(loaded[0].config, calibration=None), average_weights(loaded), info)
    calibration, metrics = calibrated_if_possible(
        score(mean, config, Split.VAL, choose_device(device)), lambda line: typer.echo(line, err=True)
    )
    typer.echo(metrics_report(metrics))
    model = replace(mean.config, calibration=calibration)
    Checkpoint(model, mean.model, mean.info | {"metrics": metrics.as_dict()}).save(out)


def calibrate(
    checkpoint: CheckpointFile,
    data: Annotated[
        list[Path],
        typer.Argument(
            metavar="DATA.yaml...",
            help="Labelled images like those that the detector will see, not of its training; several count alike.",
        ),
    ],
    out: Annotated[Path | None, typer.Option(help="Checkpoint to write; by default CHECKPOINT is replaced.")] = None,
    split: Annotated[Split, typer.Option(help="Split to calibrate on.")] = Split.VAL,
    device: Device = None,
) -> None:
    """Calibrate the scores of a checkpoint: a score of 0.7 is then right about 7 times in 10. AP stays."""
    out = out or checkpoint
    check_folder_of(out)
    configs = {str(path): load_data_config(path) for path in data}
    loaded = [load_of_same_classes(checkpoint, config) for config in configs.values()]
    plain = replace(loaded[0], config=replace(loaded[0].config, calibration=None))
    target = choose_device(device)
    scored = {name: score(plain, config, split, target) for name, config in configs.items()}
    calibration = fit_to_metrics(list(scored.values()))
    after = {name: calibrated_metrics(metrics, calibration) for name, metrics in scored.items()}
    typer.echo(calibration_table(scored, after))
    info = loaded[0].info | {"metrics": with_new_figures(loaded[0].info.get("metrics"), list(after.values()))}
    replace(plain, config=replace(plain.config, calibration=calibration), info=info).save(out)
    typer.echo(f"{out}: scores calibrated, default threshold {CALIBRATED_THRESHOLD}")


def predict(
    checkpoint: CheckpointFile,
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGES...", help="Image files, folders of them, or .txt lists.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for index.html and its images.")],
    labels: Annotated[
        Path | None,
        typer.Option(
            metavar="DATA.yaml|DIR",
            help="Compare with labels: those of a data set, or a folder with a label file of the same stem for each.",
        ),
    ] = None,
    worst: Annotated[
        int | None, typer.Option(min=1, help="Show only that many images, those with the most errors.")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="Score threshold; by default the best on val.")
    ] = None,
    device: Device = None,
) -> None:
    """Show predictions beside labels, the worst image first, on a page that opens in any browser."""
    if worst and not labels:
        raise TrainError(f"--worst {worst}: without labels there are no errors to sort by. Add --labels DATA.yaml|DIR")
    loaded = load_checkpoint(checkpoint)
    config = loaded.config
    labelled = find_images(images, labels, config.class_names)
    threshold = loaded.threshold if threshold is None else threshold
    target = choose_device(device)
    make_folder(out)
    with FolderLock(out):
        outcomes = predict_images(
            loaded.build().to(target), labelled, size=config.input_size, device=target, threshold=threshold
        )
        page = write_report(
            worst_first(outcomes) if labels else outcomes,
            config.class_names,
            out,
            title=f"{checkpoint.name} at score threshold {threshold:.2f}",
            size=config.input_size,
            with_labels=labels is not None,
            show=worst,
        )
    errors = f", {sum(o.errors for o in outcomes)} misses and false positives" if labels else ""
    typer.echo(f"{len(outcomes)} images at score threshold {threshold:.2f}{errors}: {page}")

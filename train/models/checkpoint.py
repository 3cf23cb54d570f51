"""Checkpoint files: written atomically, read without running code, understood by ``export``."""

import dataclasses
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torchvision.models.detection import FasterRCNN

from train.errors import TrainError
from train.models.architectures import ModelConfig, build_model
from train.models.calibration import CALIBRATED_THRESHOLD, Calibration
from train.models.finite import is_finite

FORMAT = "facial-feature-rcnn checkpoint"
VERSION = 1


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a checkpoint file holds."""

    config: ModelConfig
    model: dict[str, Any]
    """State dict for use: the averaged weights if averaging was on."""
    info: dict[str, Any]
    """How the model was trained and what it scores: plain JSON values."""
    resume: dict[str, Any] | None = None
    """Everything needed to go on training; only in ``last.pt``."""

    @property
    def threshold(self) -> float:
        """Default score threshold: 0.5 where scores are calibrated or nothing was validated, else the best on val."""
        if self.config.calibration:
            return CALIBRATED_THRESHOLD
        return float((self.info.get("metrics") or {}).get("threshold", 0.5))

    def save(self, path: Path) -> None:
        """Write the file atomically: under its name there is never a partial one.

        Raises:
            TrainError: the disk is full or the folder cannot be written.
        """
        content = {
            "format": FORMAT,
            "version": VERSION,
            "config": _plain(self.config),
            "model": self.model,
            "info": self.info,
            "resume": self.resume,
        }
        partial = path.with_name(path.name + ".partial")
        try:
            with partial.open("wb") as file:
                torch.save(content, file)
                file.flush()
                os.fsync(file.fileno())  # before the rename: a power cut must not leave an empty file
            partial.replace(path)
        except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
            partial.unlink(missing_ok=True)
            reason = isinstance(error, OSError) and error.strerror  # without the name of the partial file
            raise TrainError(f"cannot write checkpoint {path}: {reason or ' '.join(str(error).split())}") from error

    def build(self) -> FasterRCNN:
        """Build the model with these weights, in evaluation mode.

        Raises:
            TrainError: the weights do not fit the architecture.
        """
        model = build_model(self.config)
        try:
            model.load_state_dict(self.model)
        except RuntimeError as error:
            raise TrainError(
                f"checkpoint weights do not fit '{self.config.arch}': {str(error).splitlines()[-1].strip()}"
            ) from error
        return model.eval()


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint of this project.

    Raises:
        TrainError: the file is missing, damaged, of another format, or of a training that diverged.
    """
    content = load_file(path)
    if not is_checkpoint(content):
        raise TrainError(
            f"{path}: not a checkpoint of this project. Use a best.pt or last.pt that 'realtime train fit' wrote"
        )
    checkpoint = checkpoint_of(content, path)
    refuse_diverged(path, checkpoint.model, (checkpoint.resume or {}).get("model", {}))
    return checkpoint


def is_checkpoint(content: Any) -> bool:
    """Whether a file that ``load_file`` read is a checkpoint."""
    return isinstance(content, dict) and content.get("format") == FORMAT


def checkpoint_of(content: dict[str, Any], path: Path) -> Checkpoint:
    """The checkpoint in the content of the file ``path``.

    Raises:
        TrainError: it is damaged, or of another version.
    """
    if content.get("version") != VERSION:
        raise TrainError(f"{path}: checkpoint version {content.get('version')}, this program reads version {VERSION}")
    try:
        config = _config_of(content["config"])
        return Checkpoint(config, content["model"], content["info"], content["resume"])
    except (KeyError, TypeError, ValueError) as error:
        raise TrainError(f"{path}: damaged checkpoint: {error}") from error


def _plain(config: ModelConfig) -> dict[str, Any]:
    """A config as a checkpoint holds it; without a calibration as versions before calibration know it."""
    values = dataclasses.asdict(config)
    if config.calibration is None:
        del values["calibration"]
    return values


def _config_of(values: dict[str, Any]) -> ModelConfig:
    """The inverse of ``_plain``."""
    calibration = values.get("calibration")
    return ModelConfig(
        **values
        | {
            "class_names": tuple(values["class_names"]),
            "calibration": Calibration.from_dict(calibration) if calibration else None,
        }
    )


def refuse_diverged(source: Path | str, *states: Mapping[str, Any]) -> None:
    """Refuse weights that are not finite.

    Raises:
        TrainError: names where they come from.
    """
    if not all(map(is_finite, states)):
        raise TrainError(f"{source}: its weights are not finite: its training diverged. Use an earlier checkpoint")


def load_file(path: Path) -> Any:
    """Read a file of tensors and plain values that ``torch.save`` wrote; code in it is never run.

    Raises:
        TrainError: the file is missing, damaged, or of another format.
    """
    try:
        with warnings.catch_warnings():  # about pickle protocols; it only matters whether the file can be read
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise TrainError(f"cannot read {path}: not found") from error
    except (IsADirectoryError, PermissionError) as error:
        raise TrainError(f"cannot read {path}: {error.strerror}") from error
    except Exception as error:  # torch's unpickler raises many kinds of errors for other files
        raise TrainError(f"{path}: not a readable PyTorch file (damaged, or of another format)") from error

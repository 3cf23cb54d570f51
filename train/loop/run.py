"""A training run: from options and a data set to ``best.pt``, ``last.pt`` and its logs in one folder.

What a step sees depends on (seed, epoch, position) alone, and ``last.pt`` holds every state that a step reads, so a run
that was stopped anywhere goes on as if it had not been.
"""

import json
import signal
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from train.data.dataset import DataConfig, label_path, load_split
from train.distributed import World
from train.errors import TrainError
from train.evaluation.evaluate import evaluate
from train.evaluation.metrics import Metrics
from train.evaluation.plots import plot_curves, plot_evaluation
from train.loop.engine import Step, train_steps
from train.loop.interrupt import Interrupt, InterruptedRunError
from train.loop.loading import EpochExamples, load_batches
from train.loop.options import FitOptions
from train.loop.reporting import LOG_EVERY_STEPS, LineReporter, Status
from train.loop.run_log import RunLog, data_hash, versions, write_run_json
from train.loop.train_state import make_trainee
from train.models.architectures import ModelConfig, build_model
from train.models.checkpoint import Checkpoint, load_checkpoint
from train.models.weights import Start, initial_model


class Run:
    """The state of one training run."""

    def __init__(
        self,
        options: FitOptions,
        data: DataConfig,
        out: Path,
        device: torch.device,
        world: World,
        last: Checkpoint | None = None,
    ) -> None:
        """Begin a run, or take up that of which ``last`` is the last checkpoint."""
        self.options = options
        self.data = data
        self.out = out
        self.device = device
        self.world = world
        self.train_images = load_split(data, "train")
        self.val_images = load_split(data, "val")
        options.images_per_part(world.size)  # refuses what cannot be shared out
        self.steps_per_epoch = len(self.train_images) // options.batch_size
        if not self.steps_per_epoch:
            raise TrainError(
                f"{data.path}: split 'train' has {len(self.train_images)} images, "
                f"fewer than one batch of {options.batch_size}. Use --batch-size {len(self.train_images)} or less"
            )
        if not any(len(image.classes) for image in self.train_images):
            where = label_path(self.train_images[0].path)
            raise TrainError(f"{data.path}: split 'train' has no labelled box. Looked for labels at {where}, say")
        if not any(len(image.classes) for image in self.val_images):
            raise TrainError(f"{data.path}: split 'val' has no labelled box, so nothing tells which epoch is the best")
        self.data_sha256 = data_hash(self.train_images)
        torch.manual_seed(options.seed)
        if last is None:
            start = initial_model(ModelConfig(options.arch, data.class_names, options.size), options.weights)
        else:
            start = Start(build_model(last.config), last.config)
        self.config, self.begun_anew = start.config, start.begun_anew
        self.trainee = make_trainee(start.model, options, self.steps_per_epoch, device, world)
        self.epoch = 0
        self.step = 0
        """Steps done in this epoch."""
        self.images_seen = 0
        self._window: list[Step] = []
        """Steps since the last line of the log."""
        self.best: dict[str, Any] | None = None
        self.best_epoch = 0
        if last is not None:
            self._resume(last)

    def fit(self, *, workers: int, save_every_steps: int, reporter: LineReporter) -> None:
        """Train to the last epoch, or until nothing has been gained for long; validate after each.

        Raises:
            InterruptedRunError: Ctrl+C or SIGTERM; the state has been saved.
            TrainError: training diverged, an image cannot be read, a checkpoint cannot be written.
        """
        log = RunLog(self.out, self.images_seen, self.epoch) if self.world.is_main else None
        if self.world.is_main and not self.images_seen:
            splits = {"train": self.train_images, "val": self.val_images}
            write_run_json(self.out, self.options, self.data, splits, self.device)
        try:
            with Interrupt(speaks=self.world.is_main) as interrupt:
                while self.epoch < self.options.epochs and not self._out_of_patience(reporter):
                    self._train_epoch(workers, save_every_steps, log, reporter, interrupt)
                    self.world.align(self.trainee.average)
                    metrics = evaluate(
                        self.trainee.average.module,
                        self.val_images,
                        size=self.options.size,
                        class_names=self.data.class_names,
                        device=self.device,
                        world=self.world,
                    )
                    self.epoch, self.step = self.epoch + 1, 0
                    reporter.validated(self.epoch, self.options.epochs, metrics)
                    self._keep(metrics, log)
        finally:
            if log:
                log.close()

    def _out_of_patience(self, reporter: LineReporter) -> bool:
        is_over = 0 < self.options.patience <= self.epoch - self.best_epoch
        if is_over:
            reporter.message(f"no better mAP50-95 in {self.options.patience} epochs since epoch {self.best_epoch}")
        return is_over

    def _train_epoch(
        self, workers: int, save_every_steps: int, log: RunLog | None, reporter: LineReporter, interrupt: Interrupt
    ) -> None:
        examples = EpochExamples(self.train_images, self.options, self.epoch)
        is_cuda = self.device.type == "cuda"
        batches = load_batches(examples, self.step, world=self.world, workers=workers, pin_memory=is_cuda)
        latest: deque[Step] = deque(maxlen=LOG_EVERY_STEPS)
        for step in train_steps(self.trainee, batches, self.options, self.world, interrupt):
            self.step += 1
            self.images_seen += step.images
            self._window.append(step)
            latest.append(step)
            is_logged = len(self._window) == LOG_EVERY_STEPS or self.step == self.steps_per_epoch
            reporter.step(self._status(latest), is_logged=is_logged)
            if is_logged:
                self._log_window(log)
            if step.is_stopped:
                self._save("last.pt", with_resume=True)
                raise InterruptedRunError(
                    interrupt.signal or signal.SIGTERM,  # it may have come to another process
                    f"stopped in epoch {self.epoch + 1} after step {self.step}; go on with: "
                    f"python -m train fit {self.data.path} --out {self.out} --resume",
                )
            # Before validation too, which may take long.
            if self.step % save_every_steps == 0 or self.step == self.steps_per_epoch:
                self._save("last.pt", with_resume=True)

    def _status(self, latest: deque[Step]) -> Status:
        images_per_s = sum(step.images for step in latest) / sum(step.seconds for step in latest)
        steps_left = (self.options.epochs - self.epoch) * self.steps_per_epoch - self.step
        return Status(
            self.epoch + 1,
            self.options.epochs,
            self.step,
            self.steps_per_epoch,
            mean_losses(latest),
            latest[-1].lr,
            images_per_s,
            steps_left * self.options.batch_size / images_per_s,
        )

    def _log_window(self, log: RunLog | None) -> None:
        if log:
            images_per_s = sum(step.images for step in self._window) / sum(step.seconds for step in self._window)
            position = {"epoch": self.epoch + 1, "step": self.step, "images_seen": self.images_seen}
            log.losses(position, mean_losses(self._window), self._window[-1].lr, images_per_s)
        self._window = []

    def _keep(self, metrics: Metrics, log: RunLog | None) -> None:
        """Log the metrics of an epoch and write the checkpoints."""
        scores = metrics.as_dict()
        if log:
            log.metrics(self.epoch, self.images_seen, scores)
        if self.best is None or (metrics.map50_95 or 0) > (self.best["map50_95"] or 0):
            self.best, self.best_epoch = scores, self.epoch
            self._save("best.pt", with_resume=False)
            if self.world.is_main:
                (self.out / "metrics.json").write_text(json.dumps(scores, indent=2) + "\n", encoding="utf-8")
                plot_evaluation(metrics, self.out)
        self._save("last.pt", with_resume=True)  # after best.pt: it says that this is there
        if self.world.is_main:
            plot_curves(self.out)

    def _save(self, name: str, *, with_resume: bool) -> None:
        if self.world.is_main:
            self.checkpoint(with_resume=with_resume).save(self.out / name)

    def checkpoint(self, *, with_resume: bool) -> Checkpoint:
        """The run as it is now: averaged weights for use, and on demand all that resuming needs."""
        info = {
            "data": self.data.path.name,
            "train_images": len(self.train_images),
            "train_sha256": self.data_sha256,
            "images_seen": self.images_seen,
            "epoch": self.epoch,
            "metrics": self.best,
            "options": asdict(self.options),
            "versions": versions(),
        }
        resume = self.trainee.state_dict() | {
            "epoch": self.epoch,
            "step": self.step,
            "images_seen": self.images_seen,
            "window": [asdict(step) for step in self._window],
            "best": self.best,
            "best_epoch": self.best_epoch,
        }
        weights = self.trainee.average.module.state_dict()
        return Checkpoint(self.config, weights, info, resume if with_resume else None)

    def _resume(self, checkpoint: Checkpoint) -> None:
        """Take up the state of a stopped run."""
        state = checkpoint.resume
        if state is None:
            raise TrainError("this checkpoint is for use, not for resuming. Resume from the run's last.pt")
        if len(self.train_images) != checkpoint.info["train_images"]:
            raise TrainError(
                f"the run was trained on {checkpoint.info['train_images']} images, but {self.data.path} now has "
                f"{len(self.train_images)}. Begin a new run from {self.out / 'last.pt'} with --weights"
            )
        if self.data_sha256 != checkpoint.info["train_sha256"]:
            raise TrainError(
                f"{self.data.path}: pictures or labels of split 'train' have changed since the run began. "
                f"Begin a new run from {self.out / 'last.pt'} with --weights"
            )
        self.trainee.load_state_dict(state)
        self.epoch, self.step = state["epoch"], state["step"]
        self.images_seen, self.best, self.best_epoch = state["images_seen"], state["best"], state["best_epoch"]
        self._window = [Step(**step) for step in state["window"]]


def resumed_run(last: Path, data: DataConfig, device: torch.device, world: World) -> Run:
    """A run that goes on from its ``last.pt``, with the options that it began with.

    Raises:
        TrainError: no such checkpoint, or one of other classes, other data or another version of this program.
    """
    checkpoint = load_checkpoint(last)
    if checkpoint.config.class_names != data.class_names:
        raise TrainError(
            f"{last} was trained for {', '.join(checkpoint.config.class_names)}, "
            f"but {data.path} names {', '.join(data.class_names)}"
        )
    try:
        options = FitOptions(**checkpoint.info["options"])
    except TypeError as error:
        raise TrainError(
            f"{last} comes from a version of this program with other options. "
            f"Begin a new run from it with --weights {last}"
        ) from error
    return Run(options, data, last.parent, device, world, checkpoint)


def mean_losses(steps: Sequence[Step]) -> dict[str, float]:
    """Mean of each part of the loss over some steps."""
    return {name: float(np.mean([step.losses[name] for step in steps])) for name in steps[0].losses}

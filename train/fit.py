"""A training run: from options and a data set to ``best.pt``, ``last.pt`` and its logs in one folder.

What an example looks like depends on (seed, epoch, position) alone, and ``last.pt`` holds every state that a step
reads, so a run that was stopped anywhere goes on as if it had not been.
"""

import csv
import json
import math
import platform
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from torch import Tensor
from torch.optim import SGD
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, LRScheduler, SequentialLR, StepLR
from torch.utils.data import DataLoader, Dataset

from train.checkpoint import Checkpoint, load_checkpoint
from train.dataset import DataConfig, label_path, load_split
from train.engine import Batch, Step, Trainee, averaged_model, evaluate, train_steps
from train.errors import TrainError
from train.metrics import Metrics
from train.model import ModelConfig, build_model
from train.plots import plot_curves, plot_evaluation
from train.transforms import Augment, to_tensors
from train.weights import initial_model

LOG_EVERY_STEPS = 50
LOGGED_METRICS = ("threshold", "map50", "map50_95", "false_positives_per_negative", "mean_f1")


@dataclass(frozen=True, slots=True)
class FitOptions:
    """Options of ``train fit`` that shape the result; a resumed run keeps those that it began with."""

    arch: str
    weights: str
    size: int
    epochs: int
    batch_size: int
    lr: float
    momentum: float
    weight_decay: float
    schedule: str
    step_epochs: int
    gamma: float
    warmup_steps: int
    clip_norm: float
    ema: float
    seed: int


class EpochExamples(Dataset[tuple[Tensor, dict[str, Tensor]]]):
    """The augmented examples of one epoch in their shuffled order, from ``first`` on."""

    def __init__(self, augment: Augment, seed: int, epoch: int, first: int) -> None:
        self.augment = augment
        self.seed = seed
        self.epoch = epoch
        self.order = np.random.default_rng([seed, epoch]).permutation(len(augment.images))
        self.first = first

    def __len__(self) -> int:
        return len(self.order) - self.first

    def __getitem__(self, position: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Image float32 (3,S,S) in 0..1, and target with boxes and one-based labels."""
        position += self.first
        rng = np.random.default_rng([self.seed, self.epoch, position])
        return to_tensors(self.augment(int(self.order[position]), rng))


class Run:
    """The state of one training run."""

    def __init__(
        self, options: FitOptions, data: DataConfig, out: Path, device: torch.device, last: Checkpoint | None = None
    ) -> None:
        """Begin a run, or take up that of which ``last`` is the last checkpoint."""
        self.options = options
        self.data = data
        self.out = out
        self.device = device
        self.train_images = load_split(data, "train")
        self.val_images = load_split(data, "val")
        self.steps_per_epoch = len(self.train_images) // options.batch_size
        if not self.steps_per_epoch:
            raise TrainError(
                f"{data.path}: split 'train' has {len(self.train_images)} images, "
                f"fewer than one batch of {options.batch_size}. Use --batch-size {len(self.train_images)} or less"
            )
        if not any(len(image.classes) for image in self.train_images):
            where = label_path(self.train_images[0].path)
            raise TrainError(f"{data.path}: split 'train' has no labelled box. Looked for labels at {where}, say")
        torch.manual_seed(options.seed)
        if last is None:
            model, self.config = initial_model(
                ModelConfig(options.arch, data.class_names, options.size), options.weights
            )
        else:
            model, self.config = build_model(last.config), last.config
        model = model.to(device, memory_format=torch.channels_last)
        optimizer = SGD(
            [p for p in model.parameters() if p.requires_grad],
            lr=options.lr,
            momentum=options.momentum,
            weight_decay=options.weight_decay,
        )
        scheduler = make_scheduler(optimizer, options, self.steps_per_epoch)
        self.trainee = Trainee(model, optimizer, scheduler, averaged_model(model, options.ema))
        self.epoch = 0
        self.step = 0
        """Steps done in this epoch."""
        self.images_seen = 0
        self._window: list[Step] = []
        """Steps since the last line of the log."""
        self.best: dict[str, Any] | None = None
        if last is not None:
            self._resume(last)

    def fit(self, *, workers: int, save_every_steps: int, log: Callable[[str], None]) -> None:
        """Train to the last epoch; validate after each."""
        while self.epoch < self.options.epochs:
            self._train_epoch(workers, save_every_steps, log)
            metrics = evaluate(
                self.trainee.average.module,
                self.val_images,
                size=self.options.size,
                class_names=self.data.class_names,
                device=self.device,
            )
            self.epoch, self.step = self.epoch + 1, 0
            log(f"epoch {self.epoch}/{self.options.epochs} on val:\n{metrics.table()}")
            self._keep(metrics)

    def _train_epoch(self, workers: int, save_every_steps: int, log: Callable[[str], None]) -> None:
        augment = Augment(self.train_images, self.options.size)
        examples = EpochExamples(augment, self.options.seed, self.epoch, self.step * self.options.batch_size)
        batches = DataLoader(
            examples,
            batch_size=self.options.batch_size,
            drop_last=True,
            num_workers=workers,
            collate_fn=collate,
            generator=torch.Generator(),  # else each start, a resumed one too, would draw from torch's own
        )
        for step in train_steps(
            self.trainee, plain_errors(batches), clip_norm=self.options.clip_norm, device=self.device
        ):
            self.step += 1
            self.images_seen += step.images
            self._window.append(step)
            if len(self._window) == LOG_EVERY_STEPS or self.step == self.steps_per_epoch:
                self._log_steps(self._window, log)
                self._window = []
            if self.step % save_every_steps == 0:
                self.checkpoint(with_resume=True).save(self.out / "last.pt")

    def _log_steps(self, window: list[Step], log: Callable[[str], None]) -> None:
        means = {name: float(np.mean([s.losses[name] for s in window])) for name in window[0].losses}
        images_per_s = sum(s.images for s in window) / sum(s.seconds for s in window)
        left = (self.options.epochs - self.epoch) * self.steps_per_epoch - self.step
        left_min = left * self.options.batch_size / images_per_s / 60
        losses = "  ".join(f"{name.removeprefix('loss_')} {value:.3f}" for name, value in means.items())
        log(
            f"epoch {self.epoch + 1}/{self.options.epochs} step {self.step}/{self.steps_per_epoch}  {losses}  "
            f"lr {window[-1].lr:.4f}  {images_per_s:.1f} images/s  {left_min:.0f} min left"
        )
        row = {"epoch": self.epoch + 1, "step": self.step, "images_seen": self.images_seen, "lr": window[-1].lr}
        append_csv(self.out / "losses.csv", row | means | {"images_per_s": images_per_s})

    def _keep(self, metrics: Metrics) -> None:
        """Log the metrics of an epoch and write the checkpoints."""
        scores = metrics.as_dict()
        per_class = {f"f1_{c['name']}": c["f1"] for c in scores["classes"]}
        row = {"epoch": self.epoch, "images_seen": self.images_seen}
        row |= {name: scores[name] for name in LOGGED_METRICS}
        append_csv(self.out / "metrics.csv", row | per_class)
        is_best = self.best is None or (metrics.map50_95 or 0) > (self.best["map50_95"] or 0)
        if is_best:
            self.best = scores
            self.checkpoint(with_resume=False).save(self.out / "best.pt")
            (self.out / "metrics.json").write_text(json.dumps(scores, indent=2) + "\n", encoding="utf-8")
            plot_evaluation(metrics, self.out)
        self.checkpoint(with_resume=True).save(self.out / "last.pt")  # after best.pt: it says that this is there
        plot_curves(self.out)

    def checkpoint(self, *, with_resume: bool) -> Checkpoint:
        """The run as it is now: averaged weights for use, and on demand all that resuming needs."""
        info = {
            "data": self.data.path.name,
            "train_images": len(self.train_images),
            "images_seen": self.images_seen,
            "epoch": self.epoch,
            "metrics": self.best,
            "options": asdict(self.options),
            "versions": {
                "python": platform.python_version(),
                "torch": str(torch.__version__),
                "torchvision": str(torchvision.__version__),
            },
        }
        resume = {
            "model": self.trainee.model.state_dict(),
            "average": self.trainee.average.state_dict(),
            "optimizer": self.trainee.optimizer.state_dict(),
            "scheduler": self.trainee.scheduler.state_dict(),
            "torch_rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state_all(),
            "epoch": self.epoch,
            "step": self.step,
            "images_seen": self.images_seen,
            "window": [asdict(step) for step in self._window],
            "best": self.best,
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
        self.trainee.model.load_state_dict(state["model"])
        self.trainee.average.load_state_dict(state["average"])
        self.trainee.optimizer.load_state_dict(state["optimizer"])
        self.trainee.scheduler.load_state_dict(state["scheduler"])
        torch.set_rng_state(state["torch_rng"])
        if state["cuda_rng"] and torch.cuda.is_available():
            torch.cuda.set_rng_state_all(state["cuda_rng"])
        self.epoch, self.step = state["epoch"], state["step"]
        self.images_seen, self.best = state["images_seen"], state["best"]
        self._window = [Step(**step) for step in state["window"]]
        # What was logged after the checkpoint will be logged again.
        drop_rows(self.out / "losses.csv", lambda row: int(row["images_seen"]) > self.images_seen)
        drop_rows(self.out / "metrics.csv", lambda row: int(row["epoch"]) > self.epoch)


def resumed_run(last: Path, data: DataConfig, device: torch.device) -> Run:
    """A run that goes on from its ``last.pt``, with the options that it began with.

    Raises:
        TrainError: no such checkpoint, or one of other classes or other data.
    """
    checkpoint = load_checkpoint(last)
    if checkpoint.config.class_names != data.class_names:
        raise TrainError(
            f"{last} was trained for {', '.join(checkpoint.config.class_names)}, "
            f"but {data.path} names {', '.join(data.class_names)}"
        )
    return Run(FitOptions(**checkpoint.info["options"]), data, last.parent, device, checkpoint)


def make_scheduler(optimizer: SGD, options: FitOptions, steps_per_epoch: int) -> LRScheduler:
    """Linear warm-up, then steps by ``gamma`` every ``step_epochs`` epochs, or half a cosine down to 1 % at the end."""
    total = options.epochs * steps_per_epoch
    warmup_steps = min(options.warmup_steps, max(1, total // 5))
    warmup = LinearLR(optimizer, start_factor=0.01, total_iters=warmup_steps)
    after: LRScheduler
    if options.schedule == "cosine":
        after = CosineAnnealingLR(optimizer, T_max=max(1, total - warmup_steps), eta_min=options.lr * 0.01)
    else:
        after = StepLR(optimizer, step_size=options.step_epochs * steps_per_epoch, gamma=options.gamma)
    return SequentialLR(optimizer, [warmup, after], milestones=[warmup_steps])


def plain_errors(batches: Iterable[Batch]) -> Iterator[Batch]:
    """Pass batches on; of an error in a reading process, which comes with its traceback as text, only its message."""
    try:
        yield from batches
    except TrainError as error:
        raise TrainError(str(error).strip().splitlines()[-1].removeprefix("train.errors.TrainError: ")) from error


def collate(examples: list[tuple[Tensor, dict[str, Tensor]]]) -> Batch:
    """Images and targets as two lists, torchvision's input."""
    return [image for image, _ in examples], [target for _, target in examples]


def drop_rows(path: Path, is_late: Callable[[dict[str, str]], bool]) -> None:
    """Remove those rows of a log that come too late."""
    if path.exists():
        with path.open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if not is_late(row)]
        path.unlink()
        for row in rows:
            append_csv(path, row)


def append_csv(path: Path, row: dict[str, Any]) -> None:
    """Append a row, with the header if the file is new."""
    is_new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(row))
        if is_new:
            writer.writeheader()
        writer.writerow({k: round(v, 5) if isinstance(v, float) and math.isfinite(v) else v for k, v in row.items()})

"""A training run: from options and a data set to ``best.pt``, ``last.pt`` and its logs in one folder.

What a step sees depends on (seed, epoch, position) alone, and ``last.pt`` holds every state that a step reads, so a run
that was stopped anywhere continues as if it had not been.
"""

import contextlib
import itertools
import signal
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import torch

from train.data.data_yaml import DataConfig
from train.data.image_cache import Cache, image_reader
from train.distributed import World
from train.errors import TrainError
from train.evaluation.calibrate import calibrated_if_possible
from train.evaluation.evaluate import detect, evaluate
from train.evaluation.metrics import Metrics
from train.loop.closing_time import guess_closing_s
from train.loop.engine import Step, diverged, train_steps
from train.loop.examples import RunExamples
from train.loop.interrupt import Interrupt, InterruptedRunError
from train.loop.loading import Batch, first_augmented_images, load_batches, worker_errors
from train.loop.loggers.opening import NO_LOGGERS, LogOptions, open_loggers
from train.loop.options import FitOptions
from train.loop.progress import Progress
from train.loop.recorder import RunRecorder
from train.loop.reporting import LOG_EVERY_STEPS, LineReporter
from train.loop.run_images import check_unchanged, load_run_images
from train.loop.run_log import versions, write_run_json
from train.loop.train_state import build_train_state
from train.loop.wall_clock import WallClock
from train.models.architectures import ModelConfig, build_model
from train.models.checkpoint import Checkpoint, load_checkpoint
from train.models.class_rows import hasten_rows
from train.models.finite import MAX_OUTPUT, DivergedModelError, is_finite
from train.models.onnx_weights import restore_norms
from train.models.weights import Start, initial_model

RESTORE_IMAGES = 32
"""Images whose statistics the norms of an exported model get."""


class Run:
    """One training run."""

    def __init__(
        self,
        options: FitOptions,
        data: DataConfig,
        out: Path,
        device: torch.device,
        world: World,
        last: Checkpoint | None = None,
    ) -> None:
        """Begin a run, or resume that of which ``last`` is the last checkpoint.

        Raises:
            TrainError: the data, the weights or the options cannot be used, or are not those of ``last``.
        """
        self.options, self.data, self.out, self.device, self.world = options, data, out, device, world
        self.clock = WallClock(options.time_s) if options.time_s else None
        options.images_per_part(world.size)  # raises if the batch cannot be divided
        self.images = load_run_images(data, options)
        torch.manual_seed(options.seed)
        start = self._begin() if last is None else _resumed(last)
        self.config, self.reinitialized, self.new_classes = start.config, start.reinitialized, start.new_classes
        self.state = build_train_state(start.model, options, self.images.steps_per_epoch, device, world)
        new_ids = [data.class_names.index(name) for name in self.new_classes]
        hasten_rows(self.state.model, new_ids, options.new_class_gain)
        self.progress = Progress()
        if last is not None:
            self._resume(last)

    def fit(
        self,
        *,
        workers: int,
        save_every_steps: int,
        reporter: LineReporter,
        cache: Cache = Cache.AUTO,
        log: LogOptions = NO_LOGGERS,
        ends_early: Callable[[Metrics], bool] = lambda _: False,
    ) -> bool:
        """Train to the last epoch, or until the time or ``patience`` runs out; validate after each epoch.

        A run that is limited in time skips validations that would take much of it, but not the last. After each
        validation ``ends_early`` gets its metrics; the run is over if it returns True.

        Returns:
            Whether the run was ended early in that way.

        Raises:
            InterruptedRunError: Ctrl+C or SIGTERM; the state has been saved.
            TrainError: training diverged, an image cannot be read, a checkpoint cannot be written.
        """
        is_main = self.world.is_main
        if is_main and not self.progress.images_seen:
            splits = {"train": self.images.train, "val": self.images.val}
            write_run_json(self.out, self.options, self.data, splits, self.device)
        if self.clock and self.progress.share < 1:
            model, size = self.state.average.module, self.options.size
            guess_s = guess_closing_s(model, self.images.val, size, self.device, self.world.size)
            self.clock.expect_closing(guess_s)
        is_resumed = self.progress.images_seen > 0
        loggers = open_loggers(log, self.out, is_resumed=is_resumed, on_message=reporter.message) if is_main else []
        recorder = RunRecorder(self.out, self.progress, loggers, is_main=is_main)
        batches = self._batches(workers, cache)
        with recorder, Interrupt(verbose=is_main) as interrupt, contextlib.closing(batches):
            while not self._is_over(reporter):
                ended_s = self._train_epoch(batches, workers, save_every_steps, recorder, reporter, interrupt)
                if self.progress.share >= 1:
                    batches.close()  # so that the last validation has all cores
                if self._affords_validation():
                    metrics = self._close_epoch(recorder, reporter)
                    if self.clock:
                        self.clock.closed(time.monotonic() - ended_s)
                    if ends_early(metrics):
                        return True
                else:
                    self.progress.skip_validation()
        return False

    def checkpoint(self, *, with_resume: bool) -> Checkpoint:
        """The run as it is now: averaged weights for use, and on demand all that resuming needs."""
        info = {
            "data": self.data.path.name,
            "train_images": len(self.images.train),
            "train_sha256": self.images.train_sha256,
            "images_seen": self.progress.images_seen,
            "epoch": self.progress.epoch,
            "metrics": self.progress.latest,
            "options": asdict(self.options),
            "versions": versions(),
        }
        resume = self.state.state_dict() | self.progress.state_dict() if with_resume else None
        if resume is not None:
            resume["new_classes"] = list(self.new_classes)
        if resume is not None and self.clock:
            resume["clock"] = self.clock.state_dict()
        return Checkpoint(self.config, self.state.average.module.state_dict(), info, resume)

    def _begin(self) -> Start:
        config = ModelConfig(self.options.arch, self.data.class_names, self.options.size)
        start = initial_model(config, self.options.weights)
        if start.is_folded:
            restore_norms(start.model, first_augmented_images(self.images.train, self.options, RESTORE_IMAGES))
        return start

    def _resume(self, last: Checkpoint) -> None:
        if last.resume is None:
            raise TrainError("this checkpoint is for use, not for resuming. Resume from the run's last.pt")
        check_unchanged(self.images, last, self.data, self.out / "last.pt")
        self.state.load_state_dict(last.resume)
        self.progress = Progress.from_state_dict(last.resume)
        if self.clock:
            self.clock.load_state_dict(last.resume["clock"])

    def _batches(self, workers: int, cache: Cache) -> Generator[Batch]:
        """This process's parts of the batches from here to the end of the run."""
        paths = [image.path for image in self.images.train]
        read = image_reader(paths, cache, workers=workers, processes=self.world.local_size)
        return load_batches(
            RunExamples(self.images.train, self.options, read),
            self.progress.epoch,
            self.progress.step,
            world=self.world,
            workers=workers,
            pin_memory=self.device.type == "cuda",
            share=self.clock.share if self.clock else None,
        )

    def _train_epoch(
        self,
        batches: Iterator[Batch],
        workers: int,
        save_every_steps: int,
        recorder: RunRecorder,
        reporter: LineReporter,
        interrupt: Interrupt,
    ) -> float:
        """Train to the end of the epoch, or of the time; when the last step ended, on the monotonic clock."""
        progress, steps_per_epoch = self.progress, self.images.steps_per_epoch
        latest: deque[Step] = deque(maxlen=LOG_EVERY_STEPS)
        # No step is left if the run was stopped in its last validation.
        steps_left = 0 if progress.share >= 1 else steps_per_epoch - progress.step
        of_epoch = itertools.islice(batches, steps_left * self.options.accumulate)
        ended_s = time.monotonic()
        with worker_errors(workers):
            for step in train_steps(self.state, of_epoch, self.options, self.world, interrupt, self.clock):
                ended_s = time.monotonic()
                progress.add(step)
                latest.append(step)
                is_last = progress.step == steps_per_epoch or step.share >= 1
                is_logged = is_last or progress.is_window_complete(steps_per_epoch)
                status = progress.status(latest, self.options, steps_per_epoch, self.clock)
                reporter.step(status, is_logged=is_logged)
                if is_logged:
                    recorder.losses(progress)
                # At the end of an epoch too: validation may take long.
                if progress.step % save_every_steps == 0 or is_last or step.is_stopped:
                    self._check_finite()
                    recorder.last(partial(self.checkpoint, with_resume=True))
                if step.is_stopped:
                    raise self._interrupted(interrupt)
                if step.share >= 1:
                    break
        return ended_s

    def _close_epoch(self, recorder: RunRecorder, reporter: LineReporter) -> Metrics:
        """Validate, and write what comes of it."""
        metrics = self._validate()
        is_best = self.progress.end_epoch(metrics)
        reporter.validated(self.progress.epoch, self.options.last_epoch, metrics)
        recorder.metrics(self.progress, metrics)
        if is_best:
            self._keep_best(metrics, recorder)
        recorder.last(partial(self.checkpoint, with_resume=True))  # after best.pt, whose existence it implies
        recorder.curves()
        return metrics

    def _keep_best(self, metrics: Metrics, recorder: RunRecorder) -> None:
        """Write ``best.pt``, its scores calibrated on val where that has enough detections."""
        calibration, metrics = calibrated_if_possible(metrics, lambda _: None)
        self.progress.best = figures = metrics.as_dict()

        def best() -> Checkpoint:
            checkpoint = self.checkpoint(with_resume=False)
            config, info = replace(checkpoint.config, calibration=calibration), checkpoint.info | {"metrics": figures}
            return replace(checkpoint, config=config, info=info)

        recorder.best(self.progress, metrics, best)

    def _is_over(self, reporter: LineReporter) -> bool:
        """Whether the run has come to its end, validated, or gains nothing any more."""
        if self.clock:
            is_validated = not self.progress.step and self.progress.validated_epoch == self.progress.epoch
            is_over = self.progress.share >= 1 and is_validated
        else:
            is_over = self.progress.epoch >= self.options.epochs
        return is_over or self._out_of_patience(reporter)

    def _affords_validation(self) -> bool:
        """Whether to validate after this epoch; the same in all processes."""
        if self.clock is None or self.progress.share >= 1:
            return True
        wish = torch.tensor(float(self.clock.affords_validation()), device=self.device)
        return self.world.mean(wish).item() > 0.5

    def _check_finite(self) -> None:
        """Refuse to save weights that are spoiled: the loss of a step says nothing about those after it.

        Raises:
            TrainError: weights, or what the averaged ones detect in one image, are not finite.
        """
        if not is_finite(self.state.model.state_dict()) or not is_finite(self.state.average.state_dict()):
            raise diverged("weights that are not finite")
        with _diverged_outputs():
            probe = detect(self.state.average.module, self.images.val[:1], size=self.options.size, device=self.device)
            next(probe)

    def _validate(self) -> Metrics:
        """Score the averaged weights on val; all processes share the work."""
        self.world.broadcast_weights(self.state.average)
        with _diverged_outputs():
            return evaluate(
                self.state.average.module,
                self.images.val,
                size=self.options.size,
                class_names=self.data.class_names,
                device=self.device,
                world=self.world,
            )

    def _out_of_patience(self, reporter: LineReporter) -> bool:
        patience, best_epoch = self.options.patience, self.progress.best_epoch
        is_over = 0 < patience <= self.progress.epoch - best_epoch
        if is_over:
            reporter.message(f"no better mAP50-95 in {patience} epochs since epoch {best_epoch}")
        return is_over

    def _interrupted(self, interrupt: Interrupt) -> InterruptedRunError:
        return InterruptedRunError(
            interrupt.signal or signal.SIGTERM,  # another process may have received it
            f"stopped in epoch {self.progress.epoch + 1} after step {self.progress.step}; go on with: "
            f"realtime train fit {self.data.path} --out {self.out} --resume",
        )


def _resumed(last: Checkpoint) -> Start:
    """The model of a run that is resumed, whose weights are loaded later; trained, its scores are not calibrated."""
    config = replace(last.config, calibration=None)
    return Start(build_model(config), config, new_classes=tuple((last.resume or {}).get("new_classes", ())))


@contextlib.contextmanager
def _diverged_outputs() -> Iterator[None]:
    try:
        yield
    except DivergedModelError as error:
        raise diverged(f"outputs that are not finite, or above {MAX_OUTPUT:.0e}") from error


def resumed_run(last: Path, data: DataConfig, device: torch.device, world: World) -> Run:
    """A run that continues from its ``last.pt``, with the options that it began with.

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

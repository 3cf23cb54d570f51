"""The options of a run that shape its result."""

from dataclasses import asdict, dataclass
from typing import Any

from train.cli_options import command_line_defaults, option
from train.data.augment import AugmentOptions
from train.errors import TrainError
from train.loop.schedule_text import seconds_of, size_schedule
from train.models.architectures import ARCHITECTURES
from train.models.weights import architecture_of, family

MODEL, TRAINING, EXAMPLES = "Model", "Training", "Examples"
"""Groups of options in the help text."""
LR = {"sgd": 0.02, "adamw": 0.001}
WEIGHT_DECAY = {"sgd": 1e-4, "adamw": 0.05}
"""Defaults by optimizer."""
GENTLE_LR = {"sgd": 0.001, "adamw": 0.0001}
"""Likewise, where a detector is trained on."""
NEW_CLASS_LR = {"sgd": 0.01, "adamw": 0.0}
"""At least this, for what predicts classes that the detector does not know. The steps of AdamW do not depend on the
size of a gradient."""
WARMUP_STEPS, GENTLE_WARMUP_STEPS = 500, 50
FEW_IMAGES = 32
"""Batch norms that are trained on keep their statistics where they would see fewer images at once."""
ARCH = "resnet50"
EPOCHS = 26
AUGMENT = AugmentOptions()
IMPLYING = ("arch", "weights", "optimizer", "sizes", "time", "batch_size", "accumulate")
"""Options from which defaults of others follow."""


@dataclass(frozen=True, slots=True)
class FitOptions:
    """Options of ``train fit``; they are stored in every checkpoint, and a resumed run keeps those it began with.

    None of them depends on the machine: the same options give the same steps on one process or on many. A field here is
    all that a new option needs: the command line is generated from them.
    """

    arch: str = option(
        ARCH,
        f"Architecture; by default that of a detector of this project in --weights, else {ARCH}.",
        panel=MODEL,
        choices=tuple(ARCHITECTURES),
        is_derived=True,
    )
    weights: str = option(
        "coco",
        "Start: coco (pretrained), none, a model that comes with the app (pico, nano, mobile), or a file.",
        panel=MODEL,
    )
    size: int = option(
        480,
        "Side of the square input in pixels; by default the architecture's.",
        panel=MODEL,
        is_derived=True,
    )
    sizes: str | None = option(
        None,
        "Sides of the input one after the other, such as 384,480, or with shares of the run: 384:0.65,480:0.35. "
        "The last is the default of --size, with which the model is validated.",
        panel=TRAINING,
    )
    epochs: int = option(EPOCHS, "By default 26.", min=1, panel=TRAINING, is_derived=True)
    time: str | None = option(
        None,
        "Train for so long in place of --epochs, such as 90s, 8m or 1h30m; the last validation is included.",
        panel=TRAINING,
    )
    batch_size: int = option(16, "Images of a step, over all processes.", min=1, panel=TRAINING)
    accumulate: int = option(1, "Parts to split a batch into, to save memory.", min=1, panel=TRAINING)
    optimizer: str = option("sgd", panel=TRAINING, choices=tuple(LR))
    lr: float = option(
        LR["sgd"],
        "Peak learning rate; by default 0.02 for sgd, 0.001 for adamw; from a detector of this project "
        f"{GENTLE_LR['sgd']} and {GENTLE_LR['adamw']}.",
        min=0,
        panel=TRAINING,
        is_derived=True,
    )
    momentum: float = option(0.9, min=0, max=0.999, panel=TRAINING)
    """Of SGD; beta 1 of AdamW."""
    weight_decay: float = option(
        WEIGHT_DECAY["sgd"],
        "By default 0.0001 for sgd, 0.05 for adamw.",
        min=0,
        panel=TRAINING,
        is_derived=True,
    )
    schedule: str = option(
        "step",
        "Learning rate: steps (StepLR) or half a cosine; by default step, with --time cosine.",
        panel=TRAINING,
        choices=("step", "cosine"),
        is_derived=True,
    )
    step_epochs: int = option(8, "Epochs between the steps of StepLR.", min=1, panel=TRAINING)
    gamma: float = option(0.1, "Factor of each step of StepLR.", min=0, max=1, panel=TRAINING)
    warmup_steps: int = option(
        WARMUP_STEPS,
        f"Steps of linear warm-up; by default 500, from a detector of this project {GENTLE_WARMUP_STEPS}.",
        min=1,
        panel=TRAINING,
        is_derived=True,
    )
    freeze_norms: bool = option(
        default=False,
        help="Keep the statistics of the batch norms; by default from a detector of this project, with fewer than "
        f"{FEW_IMAGES} images in a part of a batch.",
        panel=TRAINING,
        is_derived=True,
    )
    clip_norm: float = option(10.0, "Largest norm of the gradient; 0: no limit.", min=0, panel=TRAINING)
    ema: float = option(0.999, "Decay of the averaged weights.", min=0, max=1, panel=TRAINING)
    amp: bool = option(default=False, help="Compute in bfloat16 where that is safe.", flag="--amp", panel=TRAINING)
    box_loss_weight: float = option(1.0, "Weight of the box regression losses.", min=0, panel=TRAINING)
    trainable_layers: int | None = option(
        None,
        "Stages of the body to train, counted from its end; by default 3 of COCO weights, else all.",
        min=0,
        panel=MODEL,
    )
    patience: int = option(0, "End after so many epochs without a better mAP50-95; 0: never.", min=0, panel=TRAINING)
    mosaic: float = option(
        AUGMENT.mosaic, "How often four to nine images make one example.", min=0, max=1, panel=EXAMPLES
    )
    crowd: float = option(AUGMENT.crowd, "How often 16 to 36 images make one example.", min=0, max=1, panel=EXAMPLES)
    small_share: float = option(
        AUGMENT.small_share,
        "How often an object in a single image is made small, with a longer side of less than "
        f"{AUGMENT.small_below:g} of the input's.",
        min=0,
        max=1,
        panel=EXAMPLES,
    )
    flip: float = option(
        AUGMENT.flip, "How often to mirror; 0 if left and right are classes.", min=0, max=1, panel=EXAMPLES
    )
    rotation_deg: float = option(
        AUGMENT.rotation_deg,
        "Standard deviation of the angle of rotated images, in degrees; it is clipped at 40.",
        flag="--rotation",
        min=0,
        max=40,
        panel=EXAMPLES,
    )
    multi_scale: float = option(
        0.0, "Vary the input side by this share, from step to step.", min=0, max=0.5, panel=EXAMPLES
    )
    seed: int = option(0, min=0, panel=TRAINING)

    @classmethod
    def from_command_line(cls, **given: Any) -> "FitOptions":
        """Options whose derived defaults, None if they were not given, follow from the others.

        They are gentle where a detector of this project is trained on.
        """
        optimizer, sizes, time = given["optimizer"], given["sizes"], given["time"]
        if time and given["epochs"]:
            raise TrainError(f"--time {time} and --epochs {given['epochs']}: a run ends by one of them. Leave one out")
        if time and given["schedule"] == "step":
            raise TrainError(f"--time {time} and --schedule step, whose steps are counted in epochs. Use cosine")
        if time:
            seconds_of(time)  # raises if it is none
        known_arch = architecture_of(given["weights"])
        arch = given["arch"] or known_arch or ARCH
        is_gentle = known_arch is not None and family(known_arch) == family(arch)
        derived = {
            "arch": arch,
            "size": size_schedule(sizes)[-1][0] if sizes else ARCHITECTURES[arch].default_size,
            "epochs": EPOCHS,
            "schedule": "cosine" if time else "step",
            "lr": (GENTLE_LR if is_gentle else LR)[optimizer],
            "weight_decay": WEIGHT_DECAY[optimizer],
            "warmup_steps": GENTLE_WARMUP_STEPS if is_gentle else WARMUP_STEPS,
            "freeze_norms": is_gentle and given["batch_size"] // given["accumulate"] < FEW_IMAGES,
        }
        return cls(**given | {name: value for name, value in derived.items() if given[name] is None})

    def not_by_default(self) -> dict[str, Any]:
        """The fields whose values the command line would not have by itself, those that others imply left out."""
        plain = command_line_defaults(type(self))
        implying = {name: getattr(self, name) for name in IMPLYING}
        implied = asdict(type(self).from_command_line(**plain | implying))
        alone = plain | {"arch": architecture_of(self.weights) or ARCH}
        return {
            name: value
            for name, value in asdict(self).items()
            if value != implied[name] or (name in implying and value != alone[name])
        }

    @classmethod
    def with_defaults(cls, **given: Any) -> "FitOptions":
        """Options of which only some are given: the others are what the command line takes without them."""
        return cls.from_command_line(**command_line_defaults(cls) | given)

    @property
    def time_s(self) -> float | None:
        """Seconds that the run may take; None if it is counted in epochs."""
        return seconds_of(self.time) if self.time else None

    @property
    def last_epoch(self) -> int | None:
        """The number of epochs; None if the run is limited in time."""
        return None if self.time else self.epochs

    @property
    def new_class_gain(self) -> float:
        """How much faster than the rest the predictors of new classes are trained."""
        return max(1.0, NEW_CLASS_LR[self.optimizer] / self.lr) if self.lr else 1.0

    def size_at(self, share: float) -> int:
        """Side in pixels of the input once this share of the run, from 0 to 1, is done."""
        end, size = 0.0, self.size
        for size, part in size_schedule(self.sizes) if self.sizes else []:
            end += part
            if share < end:
                return size
        return size

    def images_per_part(self, processes: int) -> int:
        """Images in one forward pass of one process.

        Raises:
            TrainError: the batch cannot be divided evenly.
        """
        if self.batch_size % (processes * self.accumulate):
            raise TrainError(
                f"--batch-size {self.batch_size} (of all processes together) cannot be divided evenly over "
                f"{processes} processes with --accumulate {self.accumulate}: use a multiple of "
                f"{processes * self.accumulate}"
            )
        return self.batch_size // (processes * self.accumulate)

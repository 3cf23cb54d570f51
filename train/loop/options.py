"""The options of a run that shape its result."""

from dataclasses import dataclass
from typing import Any

from train.cli_options import option
from train.data.augment import AugmentOptions
from train.errors import TrainError
from train.models.architectures import ARCHITECTURES

MODEL, TRAINING, EXAMPLES = "Model", "Training", "Examples"
"""Groups of options in the help text."""
LR = {"sgd": 0.02, "adamw": 0.001}
WEIGHT_DECAY = {"sgd": 1e-4, "adamw": 0.05}
"""Defaults by optimizer."""
AUGMENT = AugmentOptions()


@dataclass(frozen=True, slots=True)
class FitOptions:
    """Options of ``train fit``; they are stored in every checkpoint, and a resumed run keeps those it began with.

    None of them depends on the machine: the same options give the same steps on one process or on many. A field here is
    all that a new option needs: the command line is generated from them.
    """

    arch: str = option("resnet50", "Architecture.", panel=MODEL, choices=tuple(ARCHITECTURES))
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
    epochs: int = option(26, min=1, panel=TRAINING)
    batch_size: int = option(16, "Images of a step, over all processes.", min=1, panel=TRAINING)
    accumulate: int = option(1, "Parts to split a batch into, to save memory.", min=1, panel=TRAINING)
    optimizer: str = option("sgd", panel=TRAINING, choices=tuple(LR))
    lr: float = option(
        LR["sgd"],
        "Peak learning rate; by default 0.02 for sgd, 0.001 for adamw.",
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
        "step", "Learning rate: steps (StepLR) or half a cosine.", panel=TRAINING, choices=("step", "cosine")
    )
    step_epochs: int = option(8, "Epochs between the steps of StepLR.", min=1, panel=TRAINING)
    gamma: float = option(0.1, "Factor of each step of StepLR.", min=0, max=1, panel=TRAINING)
    warmup_steps: int = option(500, "Steps of linear warm-up.", min=1, panel=TRAINING)
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
        """Options whose derived defaults, None if they were not given, follow from architecture and optimizer."""
        optimizer = given["optimizer"]
        derived = {
            "size": ARCHITECTURES[given["arch"]].default_size,
            "lr": LR[optimizer],
            "weight_decay": WEIGHT_DECAY[optimizer],
        }
        return cls(**given | {name: value for name, value in derived.items() if given[name] is None})

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

"""The options of a run that shape its result."""

from dataclasses import dataclass

from train.data.transforms import AugmentOptions
from train.errors import TrainError


@dataclass(frozen=True, slots=True)
class FitOptions:
    """Options of ``train fit``; they are stored in every checkpoint, and a resumed run keeps those it began with.

    None of them depends on the machine: the same options give the same steps on one process or on many. The defaults
    are those of the command line, but for what goes with an architecture or an optimizer.
    """

    arch: str = "resnet50"
    weights: str = "coco"
    size: int = 480
    """Side of the square input in pixels."""
    epochs: int = 26
    batch_size: int = 16
    """Images of one optimizer step, over all processes."""
    accumulate: int = 1
    """Parts in which each process works through its share of a batch."""
    optimizer: str = "sgd"
    lr: float = 0.02
    momentum: float = 0.9
    """Of SGD; beta 1 of AdamW."""
    weight_decay: float = 1e-4
    schedule: str = "step"
    step_epochs: int = 8
    gamma: float = 0.1
    warmup_steps: int = 500
    clip_norm: float = 10.0
    """Largest norm of the gradient; 0 for none."""
    ema: float = 0.999
    amp: bool = False
    box_loss_weight: float = 1.0
    """Factor of the two box regression losses beside the two classification losses."""
    trainable_layers: int | None = None
    """Stages of the body that are trained, counted from its end; None leaves the choice to the architecture."""
    patience: int = 0
    """Epochs without a better mAP50-95 after which the run ends early; 0 never."""
    mosaic: float = AugmentOptions().mosaic
    """How often an example is made of four to nine pictures."""
    flip: float = AugmentOptions().flip
    """How often a picture is mirrored; 0 where left and right are different classes."""
    rotation_deg: float = AugmentOptions().rotation_deg
    """Standard deviation of the angle of those pictures that are turned."""
    multi_scale: float = 0.0
    """Sizes of the steps are drawn from ``size`` times 1 - this to 1 + this."""
    seed: int = 0

    def images_per_part(self, processes: int) -> int:
        """Images that a process takes at once.

        Raises:
            TrainError: the batch cannot be shared out evenly.
        """
        if self.batch_size % (processes * self.accumulate):
            raise TrainError(
                f"--batch-size {self.batch_size} (of all processes together) cannot be shared out evenly over "
                f"{processes} processes with --accumulate {self.accumulate}: use a multiple of "
                f"{processes * self.accumulate}"
            )
        return self.batch_size // (processes * self.accumulate)

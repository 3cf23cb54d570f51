"""The options of a run that shape its result."""

from dataclasses import dataclass

from train.errors import TrainError


@dataclass(frozen=True, slots=True)
class FitOptions:
    """Options of ``train fit``; they are stored in every checkpoint, and a resumed run keeps those it began with.

    None of them depends on the machine: the same options give the same steps on one process or on many.
    """

    arch: str
    weights: str
    size: int
    """Side of the square input in pixels."""
    epochs: int
    batch_size: int
    """Images of one optimizer step, over all processes."""
    accumulate: int
    """Parts in which each process works through its share of a batch."""
    optimizer: str
    lr: float
    momentum: float
    """Of SGD; beta 1 of AdamW."""
    weight_decay: float
    schedule: str
    step_epochs: int
    gamma: float
    warmup_steps: int
    clip_norm: float
    ema: float
    amp: bool
    box_loss_weight: float
    """Factor of the two box regression losses beside the two classification losses."""
    trainable_layers: int | None
    """Stages of the body that are trained, counted from its end; None leaves the choice to the architecture."""
    patience: int
    """Epochs without a better mAP50-95 after which the run ends early; 0 never."""
    mosaic: float
    """How often an example is made of four pictures."""
    multi_scale: float
    """Sizes of the steps are drawn from ``size`` times 1 - this to 1 + this."""
    seed: int

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

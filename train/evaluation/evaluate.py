"""One pass over labelled images: detections and metrics."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torchvision.models.detection import FasterRCNN
from torchvision.ops import box_iou

from train.data.dataset import LabelledImage
from train.data.examples import letterboxed_example, to_tensors
from train.distributed import World
from train.evaluation.matching import Boxes
from train.evaluation.metrics import Metrics, evaluate_boxes
from train.models.finite import finite_outputs

EVALUATION_BATCH = 8


@dataclass(frozen=True, slots=True)
class Detected:
    """What a model detects in one labelled image; boxes in pixels of the network's input."""

    labelled: Boxes
    predicted: Boxes
    proposal_ious: np.ndarray
    """(N,) float32: for each labelled box its best IoU with any proposal of the RPN."""


def evaluate(
    model: FasterRCNN,
    images: list[LabelledImage],
    *,
    size: int,
    class_names: tuple[str, ...],
    device: torch.device,
    threshold: float | None = None,
    world: World | None = None,
) -> Metrics:
    """Score a model on labelled images, letterboxed as in the app; the processes of ``world`` share the work."""
    world = world or World()
    found = world.gather(list(detect(model, world.shard(images), size=size, device=device)))
    return evaluate_boxes(
        [f.labelled for f in found],
        [f.predicted for f in found],
        class_names,
        threshold,
        [f.proposal_ious for f in found],
    )


def detect(model: FasterRCNN, images: list[LabelledImage], *, size: int, device: torch.device) -> Iterator[Detected]:
    """Run a model on images, letterboxed to ``size``, in their order.

    Raises:
        TrainError: an image cannot be read.
        DivergedModelError: the model's training diverged.
    """
    model.eval()
    for start in range(0, len(images), EVALUATION_BATCH):
        batch = [to_tensors(letterboxed_example(i, size)) for i in images[start : start + EVALUATION_BATCH]]
        proposals: list[Tensor] = []
        # In evaluation the RPN returns the proposals of each image, and no losses.
        hook = model.rpn.register_forward_hook(lambda _, __, output, into=proposals: into.extend(output[0]))
        with hook, finite_outputs(model), torch.inference_mode():
            outputs = model([image.to(device) for image, _ in batch])
        for (_, target), output, proposed in zip(batch, outputs, proposals, strict=True):
            labels = target["labels"].numpy()
            found = {name: value.cpu().numpy() for name, value in output.items()}
            yield Detected(
                Boxes(target["boxes"].numpy(), labels, np.ones(len(labels), np.float32)),
                Boxes(found["boxes"], found["labels"], found["scores"]),
                best_ious(target["boxes"], proposed.cpu()).numpy(),
            )


def best_ious(boxes: Tensor, proposals: Tensor) -> Tensor:
    """Best IoU of each of N boxes (N,4) with any of P proposals (P,4), all xyxy: (N,), 0 where P is 0."""
    ious: Tensor = box_iou(boxes, proposals)
    return ious.amax(dim=1) if len(proposals) else ious.new_zeros(len(boxes))

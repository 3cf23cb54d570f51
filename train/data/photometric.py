"""Photometric augmentation: changes of colour and quality that cameras, light and video codecs make."""

import math
from collections.abc import Callable

import cv2
import torch
from torch import Tensor
from torchvision.transforms import v2

GAMMA = (0.5, 2.5)
JPEG_QUALITY = (15, 80)


def photometric_transform() -> Callable[[Tensor], Tensor]:
    """Random changes of colour and quality, drawn from torch's random state; uint8 (3,H,W) RGB in and out."""
    transform: Callable[[Tensor], Tensor] = v2.Compose(
        [
            v2.RandomApply([v2.Lambda(relight)], p=0.2),
            v2.RandomApply([v2.ColorJitter(brightness=(0.3, 1.7), contrast=(0.5, 1.5), saturation=(0.3, 1.6))], p=0.7),
            v2.RandomApply([v2.ColorJitter(hue=0.05)], p=0.1),
            v2.RandomGrayscale(p=0.1),
            v2.RandomApply([v2.GaussianBlur(kernel_size=7, sigma=(0.3, 2.0))], p=0.15),
            v2.RandomApply([v2.Lambda(recompress)], p=0.2),
            v2.RandomApply([v2.GaussianNoise(sigma=0.05)], p=0.12),
        ]
    )
    return transform


def relight(image: Tensor) -> Tensor:
    """A dark stage or a backlit face: a random gamma from 0.5 to 2.5; uint8 (3,H,W) in and out."""
    low, high = (math.log(gamma) for gamma in GAMMA)
    gamma = float(torch.empty(()).uniform_(low, high).exp())
    table = (torch.linspace(0, 1, 256) ** gamma * 255).round().to(torch.uint8)
    return table[image.int()]


def recompress(image: Tensor) -> Tensor:
    """Through JPEG and back at a random quality from 15 to 80; uint8 (3,H,W) in and out."""
    quality = int(torch.randint(JPEG_QUALITY[0], JPEG_QUALITY[1] + 1, ()))
    _, coded = cv2.imencode(".jpg", image.permute(1, 2, 0).numpy(), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return torch.from_numpy(cv2.imdecode(coded, cv2.IMREAD_COLOR)).permute(2, 0, 1)

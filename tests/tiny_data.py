"""Images for tests: a small data set in YOLO format, and noise."""

from pathlib import Path

import cv2
import numpy as np
import torch

CLASS_NAMES = ("red box", "blue disc")
RED, BLUE = (220, 30, 30), (30, 30, 220)


def make_data_set(
    root: Path, *, train: int = 8, val: int = 4, side: int = 64, names: tuple[str, ...] = CLASS_NAMES
) -> Path:
    """Write a data set below ``root`` and return its data.yaml.

    An image has a red rectangle and a blue disc on grey noise; every fourth has no objects.
    """
    rng = np.random.default_rng(0)
    for split, count in (("train", train), ("val", val)):
        for folder in ("images", "labels"):
            (root / folder / split).mkdir(parents=True)
        for i in range(count):
            image, lines = _negative(side, rng) if i % 4 == 3 else _positive(side, rng)
            write_image(root / "images" / split / f"{i:03}.png", image)
            (root / "labels" / split / f"{i:03}.txt").write_text("".join(f"{line}\n" for line in lines))
    data = root / "data.yaml"
    data.write_text(f"names: {list(names)}\ntrain: images/train\nval: images/val\n")
    return data


def write_image(path: Path, rgb: np.ndarray) -> Path:
    """Write a uint8 (H,W,3) RGB image; the suffix decides the format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), rgb[..., ::-1])
    return path


def noise_image(height: int, width: int, seed: int) -> np.ndarray:
    """uint8 (H,W,3): smooth noise, rich in shapes like a photo."""
    coarse = np.random.default_rng(seed).random((height // 8, width // 8, 3), np.float32)
    return (255 * cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).clip(0, 1)).astype(np.uint8)


def as_input(rgb: np.ndarray) -> torch.Tensor:
    """torchvision's input, float32 (3,H,W) in 0..1, of an image uint8 (H,W,3)."""
    return torch.from_numpy(rgb).permute(2, 0, 1).float() / 255


def _negative(side: int, rng: np.random.Generator) -> tuple[np.ndarray, list[str]]:
    return rng.integers(90, 160, (side, side, 3), np.uint8), []


def _positive(side: int, rng: np.random.Generator) -> tuple[np.ndarray, list[str]]:
    """A red rectangle in the left half and a blue ellipse in the right."""
    image, _ = _negative(side, rng)
    lines = []
    for class_id, left in ((0, 0), (1, side // 2)):
        w, h = (int(v) for v in rng.integers(side // 4, side // 2 - 2, size=2))
        x, y = left + int(rng.integers(side // 2 - w)), int(rng.integers(side - h))
        if class_id == 0:
            image[y : y + h, x : x + w] = RED
        else:
            cv2.ellipse(image, ((x + w / 2 - 0.5, y + h / 2 - 0.5), (w, h), 0), BLUE, -1)
        lines.append(f"{class_id} {(x + w / 2) / side} {(y + h / 2) / side} {w / side} {h / side}")
    return image, lines

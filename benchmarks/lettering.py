"""Images of lettering, in which no face is: letters and digits have been taken for faces.

Used by ``reach.py``; run by itself, it writes such images as a YOLO data set, to train with.
"""

import unicodedata
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated

import cv2
import matplotlib
import numpy as np
import typer
from composites import SIZE_WH, scene_of
from fontTools.ttLib import TTFont, TTLibError
from PIL import Image, ImageDraw, ImageFont

from train.data.data_yaml import load_data_config
from train.data.dataset import load_split
from train.data.images import read_image

FAMILIES = ("DejaVuSans*.ttf", "DejaVuSerif*.ttf", "STIXGeneral*.ttf")
"""Of the fonts that matplotlib brings along."""
ENGLISH = "eeeeeeeeeeeetttttttttaaaaaaaaooooooooiiiiiiinnnnnnnsssssshhhhhhrrrrrrddddllllccuummwwffggyyppbbvkxjqz"
"""Letters as often as they are in English text."""
DIGITS = "0123456789"
WEIGHTS = {ENGLISH: 0.5, ENGLISH.upper(): 0.2, DIGITS: 0.2}
"""How often a word is in lower case, in capitals or of digits, beside OTHER_SCRIPTS."""
OTHER_SCRIPTS = 0.2
"""Likewise for all other letters of a font."""
WORD, LINE, LINES, BLOCKS = (1, 10), (1, 8), (1, 12), (1, 4)
"""Letters of a word, words of a line, lines of a block and blocks of an image: least and most."""
HEIGHTS_PX = (14.0, 220.0)
LEADING = 1.25
GROUND_STEP = 40.0
"""Largest difference of brightness across a plain ground."""
TILT = 0.12
"""Shift of a corner, in widths and heights of the image: the letters are seen at an angle."""
BLUR_PX, NOISE_LEVELS = (0.5, 2.5), (2.0, 12.0)
JPEG_QUALITY = 92


def lettering(
    count: int, seed: int = 0, *, fonts: Sequence[Path] = (), photos: Sequence[Path] = (), max_zoom: float = 1.0
) -> Iterator[np.ndarray]:
    """Make images, the same for the same arguments.

    Args:
        count: number of images.
        seed: of the random draws.
        fonts: TrueType or OpenType files; by default those of matplotlib.
        photos: every second image has one of them as its ground, if there are any; else it is plain.
        max_zoom: cut out a part at random, whose sides are up to so many times shorter, as a close-up shows it.

    Yields:
        uint8 (H,W,3) RGB.
    """
    rng = np.random.default_rng(seed)
    chosen = [*(fonts or _matplotlib_fonts())]
    for number in range(count):
        on_photo = bool(photos) and number % 2 == 1
        ground = scene_of(read_image(photos[int(rng.integers(len(photos)))]), rng) if on_photo else _plain_ground(rng)
        image = Image.fromarray(ground)
        for _ in range(_between(rng, BLOCKS)):
            _write_block(image, chosen[rng.integers(len(chosen))], rng)
        seen = _as_seen(np.array(image), rng)
        yield _cut(seen, float(np.exp(rng.uniform(0, np.log(max_zoom)))), rng) if max_zoom > 1 else seen


def _matplotlib_fonts() -> list[Path]:
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    return sorted(path for family in FAMILIES for path in folder.glob(family) if "Display" not in path.name)


def _plain_ground(rng: np.random.Generator) -> np.ndarray:
    width, height = SIZE_WH
    colour = rng.integers(256, size=3) if rng.random() < 0.5 else np.full(3, rng.choice([0, 30, 240, 255]))
    slope = np.linspace(-1, 1, width)[None, :, None] * rng.uniform(0, GROUND_STEP)
    ground: np.ndarray = np.clip(np.tile(colour + slope, (height, 1, 1)), 0, 255).astype(np.uint8)
    return ground


def _write_block(image: Image.Image, font_file: Path, rng: np.random.Generator) -> None:
    """Write some lines at a place, at a size and in a colour of their own."""
    height = float(np.exp(rng.uniform(*np.log(HEIGHTS_PX))))
    font = ImageFont.truetype(str(font_file), round(height))
    alphabets, shares = _alphabets(font_file)
    x, y = int(rng.integers(-round(height), image.width * 2 // 3)), int(rng.integers(image.height - round(height) // 2))
    colour = _colour_against(np.asarray(image)[y, max(0, x)], rng)
    draw = ImageDraw.Draw(image)
    for row in range(_between(rng, LINES)):
        words = [_word(alphabets[rng.choice(len(alphabets), p=shares)], rng) for _ in range(_between(rng, LINE))]
        draw.text((x, y + row * height * LEADING), " ".join(words), fill=colour, font=font)


def _colour_against(ground: np.ndarray, rng: np.random.Generator) -> tuple[int, ...]:
    if rng.random() < 0.5:
        return tuple(rng.integers(256, size=3).tolist())
    return (int(rng.integers(40)),) * 3 if ground.mean() > 110 else (int(rng.integers(200, 256)),) * 3


def _word(letters: str, rng: np.random.Generator) -> str:
    return "".join(letters[i] for i in rng.integers(len(letters), size=_between(rng, WORD)))


@cache
def _alphabets(font_file: Path) -> tuple[list[str], np.ndarray]:
    """What a font can write, and how often each is to be used: shares (A,) float64, their sum is 1."""
    with TTFont(font_file, lazy=True, fontNumber=0) as font:
        known = {chr(code) for code in font.getBestCmap() or ()}
    others = "".join(sorted(c for c in known if not c.isascii() and unicodedata.category(c).startswith("L")))
    weights = {
        alphabet: weight
        for alphabet, weight in [*WEIGHTS.items(), (others, OTHER_SCRIPTS)]
        if alphabet and known.issuperset(alphabet)
    }
    shares = np.array([*weights.values()])
    return [*weights], shares / shares.sum()


def fonts_in(folder: Path) -> list[Path]:
    """All TrueType and OpenType files in a folder, and in those in it, that have letters and come in any size."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in {".ttf", ".otf"} and _can_write(path))


def _can_write(font_file: Path) -> bool:
    try:
        ImageFont.truetype(str(font_file), round(HEIGHTS_PX[0]))
        return bool(_alphabets(font_file)[0])
    except (OSError, TTLibError):
        return False


def _as_seen(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """At an angle, out of focus and noisy, each now and then."""
    width, height = SIZE_WH
    if rng.random() < 0.4:
        corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
        moved = corners + (rng.uniform(-TILT, TILT, (4, 2)) * SIZE_WH).astype(np.float32)
        matrix = cv2.getPerspectiveTransform(corners, moved)
        image = cv2.warpPerspective(image, matrix, SIZE_WH, borderMode=cv2.BORDER_REPLICATE)
    if rng.random() < 0.5:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(*BLUR_PX))
    if rng.random() < 0.3:
        image = np.clip(image + rng.normal(0, rng.uniform(*NOISE_LEVELS), image.shape), 0, 255).astype(np.uint8)
    return image


def _cut(image: np.ndarray, zoom: float, rng: np.random.Generator) -> np.ndarray:
    width, height = (round(side / zoom) for side in SIZE_WH)
    x, y = (int(rng.integers(spare + 1)) for spare in (SIZE_WH[0] - width, SIZE_WH[1] - height))
    return image[y : y + height, x : x + width]


def _between(rng: np.random.Generator, range_: tuple[int, int]) -> int:
    return int(rng.integers(range_[0], range_[1] + 1))


def main(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="New folder for images and empty label files.")],
    count: Annotated[int, typer.Option(min=1, help="Images to make.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Of the random draws.")] = 0,
    fonts: Annotated[
        Path | None, typer.Option(help="Folder with .ttf and .otf files; by default matplotlib's.")
    ] = None,
    max_zoom: Annotated[float, typer.Option(min=1, help="Cut out parts with sides up to so many times shorter.")] = 1.0,
    photos: Annotated[Path | None, typer.Option(help="DATA.yaml; its photos without objects are grounds.")] = None,
) -> None:
    """Write images of lettering as a YOLO data set without objects."""
    files = fonts_in(fonts) if fonts else []
    if fonts and not files:
        raise typer.BadParameter(f"no font with letters in {fonts}", param_hint="--fonts")
    grounds = (
        [one.path for one in load_split(load_data_config(photos), "train") if not len(one.classes)] if photos else []
    )
    for folder in ("images", "labels"):
        (out / folder).mkdir(parents=True)
    for number, image in enumerate(lettering(count, seed, fonts=files, photos=grounds, max_zoom=max_zoom)):
        name = f"lettering_{seed}_{number:05d}"
        cv2.imwrite(str(out / "images" / f"{name}.jpg"), image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        (out / "labels" / f"{name}.txt").touch()


if __name__ == "__main__":
    typer.run(main)

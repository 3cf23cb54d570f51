"""What docs/own-photos.md shows, run as it stands there, in its order; only the training is made short."""

import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from commands import commands_of, help_of, run

from realtime.inference.onnx_file import read_metadata_props
from realtime.metadata import ModelMetadata

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "own-photos.md"
OUTPUTS = (
    "draft/review.html", "draft/annotations.xml", "corrected/data.yaml", "mine/errors/index.html", "mine/mine.pt",
    "found", "out.mp4",
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Photos of one face at several sizes, some without, and a video."""
    folder = tmp_path_factory.mktemp("own")
    photos = folder / "photos"
    photos.mkdir()
    image = cv2.imread(str(ROOT / "export/images/astronaut_close.jpg"))
    height, width = image.shape[:2]
    for i in range(8):
        canvas = np.full((height + 20 * i, width + 40 * i, 3), (30 * i, 90, 200 - 20 * i), np.uint8)
        canvas[10 * i : 10 * i + height, 30 * i : 30 * i + width] = image
        cv2.imwrite(str(photos / f"{'abcdefgh'[i]}.jpg"), canvas)
    for name in ("chelsea", "rocket"):
        shutil.copy(ROOT / f"export/images/{name}.jpg", photos / f"{name}.jpg")
    shutil.copy(ROOT / "samples" / "astronaut.mp4", folder / "in.mp4")
    return folder


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_newcomer_gets_from_photos_to_the_app(folder):
    commands = commands_of(PAGE)
    assert len(commands) >= 6
    for command in commands:
        done = run(command, folder)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    for name in OUTPUTS:
        assert (folder / name).exists(), name
    metadata = ModelMetadata.from_props(read_metadata_props(folder / "mine/mine.onnx"), "mine.onnx")
    assert metadata.class_names == ("face", "eye", "eyebrow", "nose", "mouth")
    card = (folder / "mine/mine.md").read_text()
    assert "realtime cam --model mine.onnx" in card
    assert re.search(r"\| face \| \d+ \| \d\.\d{3} \| \d\.\d{3} \|", card)


def test_every_option_that_the_page_names_exists():
    text = PAGE.read_text(encoding="utf-8")
    known = "".join(
        help_of(f"realtime {c}") for c in ("label", "train quick", "train fit", "cam", "train prepare cvat")
    )
    named = set(re.findall(r"--[a-z][a-z-]+", text))
    assert {"--review", "--time", "--arch", "--resume", "--model"} <= named
    assert not {option for option in named if option not in known}


def test_what_the_page_links_to_is_there():
    for link in re.findall(r"\]\((?!http)([^)#]*)", PAGE.read_text(encoding="utf-8")):
        assert (PAGE.parent / link).exists(), link

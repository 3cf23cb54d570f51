"""What docs/using.md shows, run as it stands there, in its order."""

import json
import re
import shutil
from pathlib import Path

import cv2
import pytest
from commands import commands_of, help_of, run
from fakes import make_video

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "using.md"
OUTPUTS = (
    "out.mp4", "part.mp4", "drawn/a.mp4", "drawn/b.mp4", "found/a.jsonl", "tables/b.csv", "small.mp4", "out.webm",
    "out.csv", "out.jsonl", "crops", "hidden.mp4", "eyes.mp4", "pictures/photo.jpg", "faces.jsonl", "raw.jsonl",
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the files that the page's commands name."""
    folder = tmp_path_factory.mktemp("using")
    for name in ("clips", "pictures"):
        (folder / name).mkdir()
    shutil.copy(ROOT / "samples" / "astronaut.mp4", folder / "in.mp4")
    for name in ("a", "b"):
        make_video(folder / "clips" / f"{name}.mp4", frames=6)
    capture = cv2.VideoCapture(str(folder / "in.mp4"))
    cv2.imwrite(str(folder / "photo.jpg"), capture.read()[1])
    capture.release()
    return folder


@pytest.mark.slow
def test_every_command_of_the_page_works_in_its_order(folder):
    commands = commands_of(PAGE)
    assert len(commands) >= 14
    for command in commands:
        done = run(command, folder)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    for name in OUTPUTS:
        assert (folder / name).exists(), name
    [face] = json.loads((folder / "faces.jsonl").read_text().splitlines()[7])["faces"]
    assert face["id"] == 1
    assert {"left_eye", "right_eye", "nose", "mouth"} <= set(face["features"])


def test_every_option_that_the_page_names_exists():
    text = re.sub(r"```.*?```", "", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    commands = ("", " cam", " video", " image", " doctor")
    known = "".join(help_of(f"realtime{command}") for command in commands)
    named = set(re.findall(r"--[a-z][a-z-]+", text))
    assert len(named) > 20
    if others := {option for option in named if option not in known}:
        pytest.importorskip("torch")  # the options of export
        exports = help_of("realtime export onnx")
        assert not {option for option in others if option not in exports}

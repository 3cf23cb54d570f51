"""What README shows, run as it stands there; only what would take long is made small."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
from commands import commands_of, help_of, run
from fakes import make_video, read_video
from tiny_data import make_data_set

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = commands_of(ROOT / "README.md")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the files that README's commands name."""
    folder = tmp_path_factory.mktemp("readme")
    make_data_set(folder)
    make_video(folder / "in.mp4", frames=6, sound="aac")
    cv2.imwrite(str(folder / "photo.jpg"), np.zeros((48, 64, 3), np.uint8))
    return folder


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("make ")])
def test_make_knows_the_command(command):
    assert shutil.which("make")
    done = subprocess.run([*command.split(), "--dry-run"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_command_of_readme_works_in_its_order(folder):
    commands = [c for c in COMMANDS if not c.startswith(("make ", "realtime cam"))]
    assert len(commands) >= 7
    for command in commands:
        done = run(command, folder)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    assert len(read_video(folder / "out.mp4")) == 6
    assert (folder / "out.jsonl").exists()
    assert (folder / "mine.onnx").exists()


def test_the_camera_command_gets_as_far_as_the_camera(folder):
    """Where there is a camera it needs a display next; both are named in one line."""
    (command,) = [c for c in COMMANDS if c.startswith("realtime cam")]
    done = run(command, folder)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert re.match("error: cannot open (camera 0: not found or in use|a window: there is no display)", last)


def test_the_example_of_json_lines_has_the_real_keys(folder):
    done = run("realtime video in.mp4 --jsonl keys.jsonl", folder)
    assert done.returncode == 0, done.stderr
    example = re.search(r"```json\n(.*?)\n```", README, re.DOTALL)[1]
    shown = json.loads(example)
    line = json.loads((folder / "keys.jsonl").read_text().splitlines()[0])
    assert list(shown) == list(line)
    assert set(shown["detections"][0]) == {"label", "score", "box"}
    assert set(shown["faces"][0]) == {"id", "box", "score", "features"}


def test_every_option_that_readme_names_exists():
    helps = ""
    for command in ("realtime cam", "realtime video", "realtime image", "realtime bench", "realtime train fit",
                    "realtime train evaluate", "realtime train check", "realtime export onnx"):  # fmt: skip
        helps += help_of(command)
    for option in set(re.findall(r"--[a-z-]{3,}", README)):
        assert option in helps, option

"""What docs/batches.md shows, run as it stands there, in its order."""

import re
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest
from commands import commands_of, help_of, run
from fakes import make_video

PAGE = Path(__file__).parents[2] / "docs" / "batches.md"


@pytest.mark.slow
@pytest.mark.skipif(find_spec("ray") is None, reason="the extra cluster is not installed")
def test_every_command_of_the_page_works_in_its_order(tmp_path):
    for name in ("clips/day1", "photos/day1"):
        (tmp_path / name).mkdir(parents=True)
    make_video(tmp_path / "clips" / "day1" / "a.mp4", frames=6)
    cv2.imwrite(str(tmp_path / "photos" / "day1" / "b.jpg"), np.full((48, 64, 3), 90, np.uint8))
    for command in commands_of(PAGE):
        done = run(command, tmp_path)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    for name in ("drawn/day1/a.mp4", "found/day1/a.jsonl", "pictures/day1/b.jpg", "faces.jsonl"):
        assert (tmp_path / name).exists(), name
    assert (tmp_path / "drawn" / ".realtime" / "records" / "day1" / "a.mp4.json").exists()


def test_every_option_that_the_page_names_exists():
    text = re.sub(r"```.*?```", "", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    known = "".join(help_of(f"realtime {command}") for command in ("video", "image"))
    named = set(re.findall(r"--[a-z][a-z-]+", text))
    assert len(named) > 5
    assert not {option for option in named if option not in known}

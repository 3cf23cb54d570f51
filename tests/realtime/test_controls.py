import re
from pathlib import Path

import pytest

from realtime.controls import BINDINGS, CLASS_KEYS, Controls

ROOT = Path(__file__).parents[2]


def pressed(*keys):
    controls = Controls(threshold=0.5)
    assert all(controls.press(key) for key in keys)
    return controls


@pytest.mark.parametrize("key", ["q", "esc"])
def test_quit(key):
    assert pressed(key).ended


@pytest.mark.parametrize(
    ("key", "name"), [("space", "paused"), ("r", "recording"), ("m", "mirror"), ("h", "help"), ("?", "help")]
)
def test_what_is_off_is_turned_on_and_off_again(key, name):
    assert getattr(pressed(key), name)
    assert not getattr(pressed(key, key), name)


@pytest.mark.parametrize(("key", "name"), [("l", "labels"), ("o", "overlay")])
def test_what_is_on_is_turned_off_and_on_again(key, name):
    assert not getattr(pressed(key), name)
    assert getattr(pressed(key, key), name)


@pytest.mark.parametrize("key", [".", "n"])
def test_a_step_pauses_and_lets_one_frame_through(key):
    controls = pressed(key)
    assert controls.paused
    assert not controls.is_held
    controls.step_wanted = False  # as the run does when the frame came
    assert controls.is_held


def test_a_snapshot_is_wanted():
    assert pressed("s").snapshot_wanted


@pytest.mark.parametrize(("key", "expected"), [("+", 0.55), ("=", 0.55), ("-", 0.45), ("_", 0.45)])
def test_the_threshold_moves_by_steps(key, expected):
    assert pressed(key).threshold == expected


@pytest.mark.parametrize(("key", "expected"), [("up", 1.0), ("down", 0.0)])
def test_the_threshold_stays_between_0_and_1(key, expected):
    assert pressed(*[key] * 30).threshold == expected


def test_classes_are_hidden_and_shown_again_by_their_number():
    assert pressed("1", "3", "9").hidden == {0, 2, 8}
    assert pressed("1", "3", "1").hidden == {2}


def test_other_keys_do_nothing():
    controls = Controls(threshold=0.5)
    assert not any(controls.press(key) for key in ("x", "0", "", "é"))
    assert controls == Controls(threshold=0.5)


def test_no_key_has_two_meanings():
    keys = [key for binding in BINDINGS for key in binding.keys] + list(CLASS_KEYS)
    assert len(set(keys)) == len(keys)


def test_the_docs_name_every_key():
    pages = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs").glob("using*.md"))
    first_cells = "".join(re.findall(r"^\|([^|]+)\|", pages, re.MULTILINE))
    for binding in BINDINGS:
        for key in re.split(", | or ", binding.shown):
            assert f"`{key}`" in first_cells

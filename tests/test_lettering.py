"""Images of lettering, for the benchmark of reach and to train with."""

import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from composites import SIZE_WH
from lettering import fonts_in, lettering
from tiny_data import make_data_set

from train.data.data_yaml import load_data_config
from train.data.dataset import load_split

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "lettering.py"


def test_the_images_are_the_same_each_time_and_something_is_written_in_them():
    made, again = ([*lettering(6, seed=3)] for _ in range(2))
    assert len(made) == 6
    for image, same in zip(made, again, strict=True):
        np.testing.assert_array_equal(image, same)
        assert image.shape == (SIZE_WH[1], SIZE_WH[0], 3)
    steps = [np.abs(np.diff(image.astype(int), axis=1)).max() for image in made]
    assert sorted(steps)[1] > 20, steps  # now and then one has letters of the colour of its ground
    assert not np.array_equal(made[0], next(lettering(1, seed=4)))


def test_with_a_zoom_parts_of_the_images_are_cut_out():
    sizes = [image.shape[1::-1] for image in lettering(8, max_zoom=4.0)]
    assert len(set(sizes)) == 8
    for width, height in sizes:
        assert SIZE_WH[0] / 4 - 1 <= width <= SIZE_WH[0]
        assert width / height == pytest.approx(SIZE_WH[0] / SIZE_WH[1], rel=0.01)


def test_fonts_without_letters_are_left_out_and_the_others_write_what_they_have(tmp_path):
    fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    for name in ("STIXSizOneSymReg.ttf", "STIXSizOneSymBol.ttf"):  # two letters of no alphabet; none
        (tmp_path / name).write_bytes((fonts / name).read_bytes())
    (tmp_path / "broken.otf").write_bytes(b"no font")
    chosen = fonts_in(tmp_path)
    assert [path.name for path in chosen] == ["STIXSizOneSymReg.ttf"]
    assert len([*lettering(2, fonts=chosen)]) == 2


def test_a_folder_without_fonts_is_refused(tmp_path):
    done = subprocess.run(
        [sys.executable, SCRIPT, tmp_path / "out", "--fonts", tmp_path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "no font with letters" in done.stderr
    assert not (tmp_path / "out").exists()


def test_the_script_writes_a_data_set_without_objects_that_can_be_trained_with(tmp_path):
    photos = make_data_set(tmp_path / "photos", names=("face", "eye"), val=1)
    out = tmp_path / "out"
    fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    arguments = [out, "--count", "3", "--fonts", fonts, "--photos", photos]
    done = subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (out / "data.yaml").write_text("train: images\nval: images\nnames: [face]\n")
    images = load_split(load_data_config(out / "data.yaml"), "train")
    assert len(images) == 3
    assert not any(len(image.classes) for image in images)

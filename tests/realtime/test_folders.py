"""Folders that are searched with all that is below them, and where the results go."""

import json
import os
import subprocess
import sys

import cv2
import numpy as np
import pytest
from fakes import make_video, stub_model

from realtime.batch.images import find_images
from realtime.batch.videos import find_videos
from realtime.errors import SourceError

RUN = [sys.executable, "-c", "from realtime.cli import run_cli; run_cli()"]


def realtime(*arguments, cwd):
    return subprocess.run(
        [*RUN, *map(str, arguments), "--model", "m.onnx", "--provider", "cpu"],
        cwd=cwd, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def files_below(folder):
    """But for the records, which lie in a hidden folder."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(str(path) for path in found if path.parts[0] != ".realtime")


@pytest.fixture
def folder(tmp_path):
    """Images and videos of the same names in a tree, with other files and hidden ones among them."""
    stub_model(tmp_path / "m.onnx")
    for name in ("in", "in/sub", "in/sub/deep", "in/.cache"):
        (tmp_path / name).mkdir()
        cv2.imwrite(str(tmp_path / name / "a.png"), np.zeros((48, 64, 3), np.uint8))
        make_video(tmp_path / name / "v.mkv", frames=2)
        (tmp_path / name / "notes.TXT").write_text("")
    (tmp_path / "in" / "Makefile").write_text("")
    (tmp_path / "in" / ".hidden.png").write_text("")
    return tmp_path


def test_images_of_sub_folders_are_drawn_into_a_tree_of_the_same_shape(folder):
    done = realtime("image", "in", "--out", "drawn", "--jsonl", "found.jsonl", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert files_below(folder / "drawn") == ["a.png", "sub/a.png", "sub/deep/a.png"]
    lines = [json.loads(line) for line in (folder / "found.jsonl").read_text().splitlines()]
    assert [line["image"] for line in lines] == ["in/a.png", "in/sub/a.png", "in/sub/deep/a.png"]
    assert done.stderr.splitlines() == [
        "skipped 7 non-image files: 3 .mkv, 3 .txt and 1 without a suffix",
        "3 images, 3 faces; wrote drawn and found.jsonl",
    ]


def test_results_in_the_searched_folder_are_no_inputs(folder):
    for _ in range(2):
        done = realtime("image", "in", "--out", "in/drawn", cwd=folder)
        assert done.returncode == 0, done.stderr
        assert done.stderr.splitlines()[-1] == "3 images, 3 faces; wrote in/drawn"
        assert files_below(folder / "in" / "drawn") == ["a.png", "sub/a.png", "sub/deep/a.png"]


def test_videos_of_sub_folders_are_written_into_trees(folder):
    for _ in range(2):  # the second time, too, what was drawn is no input
        done = realtime("video", "in", "--out", "in/drawn", "--jsonl", "found", "--csv", "in/tables", cwd=folder)
        assert done.returncode == 0, done.stderr
        lines = done.stderr.splitlines()
        assert lines[0].startswith("skipped 7 non-video files: 3 .png, 3 .txt")
        assert lines[1].startswith("[1/3] in/sub/deep/v.mkv: 2 frames, 1 face, ")
        assert lines[1].endswith("; wrote in/drawn/sub/deep/v.mkv, found/sub/deep/v.jsonl and in/tables/sub/deep/v.csv")
        assert lines[-1] == "3 videos"
    assert files_below(folder / "in" / "drawn") == ["sub/deep/v.mkv", "sub/v.mkv", "v.mkv"]
    assert files_below(folder / "found") == ["sub/deep/v.jsonl", "sub/v.jsonl", "v.jsonl"]
    assert files_below(folder / "in" / "tables") == ["sub/deep/v.csv", "sub/v.csv", "v.csv"]


def test_crops_of_videos_in_sub_folders_do_not_meet(folder):
    assert realtime("video", "in", "--crops", "crops", cwd=folder).returncode == 0
    assert len(files_below(folder / "crops")) == 3 * 2 * 2
    assert len(list((folder / "crops" / "sub" / "deep" / "v").iterdir())) == 4


def test_the_crops_of_one_video_do_not_lie_among_those_of_another(folder):
    (folder / "in" / "sub" / "v.mkv").rename(folder / "in" / "sub.mkv")
    done = realtime("video", "in", "--crops", "crops", cwd=folder)
    assert done.returncode == 1
    assert "crops/sub/deep/v: it would lie in" in done.stderr
    assert not (folder / "crops").exists()


def test_a_file_that_is_given_beside_its_folder_is_taken_once(folder):
    assert [str(path) for path in find_images([folder / "in" / "sub" / "a.png", folder / "in"]).files] == [
        str(folder / "in" / name) for name in ("sub/a.png", "a.png", "sub/deep/a.png")
    ]
    assert len(find_videos([str(folder / "in"), str(folder / "in" / "sub")]).places) == 3


def test_many_kinds_of_skipped_files_are_summed_up(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((4, 4, 3), np.uint8))
    for i in range(7):
        (tmp_path / f"x.k{i}").write_text("")
    [line] = find_images([tmp_path]).notices
    assert line.startswith("skipped 7 non-image files: 1 .k")
    assert line.endswith(" and 2 of other kinds")


def test_linked_folders_are_searched_once(folder):
    for name in ("disk/one", "in/drawn/old"):
        (folder / name).mkdir(parents=True)
        cv2.imwrite(str(folder / name / "b.png"), np.zeros((48, 64, 3), np.uint8))
    links = {
        "disk": "../disk",
        "disk-one": "../disk/one",
        "loop": ".",
        "sub/up": "..",
        "self": "self",
        "old": "drawn/old",
    }
    for name, target in links.items():
        (folder / "in" / name).symlink_to(target)
    found = find_images([folder / "in"], [folder / "in" / "drawn"])
    assert [str(place) for place in found.places.values()] == ["a.png", "disk/one/b.png", "sub/a.png", "sub/deep/a.png"]
    done = realtime("image", "in", "--out", "in/drawn", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert (folder / "in" / "drawn" / "disk" / "one" / "b.png").exists()


def test_a_pipe_in_a_folder_is_not_waited_for(folder):
    for name in ("pipe.png", "pipe.mkv"):
        os.mkfifo(folder / "in" / name)
    assert len(find_images([folder / "in"]).files) == len(find_videos([str(folder / "in")]).files) == 3


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_a_folder_that_cannot_be_read_is_an_error(folder):
    (folder / "in" / "sub").chmod(0)
    try:
        with pytest.raises(SourceError, match=r"cannot read the folder .*sub: Permission denied"):
            find_images([folder / "in"])
    finally:
        (folder / "in" / "sub").chmod(0o755)

"""The benchmark of how small a face may be."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from composites import SIZE_WH, composites
from detectors import clip_images
from reach import Found, Tally, kinds_in, match, measure, measure_peer, ours
from tiny_data import make_data_set

from train.data.data_yaml import load_data_config
from train.data.dataset import load_split

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "reach.py"
NAMES = ("face", "eye", "eyebrow", "nose", "mouth")


def faces(*heights, x=100):
    """Faces beside each other, as wide as they are high."""
    return np.array([[x + 300 * i, 50, x + 300 * i + h, 50 + h] for i, h in enumerate(heights)], np.float32)


def test_recall_is_counted_by_height_and_each_labelled_face_found_once():
    labelled = faces(12, 40, 100)
    found = np.concatenate([labelled[1:], labelled[2:] + 1, faces(30, x=5000)])
    tally = Tally()
    tally.add(Found(found, [{"eye", "nose"}, set(), set(), set()]), labelled, [set(), {"eye"}, {"nose"}])
    report = tally.report()
    assert report["recall_by_height"] == {
        "10-20": 0.0, "20-32": None, "32-48": 1.0, "48-80": None, "80-160": 1.0, "160-": None,
    }  # fmt: skip
    assert (report["recall"], report["precision"]) == (0.6667, 0.5)
    assert report["found_faces_with_all_labelled_parts"] == 0.5
    assert report["with_all_labelled_parts_by_height"] == {
        "10-20": None, "20-32": None, "32-48": 1.0, "48-80": None, "80-160": 0.0, "160-": None,
    }  # fmt: skip
    assert report["false_faces_per_empty_image"] is None


def test_faces_too_small_to_ask_for_are_neither_missed_nor_false():
    tally = Tally()
    tally.add(Found(faces(8), [set()]), faces(8), [set()])
    assert (tally.report()["faces"], tally.report()["precision"]) == (0, None)


def test_what_is_found_in_an_empty_image_is_false():
    tally = Tally()
    for boxes in (faces(50), faces()):
        tally.add(Found(boxes.reshape(-1, 4), [set()] * len(boxes)), np.zeros((0, 4), np.float32), [])
    assert tally.report()["false_faces_per_empty_image"] == 0.5


def test_a_match_needs_overlap_and_takes_the_best_that_is_free():
    labelled = faces(100, 100)
    assert match(np.concatenate([labelled[1:] + 5, labelled[1:], labelled[:1] + 60]), labelled) == [1, -1, -1]
    assert match(labelled[:1], np.zeros((0, 4), np.float32)) == [-1]


def test_labelled_parts_belong_to_the_face_that_holds_their_centre():
    boxes = np.array([[0, 0, 100, 100], [20, 20, 30, 30], [90, 50, 130, 60], [40, 70, 60, 80]], np.float32)
    assert kinds_in(boxes[0], boxes, np.array([0, 1, 3, 4]), NAMES) == {"eye", "mouth"}


def test_composites_are_the_same_each_time_and_their_boxes_lie_on_what_was_pasted(tmp_path):
    data = make_data_set(tmp_path, names=("face", "eye"), val=8)
    images = load_split(load_data_config(data), "val")
    made, again = ([*composites(images, 0, 5)] for _ in range(2))
    assert len(made) == 5
    for (image, boxes, classes), (same, *_) in zip(made, again, strict=True):
        np.testing.assert_array_equal(image, same)
        assert image.shape == (SIZE_WH[1], SIZE_WH[0], 3)
        assert (boxes[:, 2:] > boxes[:, :2]).all()
        assert (classes == 0).any()
        for x, y in ((boxes[:, :2] + boxes[:, 2:]) / 2)[classes == 0].astype(int):
            red, green, _ = image[y, x].tolist()
            assert red > 150 > green


def test_a_detector_is_given_bgr_and_timed():
    seen = []

    def find(image):
        seen.append(image[0, 0].tolist())
        return Found(np.zeros((0, 4), np.float32), [])

    rgb = np.full((20, 20, 3), (1, 2, 3), np.uint8)
    tally = measure(find, [(rgb, np.zeros((0, 4), np.float32), np.zeros(0, np.int64))], NAMES)
    assert seen == [[3, 2, 1]]
    assert len(tally.ms) == 1


def test_a_peer_in_a_process_of_its_own_is_measured_like_the_others():
    [image] = clip_images(1)
    face = ours("pico", "near")(image).boxes[:1]
    scenes = [(image[..., ::-1], boxes, np.zeros(len(boxes), int)) for boxes in (face, face + 500)]
    peer = measure_peer("ours:pico", Path(sys.executable), scenes, NAMES)
    assert (int(peer.matched.sum()), peer.false_faces, len(peer.ms)) == (1, 1, 2)


def test_the_script_runs_through(tmp_path):
    data = make_data_set(tmp_path, names=NAMES, val=4)
    outputs = ["--json", tmp_path / "r.json", "--plot", tmp_path / "r.png"]
    arguments = [data, "--model", "pico", "--composites", "2", "--lettering", "1", *outputs]
    done = subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "r.json").read_text())["results"]
    assert "recall_by_height" in results["val"]["pico near"]
    assert results["lettering"]["pico near"]["faces"] == 0
    assert results["lettering"]["pico near"]["false_faces_per_empty_image"] is not None
    assert (tmp_path / "r.png").exists()

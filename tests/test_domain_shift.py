"""benchmarks/domain_shift.py: what it changes, which photos judge, and what it makes of the scores."""

from pathlib import Path

import domain_shift
import numpy as np
import pytest
from domain_shift import Shift
from tiny_data import noise_image, write_image

from realtime.inference.detector import find_model
from train.data.data_yaml import load_data_config
from train.data.dataset import LabelledImage, load_split

NAMES = ("face", "eye", "eyebrow", "nose", "mouth")
FACE = np.array([[60, 20, 180, 160], [80, 60, 110, 75], [130, 60, 160, 75]], np.float32)
CLASSES = np.array([0, 1, 1])


@pytest.fixture
def photo():
    """A face with two eyes, and noise around it."""
    return noise_image(200, 240, seed=0), FACE, CLASSES


def labelled(name: str) -> LabelledImage:
    return LabelledImage(Path(name), np.zeros((0, 4), np.float32), np.zeros(0, np.int64))


def test_by_night_photos_are_dark_blurred_and_noisy_and_the_same_each_time(photo):
    image, boxes, classes = domain_shift.night(photo, np.random.default_rng(1))
    again, _, _ = domain_shift.night(photo, np.random.default_rng(1))

    assert np.array_equal(image, again)
    assert boxes is photo[1]
    assert classes is photo[2]
    assert image.shape == photo[0].shape
    assert image.mean() < 0.6 * photo[0].mean()
    flat = np.full((200, 240, 3), 128, np.uint8)
    assert domain_shift.night((flat, *photo[1:]), np.random.default_rng(1))[0].std() > 5


def test_glasses_are_drawn_around_the_eyes_and_labelled_there(photo):
    worn = [domain_shift.glasses(photo, np.random.default_rng(seed), NAMES) for seed in range(20)]

    with_glasses = [(image, boxes[-1]) for image, boxes, classes in worn if 5 in classes]
    assert 8 <= len(with_glasses) < 20
    for image, box in with_glasses:
        assert (box[:2] < [95, 67]).all()  # the centres of the eyes
        assert (box[2:] > [145, 67]).all()
        changed = np.nonzero((image != photo[0]).any(axis=2))
        assert changed[0].min() >= box[1] - 2
        assert changed[0].max() <= box[3] + 2
    for image, boxes, classes in worn:
        assert np.array_equal(boxes[:3], FACE)
        assert (5 in classes) == bool((image != photo[0]).any())


def test_photos_that_judge_are_of_other_groups_than_those_trained_on():
    photos = [labelled(f"{group}{i}.jpg") for group in "abcdefgh" for i in range(3)]
    groups = {photo.path.stem: photo.path.stem[0] for photo in photos}

    trained, judging = domain_shift.drawn(photos, 7, groups)

    assert len(trained) == 7
    assert not {p.path.stem[0] for p in trained} & {p.path.stem[0] for p in judging}
    assert len(judging) == 24 - 9  # the third group is begun
    assert domain_shift.drawn(photos[::-1], 7, groups) == (trained, judging)


def test_the_made_data_set_has_a_class_more_and_is_read_back(tmp_path, photo):
    paths = [write_image(tmp_path / f"{i}.png", photo[0]) for i in range(4)]
    photos = [LabelledImage(path, FACE / [240, 200, 240, 200], CLASSES) for path in paths]

    judged = domain_shift.make_data(photos[:2], photos[2:], Shift.GLASSES, NAMES, tmp_path / "made")

    config = load_data_config(tmp_path / "made" / "data.yaml")
    assert config.class_names == (*NAMES, "glasses")
    assert len(load_split(config, "train")) == 2
    for image in [*load_split(config, "train"), *judged]:
        assert image.classes[:3].tolist() == CLASSES.tolist()
        np.testing.assert_allclose(image.boxes[:3] * [240, 200, 240, 200], FACE, atol=1e-3)


def test_a_detector_is_scored_on_the_classes_that_it_has(tmp_path, photo):
    """The shipped one knows no glasses."""
    path = write_image(tmp_path / "a.png", photo[0])
    boxes = np.concatenate([FACE, FACE[:1]]) / np.array([240, 200, 240, 200], np.float32)
    image = LabelledImage(path, boxes.astype(np.float32), np.array([0, 1, 1, 5]))
    metrics = domain_shift.score(find_model("pico"), NAMES, [image])
    assert [(c.name, c.labelled) for c in metrics.classes][:2] == [("face", 1), ("eye", 2)]
    assert len(metrics.classes) == 5


@pytest.mark.parametrize(("after", "verdict"), [(0.89, "at most half"), (0.85, "more than half")])
def test_the_report_says_whether_half_of_the_loss_is_regained(after, verdict):
    figures = {
        "shift": "night", "trained_on": 100, "judged_by": 300, "images_seen": 10, "time": "1m", "load_average": 1.0,
        "f1": {"plain before": {"face": 0.96}},
        "mean_f1": {"plain before": 0.96, "plain after": 0.957, "changed before": 0.80, "changed after": after},
    }  # fmt: skip
    text = domain_shift.report(figures)
    assert f"lost by the shift: 0.1600 before, {0.96 - after:.4f} after ({verdict})" in text
    assert "lost on plain photos: 0.0030" in text

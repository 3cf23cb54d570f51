"""benchmarks/label_noise.py: what two detectors that know nothing of each other get wrong alike is the labels'."""

import label_noise
import numpy as np
import pytest

from train.evaluation.matching import Boxes

SIDES_PX = np.array([40.0, 20, 40, 20])
LABEL_SD, OUR_SD, PEER_SD = 0.06, 0.08, 0.1


def photos(shift: np.ndarray) -> list[Boxes]:
    """A box in each of N photos, whose edges lie off the truth by ``shift`` (N,4), in its sides."""
    truth = np.array([100.0, 100, 140, 120])
    one = np.ones(1)
    return [Boxes((truth + row * SIDES_PX)[None].astype(np.float32), one.astype(np.int64), one) for row in shift]


@pytest.fixture
def simulated():
    """Labels, our boxes and the peer's for 3,000 photos, each with errors of its own; ours lie off to one side too."""
    rng = np.random.default_rng(0)
    labels, ours, peer = (rng.normal(0, sd, (3000, 4)) for sd in (LABEL_SD, OUR_SD, PEER_SD))
    return photos(labels), photos(ours + 0.02), photos(peer)


def test_the_labels_share_of_the_error_is_found(simulated):
    labels, ours, peer = simulated

    report = label_noise.compare(ours, peer, labels, ("face",), "ours:nano")

    expected = LABEL_SD**2 / (LABEL_SD**2 + OUR_SD**2)
    assert report["classes"]["face"]["boxes"] == 3000
    assert report["classes"]["face"]["share"] == pytest.approx(expected, abs=0.05)


@pytest.mark.slow
def test_the_limit_is_what_the_truth_would_score(simulated):
    labels, ours, peer = simulated
    truth = photos(np.zeros((3000, 4)))

    limit = label_noise.compare(ours, peer, labels, ("face",), "ours:nano")["map50_95_limit"]
    of_truth = label_noise.compare(truth, peer, labels, ("face",), "ours:nano")["map50_95_now"]

    assert limit == pytest.approx(of_truth, abs=0.05)


def test_without_anything_in_common_nothing_is_the_labels():
    rng = np.random.default_rng(1)
    labels = photos(np.zeros((1000, 4)))

    report = label_noise.compare(
        photos(rng.normal(0, OUR_SD, (1000, 4))), photos(rng.normal(0, PEER_SD, (1000, 4))), labels, ("face",), "x:y"
    )

    assert report["classes"]["face"]["share"] == pytest.approx(0, abs=0.05)


def test_boxes_of_other_classes_and_places_are_no_pair():
    label = Boxes(np.array([[0, 0, 10, 10]], np.float32), np.array([1]), np.ones(1))
    found = Boxes(np.array([[0, 0, 10, 10], [50, 50, 60, 60]], np.float32), np.array([2, 1]), np.ones(2))

    assert label_noise.pairs(found, label) == {}


def test_the_table_names_each_class(simulated):
    labels, ours, peer = simulated

    lines = label_noise.table({"model": "nano", **label_noise.compare(ours, peer, labels, ("face",), "x:y")})

    assert [line.split()[0] for line in lines.splitlines()] == ["class", "face", "mean", "nano;"]

import json
import math

import numpy as np
import pytest

from train.metrics import THRESHOLDS, Boxes, evaluate_boxes

NAMES = ("face", "eye")
FACE, EYE = 1, 2


def truth(*labelled: tuple[int, tuple[float, ...]]) -> Boxes:
    return found(*((label, 1.0, box) for label, box in labelled))


def found(*detections: tuple[int, float, tuple[float, ...]]) -> Boxes:
    return Boxes(
        np.array([box for _, _, box in detections], np.float32).reshape(-1, 4),
        np.array([label for label, _, _ in detections], np.int64),
        np.array([score for _, score, _ in detections], np.float32),
    )


def by_name(metrics):
    return {c.name: c for c in metrics.classes}


def test_perfect_predictions_score_one_everywhere():
    images = [
        truth((FACE, (10, 10, 50, 60)), (EYE, (20, 20, 25, 24))),
        truth((FACE, (0, 0, 30, 30))),
        truth((EYE, (5, 5, 10, 8)), (EYE, (15, 5, 20, 8))),
    ]

    metrics = evaluate_boxes(images, images, NAMES)

    assert metrics.images == 3
    assert [c.labelled for c in metrics.classes] == [2, 3]
    for c in metrics.classes:
        assert (c.precision, c.recall, c.f1, c.mean_iou, c.ap50, c.ap50_95) == pytest.approx(6 * (1,))
    assert (metrics.map50, metrics.map50_95, metrics.mean_f1) == pytest.approx(3 * (1,))


def test_hand_computed_case():
    labelled = [
        truth((FACE, (0, 0, 100, 100)), (FACE, (200, 0, 300, 100))),
        truth((FACE, (0, 0, 100, 100)), (EYE, (10, 10, 20, 20))),
    ]
    predicted = [
        found(
            (FACE, 0.9, (0, 0, 100, 80)),  # IoU 0.8
            (FACE, 0.7, (200, 60, 300, 160)),  # IoU 0.25: a false positive and a missed face
        ),
        found(
            (FACE, 0.8, (0, 0, 100, 60)),  # IoU 0.6
            (FACE, 0.4, (300, 300, 400, 400)),  # below the threshold
            (EYE, 0.3, (10, 10, 20, 20)),  # below the threshold
        ),
    ]

    metrics = evaluate_boxes(labelled, predicted, NAMES, threshold=0.5)
    face, eye = metrics.classes

    assert metrics.threshold == 0.5
    assert (face.labelled, eye.labelled) == (3, 1)
    assert (face.precision, face.recall, face.f1) == pytest.approx((2 / 3, 2 / 3, 2 / 3))
    assert face.mean_iou == pytest.approx((0.8 + 0.6) / 2)
    # Two of three faces are found at once: precision 1 up to recall 2/3, that is at 67 of COCO's 101 recall points.
    assert face.ap50 == pytest.approx(67 / 101)
    # At IoU 0.50 to 0.60 both count, at 0.65 to 0.80 the first alone (34 points), above neither.
    assert face.ap50_95 == pytest.approx((3 * 67 + 4 * 34) / 101 / 10, abs=1e-3)
    assert (eye.precision, eye.recall, eye.f1) == (0, 0, 0)
    assert math.isnan(eye.mean_iou)
    assert eye.ap50 == pytest.approx(1)  # average precision knows no threshold
    assert metrics.map50 == pytest.approx((face.ap50 + 1) / 2)
    assert metrics.mean_f1 == pytest.approx(1 / 3)


def test_second_detection_of_an_object_is_a_false_positive():
    metrics = evaluate_boxes(
        [truth((FACE, (0, 0, 10, 10)))], [found((FACE, 0.8, (0, 0, 10, 9)), (FACE, 0.9, (0, 0, 10, 10)))], NAMES, 0.5
    )

    face = by_name(metrics)["face"]
    assert (face.precision, face.recall) == (0.5, 1)
    assert face.mean_iou == 1  # that of the better scored one


def test_detection_of_another_class_or_image_does_not_match():
    box = (0, 0, 10, 10)

    metrics = evaluate_boxes(
        [truth((FACE, box)), truth()], [found((EYE, 0.9, box)), found((FACE, 0.9, box))], NAMES, 0.5
    )

    assert [c.recall for c in metrics.classes] == [0, 0]
    assert [c.precision for c in metrics.classes] == [0, 0]


def test_order_of_detections_does_not_matter():
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 50, (40, 2))
    boxes = np.hstack([corners, corners + rng.uniform(5, 30, (40, 2))]).astype(np.float32)
    labels, scores = rng.integers(1, 3, 40), rng.random(40, np.float32)
    labelled = [Boxes(boxes[::4] + 1, labels[::4], np.ones(10, np.float32))]
    order = rng.permutation(40)

    first = evaluate_boxes(labelled, [Boxes(boxes, labels, scores)], NAMES)
    again = evaluate_boxes(labelled, [Boxes(boxes[order], labels[order], scores[order])], NAMES)

    assert 0 < first.map50 < 1
    assert first.as_dict() == again.as_dict()


def test_threshold_is_that_of_the_best_mean_f1():
    box, elsewhere = (0, 0, 10, 10), (50, 50, 60, 60)
    labelled = [truth((FACE, box), (EYE, box))]
    predicted = [
        found(
            (FACE, 0.625, box), (FACE, 0.425, elsewhere),
            (EYE, 0.505, box), (EYE, 0.325, elsewhere),
        )
    ]  # fmt: skip

    metrics = evaluate_boxes(labelled, predicted, NAMES)

    # Above 0.425 no false positive is left; up to 0.505 both objects are found.
    assert 0.425 < metrics.threshold < 0.505
    assert metrics.mean_f1 == 1
    for threshold in THRESHOLDS:
        assert evaluate_boxes(labelled, predicted, NAMES, float(threshold)).mean_f1 <= metrics.mean_f1


def test_false_positives_per_negative():
    labelled = [truth((FACE, (0, 0, 10, 10))), truth(), truth()]
    wrong = (20, 20, 40, 40)
    predicted = [
        found((FACE, 0.9, wrong)),  # the image has a face: not counted here
        found((FACE, 0.9, wrong), (EYE, 0.6, wrong), (EYE, 0.4, wrong)),
        found((EYE, 0.7, wrong)),
    ]

    assert evaluate_boxes(labelled, predicted, NAMES, 0.5).false_positives_per_negative == 1.5
    assert math.isnan(evaluate_boxes(labelled[:1], predicted[:1], NAMES, 0.5).false_positives_per_negative)


def test_class_without_labels_does_not_spoil_the_means():
    box = (0, 0, 10, 10)

    metrics = evaluate_boxes([truth((FACE, box))], [found((FACE, 0.9, box), (EYE, 0.9, box))], NAMES)

    assert (metrics.map50, metrics.map50_95, metrics.mean_f1) == pytest.approx((1, 1, 1))
    eye = by_name(metrics)["eye"]
    assert (eye.labelled, eye.precision) == (0, 0)
    assert math.isnan(eye.ap50)


@pytest.mark.parametrize("labelled", [[truth()], [truth((FACE, (0, 0, 10, 10)))]], ids=["no labels", "labels"])
def test_nothing_found(labelled):
    metrics = evaluate_boxes(labelled, [found()], NAMES)

    assert [(c.precision, c.recall, c.f1) for c in metrics.classes] == 2 * [(0, 0, 0)]
    assert metrics.table()


def flat(value):
    if isinstance(value, dict):
        value = list(value.values())
    return [leaf for item in value for leaf in flat(item)] if isinstance(value, list) else [value]


@pytest.mark.parametrize("threshold", [None, 0.5])
def test_as_dict_is_plain_json(threshold):
    labelled = [truth((FACE, (0, 0, 10, 10))), truth()]
    predicted = [found((FACE, 0.9, (0, 0, 10, 9))), found((EYE, 0.8, (0, 0, 5, 5)))]

    scores = evaluate_boxes(labelled, predicted, NAMES, threshold).as_dict()

    assert json.loads(json.dumps(scores, allow_nan=False)) == scores
    # Exactly: numpy's float64 is a float too, but a checkpoint that holds one cannot be read without running code.
    assert {type(leaf) for leaf in flat(scores)} <= {int, float, str, type(None)}
    assert scores["classes"][0]["mean_iou"] == 0.9
    assert scores["classes"][1]["ap50"] is None
    assert scores["false_positives_per_negative"] == 1
    assert scores["mean_f1"] == 1


def test_table_has_a_row_for_each_class():
    box = (0, 0, 10, 10)

    lines = (
        evaluate_boxes([truth((FACE, box)), truth()], [found((FACE, 0.9, box)), found()], NAMES, 0.5)
        .table()
        .split("\n")
    )

    assert [line.split()[0] for line in lines[:4]] == ["class", "face", "eye", "mean"]
    assert lines[1].split()[1:] == ["1"] + 6 * ["1.000"]
    assert lines[4] == "2 images, score threshold 0.50, IoU 0.5, 0.000 false positives per image without objects"

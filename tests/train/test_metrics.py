import json
import math

import numpy as np
import pytest
import torch

from train.data.data_yaml import load_data_config
from train.data.dataset import load_split
from train.data.examples import letterboxed_example
from train.evaluation.evaluate import best_ious, evaluate
from train.evaluation.matching import Boxes, confusion_matrix, match_image
from train.evaluation.metrics import THRESHOLDS, evaluate_boxes
from train.evaluation.size_bins import enclosing_heights
from train.evaluation.tables import metrics_report, metrics_table
from train.models.architectures import ModelConfig, build_model

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
    assert metrics_table(metrics)


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

    metrics = evaluate_boxes([truth((FACE, box)), truth()], [found((FACE, 0.9, box)), found()], NAMES, 0.5)
    lines = metrics_table(metrics).split("\n")

    assert [line.split()[0] for line in lines[:4]] == ["class", "face", "eye", "mean"]
    assert lines[1].split()[1:] == ["1"] + 6 * ["1.000"] + ["-"]  # there were no proposals
    assert lines[4] == "2 images, score threshold 0.50, IoU 0.5, 0.000 false positives per image without objects"


def test_table_is_neither_wrapped_nor_read_as_markup(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    name = "[bold]a class with a long name[/bold]"

    lines = metrics_table(evaluate_boxes([truth((FACE, (0, 0, 9, 9)))], [found()], (name, "eye"))).split("\n")

    assert lines[1].startswith(f"{name}  ")
    assert len(lines) == 5
    assert len({len(line) for line in lines[:4]}) == 1
    assert lines[0].endswith("AP50-95  proposals")


def test_best_threshold_is_reported_beside_the_given_one():
    labelled = [truth((FACE, (0, 0, 10, 10)))]
    predicted = [found((FACE, 0.905, (0, 0, 10, 8)), (FACE, 0.605, (50, 50, 60, 60)))]

    given = evaluate_boxes(labelled, predicted, NAMES, 0.3)
    best = evaluate_boxes(labelled, predicted, NAMES)

    face = given.classes[0]
    assert (given.threshold, face.precision, face.recall, face.f1) == pytest.approx((0.3, 0.5, 1, 2 / 3))
    assert 0.605 < given.best_threshold == best.threshold == best.best_threshold < 0.905
    assert (face.at_best.precision, face.at_best.recall, face.at_best.f1) == (1, 1, 1)
    assert face.at_best.mean_iou == pytest.approx(0.8)
    assert given.as_dict()["classes"][0]["at_best"] == {"precision": 1, "recall": 1, "f1": 1, "mean_iou": 0.8}
    title = f"at score threshold {given.best_threshold:.2f}, that of the best mean F1:"
    assert metrics_report(given).split("\n\n")[1].splitlines()[0] == title
    assert metrics_report(given).split("\n\n")[1].splitlines()[2].split() == [
        "face",
        "1.000",
        "1.000",
        "1.000",
        "0.800",
    ]
    assert title not in metrics_report(best)
    assert "score threshold 0.30, IoU" in metrics_table(given)
    assert f"score threshold {best.threshold:.2f} (the best mean F1), IoU" in metrics_table(best)


def test_object_has_the_height_of_the_largest_box_around_its_centre():
    boxes = np.array(
        [
            [10, 10, 60, 80],  # a face, 70 high
            [20, 30, 30, 34],  # an eye in it
            [22, 28, 70, 32],  # a brow in it by its centre
            [55, 30, 75, 36],  # a part of it, whose centre lies outside
            [0, 0, 90, 19],  # a wide thing: larger than the brow, but around no other centre
        ],
        np.float32,
    )

    assert enclosing_heights(boxes).tolist() == [70, 70, 70, 6, 19]
    assert enclosing_heights(boxes[::-1]).tolist() == [19, 6, 70, 70, 70]
    assert enclosing_heights(np.zeros((0, 4), np.float32)).shape == (0,)


def test_largest_is_by_area_not_by_height():
    boxes = np.array([[0, 0, 100, 30], [40, 0, 60, 50], [49, 14, 51, 16]], np.float32)

    assert enclosing_heights(boxes).tolist() == [30, 30, 30]


def test_sizes_hand_computed():
    labelled = [
        truth((FACE, (0, 0, 20, 31)), (EYE, (5, 5, 9, 7)), (EYE, (11, 5, 15, 7))),  # a face in 16 to 32
        truth((FACE, (0, 0, 20, 32))),  # one that just reaches the next bin
        truth((EYE, (0, 0, 10, 200))),  # an eye alone
    ]
    predicted = [
        found((FACE, 0.9, (0, 0, 20, 31)), (EYE, 0.8, (5, 5, 8, 7)), (EYE, 0.2, (11, 5, 15, 7))),
        found(),
        found((EYE, 0.9, (0, 0, 10, 100)), (EYE, 0.8, (50, 50, 60, 60))),
    ]

    sizes = evaluate_boxes(labelled, predicted, NAMES, 0.5).as_dict()["sizes"]

    limits = [(size["from_px"], size["below_px"]) for size in sizes]
    assert limits == [(0, 16), (16, 32), (32, 64), (64, 128), (128, None)]
    nothing = {"labelled": 0, "recall": None, "mean_iou": None}
    assert sizes[0]["all"] == sizes[3]["all"] == sizes[2]["classes"]["eye"] == nothing
    assert sizes[1]["classes"]["face"] == {"labelled": 1, "recall": 1, "mean_iou": 1}
    assert sizes[1]["classes"]["eye"] == {"labelled": 2, "recall": 0.5, "mean_iou": 0.75}
    assert sizes[1]["all"] == {"labelled": 3, "recall": 0.6667, "mean_iou": 0.875}
    assert sizes[2]["all"] == {"labelled": 1, "recall": 0, "mean_iou": None}
    assert sizes[4]["classes"]["eye"] == {"labelled": 1, "recall": 1, "mean_iou": 0.5}


def test_report_has_a_row_for_each_size():
    images = [truth((FACE, (0, 0, 20, 31)), (EYE, (5, 5, 9, 7)))]

    rows = metrics_report(evaluate_boxes(images, images, NAMES)).split("\n\n")[-2].splitlines()

    assert rows[1].split() == ["height", "labelled", "all", *NAMES]
    assert [row[:12].strip() for row in rows[2:]] == ["below 16", "16 to 32", "32 to 64", "64 to 128", "128 or more"]
    assert rows[3][12:].split() == ["2"] + 3 * ["1.000/1.000"]
    assert rows[4][12:].split() == ["0"] + 3 * ["-/-"]


def test_confusion_matrix_by_hand():
    face, eye, elsewhere = (0, 0, 100, 100), (20, 20, 40, 30), (200, 200, 220, 210)
    labelled = [truth((FACE, face), (EYE, eye)), truth((EYE, eye), (FACE, face)), truth()]
    predicted = [
        found(
            (FACE, 0.9, face),
            (EYE, 0.6, eye),
            (FACE, 0.8, eye),  # better scored, though wrong: it takes the eye, and the eye found is a false positive
            (EYE, 0.4, elsewhere),  # below the threshold
        ),
        found((FACE, 0.9, (0, 0, 100, 60)), (FACE, 0.8, (0, 0, 100, 45))),  # one right, one false, the eye missed
        found((EYE, 0.5, elsewhere)),
    ]

    matrix = confusion_matrix(labelled, predicted, 2, 0.5)

    assert matrix.tolist() == [
        [2, 0, 0],  # faces
        [1, 0, 1],  # eyes
        [1, 2, 0],  # background
    ]


def test_matching_of_one_image_is_that_of_the_evaluation():
    rng = np.random.default_rng(1)
    images = []
    for _ in range(20):
        corners = rng.uniform(0, 60, (30, 2))
        boxes = np.hstack([corners, corners + rng.uniform(15, 40, (30, 2))]).astype(np.float32)
        images.append(Boxes(boxes, rng.integers(1, 3, 30), rng.random(30, np.float32)))
    labelled = [Boxes(i.boxes[:8] + 2, i.labels[:8], np.ones(8, np.float32)) for i in images]

    metrics = evaluate_boxes(labelled, images, NAMES, 0.4)
    matches = [match_image(g, p.above(0.4), same_class=True) for g, p in zip(labelled, images, strict=True)]

    counted = sum(c.recall * c.labelled for c in metrics.classes)
    assert 0 < counted < 160
    assert sum((partners >= 0).sum() for partners, _ in matches) == pytest.approx(counted)
    expected = sum(c.mean_iou * c.recall * c.labelled for c in metrics.classes)
    assert sum(ious.sum() for _, ious in matches) == pytest.approx(expected, rel=1e-5)


def test_best_iou_with_any_proposal():
    boxes = torch.tensor([[0.0, 0, 10, 10], [20, 20, 30, 30]])
    proposals = torch.tensor([[0.0, 0, 10, 5], [0, 0, 10, 8], [100, 100, 110, 110]])

    assert best_ious(boxes, proposals).tolist() == pytest.approx([0.8, 0])
    assert best_ious(boxes, proposals[:0]).tolist() == [0, 0]
    assert best_ious(boxes[:0], proposals).shape == (0,)


def test_proposal_recall_by_hand():
    box = (0, 0, 10, 10)
    labelled = [truth((FACE, box), (EYE, box)), truth(), truth((EYE, box))]
    ious = [np.array([0.5, 0.4], np.float32), np.zeros(0, np.float32), np.array([0.9], np.float32)]

    metrics = evaluate_boxes(labelled, [found(), found(), found()], NAMES, 0.5, ious)
    face, eye = metrics.classes

    assert (face.proposal_recall, face.proposal_iou) == (1, 0.5)
    assert (eye.proposal_recall, eye.proposal_iou) == pytest.approx((0.5, 0.65))
    assert metrics.proposal_recall == metrics.as_dict()["proposal_recall"] == 0.75


def test_evaluate_sees_the_proposals_of_the_model(tiny_yaml, monkeypatch):
    config = load_data_config(tiny_yaml)
    images = load_split(config, "train")
    model = build_model(ModelConfig("nano", config.class_names, 64))
    right = [torch.from_numpy(letterboxed_example(image, 64).boxes) for image in images]
    # Of each image the labelled boxes, but of the second the first one alone.
    right[1] = right[1][:1]
    monkeypatch.setattr(model.rpn, "filter_proposals", lambda *_: (right, [torch.ones(len(r)) for r in right]))

    metrics = evaluate(model, images, size=64, class_names=config.class_names, device=torch.device("cpu"))

    red, blue = metrics.classes
    assert (red.labelled, blue.labelled) == (5, 5)  # of six images, one without objects
    assert red.proposal_recall == 1
    assert blue.proposal_recall == pytest.approx(4 / 5)
    assert not model.rpn._forward_hooks

import numpy as np
import pytest
from face_shape import landmarks_68, landmarks_98

from train.prepare.boxing import CLASS_NAMES, boxes_of_extents, boxes_of_landmarks, padded

EYE, EYEBROW, NOSE, MOUTH = 1, 2, 3, 4

HELEN_QUARTILES = {
    "face height / width": (1.079, 1.209),
    "eye width / face width": (0.201, 0.235),
    "eye height / width": (0.471, 0.573),
    "eyebrow width / face width": (0.344, 0.445),
    "eyebrow height / width": (0.386, 0.490),
    "nose width / face width": (0.286, 0.347),
    "nose height / width": (1.139, 1.381),
    "mouth width / face width": (0.399, 0.507),
    "mouth height / width": (0.382, 0.546),
    "nose top - eye centre / face width": (-0.051, -0.022),
    "eyebrow top - face top / face height": (0.118, 0.126),
    "eye centre - eyebrow centre / face width": (0.092, 0.127),
}
"""25 and 75 % of the boxes of 865 hand-marked faces of Helen in the data set of the shipped detectors."""


def proportions(boxes: np.ndarray) -> dict[str, float]:
    """``boxes`` in the order face, eyebrow, eyebrow, nose, eye, eye, mouth."""
    face, brow, nose = boxes[0], boxes[1], boxes[3]
    width, height = (boxes[:, 2:] - boxes[:, :2]).T
    middle = (boxes[:, 1] + boxes[:, 3]) / 2
    parts = {"eye": 4, "eyebrow": 1, "nose": 3, "mouth": 6}
    return {
        "face height / width": height[0] / width[0],
        **{f"{name} width / face width": width[i] / width[0] for name, i in parts.items()},
        **{f"{name} height / width": height[i] / width[i] for name, i in parts.items()},
        "nose top - eye centre / face width": (nose[1] - middle[4]) / width[0],
        "eyebrow top - face top / face height": (brow[1] - face[1]) / height[0],
        "eye centre - eyebrow centre / face width": (middle[4] - middle[1]) / width[0],
    }


def rotated(points: np.ndarray, degrees: float) -> np.ndarray:
    turn = np.radians(degrees)
    return points @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])


def test_boxes_of_a_face_are_those_worked_out_by_hand():
    points = np.zeros((68, 2))
    points[0:17] = [(x, 100) for x in np.linspace(0, 100, 17)]  # jaw: 0..100 wide, chin at 100
    points[17:22] = [(x, 20 + (x == 14)) for x in (10, 14, 20, 26, 30)]  # eyebrow: 20 wide, 1 high
    points[22:27] = [
        (x, y) for x, y in zip((70, 75, 80, 85, 90), (32, 22, 20, 22, 30), strict=True)
    ]  # 20 wide, 12 high
    points[27:36] = [(50, 40), (50, 45), (50, 50), (50, 60), (40, 65), (45, 65), (50, 65), (55, 65), (60, 65)]
    points[36:42] = [(10, 40), (15, 39), (20, 39), (30, 40), (20, 41), (15, 41)]  # eye: 20 wide, 2 high
    points[42:48] = [(70, 40), (75, 35), (80, 35), (90, 40), (80, 45), (75, 45)]  # eye: 20 wide, 10 high
    points[48:68] = [(x, 75 + (i % 2) * 10) for i, x in enumerate(np.linspace(30, 70, 20))]  # 40 wide, 10 high

    boxes, classes = boxes_of_landmarks(points)

    assert [CLASS_NAMES[i] for i in classes] == ["face", "eyebrow", "eyebrow", "nose", "eye", "eye", "mouth"]
    assert boxes.tolist() == [
        # sides and chin of the hull; top 0.18 * (100 - 20) above 20
        pytest.approx([0, 5.6, 100, 100]),
        # 1.12 * 20 = 22.4 wide, at least 0.27 * 22.4 = 6.048 high, downwards; pads 2.24 and 0.6048 + 1.568
        pytest.approx([20 - 11.2 - 2.24, 20 - 2.1728, 20 + 11.2 + 2.24, 26.048 + 2.1728]),
        # 12 high; pads 2.24 and 1.2 + 1.568
        pytest.approx([80 - 13.44, 20 - 2.768, 80 + 13.44, 32 + 2.768]),
        # 1.3 * 20 = 26 wide, 25 high; pads 2.6 and 2
        pytest.approx([50 - 15.6, 38, 50 + 15.6, 67]),
        # at least 0.32 * 20 = 6.4 high, about the middle 40; pads 2.4 and 0.64 + 2
        pytest.approx([7.6, 36.8 - 2.64, 32.4, 43.2 + 2.64]),
        # pads 2.4 and 1 + 2
        pytest.approx([67.6, 32, 92.4, 48]),
        # pads 4 and 1.2 + 0.8
        pytest.approx([26, 73, 74, 87]),
    ]


@pytest.mark.parametrize("degrees", [-25, 0, 10])
def test_both_markups_of_one_face_give_nearly_the_same_boxes(degrees):
    boxes_68, classes_68 = boxes_of_landmarks(rotated(landmarks_68(scale=300), degrees))
    boxes_98, classes_98 = boxes_of_landmarks(rotated(landmarks_98(scale=300), degrees))

    assert classes_98.tolist() == classes_68.tolist()
    assert boxes_98 == pytest.approx(boxes_68, abs=1.5)  # of a face of 300 px


def test_an_average_face_has_the_proportions_of_the_shipped_data_set():
    found = proportions(boxes_of_landmarks(landmarks_68(scale=300))[0])

    outside = {name: found[name] for name, (low, high) in HELEN_QUARTILES.items() if not low <= found[name] <= high}
    assert not outside


def test_boxes_move_and_grow_with_the_face():
    small, _ = boxes_of_landmarks(landmarks_68(scale=100))
    large, _ = boxes_of_landmarks(landmarks_68(scale=200, at=(30, -40)))

    assert large == pytest.approx(2 * small + [30, -40, 30, -40])


def test_a_part_of_no_width_is_left_out():
    points = landmarks_68(scale=100)
    points[36:42, 0] = points[36, 0]  # the far eye of a profile

    boxes, classes = boxes_of_landmarks(points)

    assert classes.tolist() == [0, 2, 2, 3, 1, 4]
    assert len(boxes) == 6


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (np.zeros((5, 2)), "expected 68 or 98 points, found 5"),
        (np.full((68, 2), 7.0), "the points of the face span no area"),
        (np.column_stack([np.arange(98.0), np.zeros(98)]), "the points of the face span no area"),
    ],
)
def test_no_face_is_refused(points, message):
    with pytest.raises(ValueError, match=message):
        boxes_of_landmarks(points)


def test_masks_are_padded_alike_but_not_widened():
    extent = np.array([10.0, 20.0, 110.0, 70.0])  # 100 x 50

    boxes, classes = boxes_of_extents(np.array([0.0, 0.0, 200.0, 220.0]), [(EYEBROW, extent), (NOSE, extent)])

    assert classes.tolist() == [0, EYEBROW, NOSE]
    assert boxes.tolist() == [
        pytest.approx([0, 20 - 0.18 * 200, 200, 220]),  # the skin above the eyebrow does not count
        pytest.approx([0, 20 - 12, 120, 70 + 12]),
        pytest.approx([0, 20 - 4, 120, 70 + 4]),
    ]


def test_a_mask_of_a_part_outside_the_skin_widens_the_face():
    boxes, _ = boxes_of_extents(np.array([50, 0, 100, 90.0]), [(EYE, np.array([40, 30, 60, 40.0]))])

    assert boxes[0].tolist() == pytest.approx([40, 30 - 0.35 * 60, 100, 90])


def test_the_top_of_a_face_is_the_same_from_eyebrows_and_from_eyes():
    points = landmarks_68(scale=300)
    skin, brow, eye = points[:17], points[17:22], points[36:42]
    extents = [np.concatenate([part.min(axis=0), part.max(axis=0)]) for part in (skin, brow, eye)]

    with_brow, _ = boxes_of_extents(extents[0], [(EYEBROW, extents[1]), (EYE, extents[2])])
    without, _ = boxes_of_extents(extents[0], [(EYE, extents[2])])

    height = with_brow[0, 3] - with_brow[0, 1]
    assert without[0, 1] == pytest.approx(with_brow[0, 1], abs=0.02 * height)


def test_without_eyebrow_eye_and_nose_nothing_tells_the_forehead():
    with pytest.raises(ValueError, match="neither an eyebrow, an eye nor a nose is visible"):
        boxes_of_extents(np.array([0, 0, 9, 9.0]), [(MOUTH, np.array([3, 6, 6, 8.0]))])


def test_thin_parts_grow_about_the_middle_but_eyebrows_downwards():
    line = np.array([0.0, 50.0, 100.0, 50.0])

    eye, brow = padded(EYE, line), padded(EYEBROW, line)

    assert (eye[1] + eye[3]) / 2 == pytest.approx(50)
    assert eye[3] - eye[1] == pytest.approx(0.584 * 100)
    assert (brow[1], brow[3]) == (pytest.approx(50 - 9.7), pytest.approx(50 + 27 + 9.7))

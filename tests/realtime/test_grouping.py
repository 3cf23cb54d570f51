import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_faces import LABELS, NAMES, PROFILE, UPRIGHT, box_about, detections_of, kind, made_face, mirrored

from realtime.faces.grouping import FaceGrouper, assign_faces
from realtime.structures import Detections, Face

OTHER_SIDE = {"left": "right", "right": "left"}
TILTS = (-45, -30, -15, 0, 15, 30, 45)


def faces_of(detections, class_names):
    """The faces of a still image, by a model of these classes."""
    return assign_faces(replace(detections, class_names=class_names)).faces


def other_side(name):
    side, _, rest = name.partition("_")
    return f"{OTHER_SIDE[side]}_{rest}" if side in OTHER_SIDE else name


def assert_is(face: Face, made):
    """The face has these parts under these names, and no others."""
    assert face.box == pytest.approx(made["face"][2], abs=1e-3)
    assert set(face.features) == set(made) - {"face"}
    for name, feature in face.features.items():
        assert feature.box == pytest.approx(made[name][2], abs=1e-3), name
        assert feature.score == pytest.approx(made[name][1])


@pytest.mark.parametrize("tilt_deg", TILTS)
@pytest.mark.parametrize("scale", [0.2, 1, 12])
def test_all_parts_get_their_names_however_the_head_is_tilted(tilt_deg, scale):
    made = made_face(tilt_deg=tilt_deg, scale=scale)
    (face,) = faces_of(detections_of(made), NAMES)
    assert_is(face, made)
    assert face.id == 1
    assert face.score == pytest.approx(0.99)


@pytest.mark.parametrize("tilt_deg", TILTS)
def test_in_a_mirrored_image_the_sides_change(tilt_deg):
    made = made_face(tilt_deg=tilt_deg)
    (face,) = faces_of(detections_of(made), NAMES)
    (flipped,) = faces_of(mirrored(detections_of(made), 640), NAMES)
    assert set(flipped.features) == set(face.features)
    for name, feature in face.features.items():
        x1, y1, x2, y2 = feature.box
        assert flipped.features[other_side(name)].box == pytest.approx((640 - x2, y1, 640 - x1, y2))


@pytest.mark.parametrize("tilt_deg", [-30, 0, 30])
@pytest.mark.parametrize(
    "without",
    [
        ("left_eye",),
        ("right_eye", "right_eyebrow"),
        ("nose",),
        ("mouth",),
        ("nose", "mouth"),
        ("left_eyebrow", "right_eyebrow"),
        ("left_eye", "left_eyebrow", "nose"),
        ("left_eye", "right_eyebrow", "mouth"),
    ],
)
def test_sides_are_right_when_parts_are_missing(without, tilt_deg):
    made = made_face(tilt_deg=tilt_deg, without=without)
    (face,) = faces_of(detections_of(made), NAMES)
    assert_is(face, made)


@pytest.mark.parametrize("tilt_deg", [-20, 0, 20])
def test_a_profile_has_one_eye_and_the_right_one(tilt_deg):
    """A head that looks to the left edge of the image shows the subject's left eye, close to the nose."""
    made = made_face(parts=PROFILE, tilt_deg=tilt_deg)
    (face,) = faces_of(detections_of(made), NAMES)
    assert_is(face, made)
    (flipped,) = faces_of(mirrored(detections_of(made), 640), NAMES)
    assert set(flipped.features) == {other_side(name) for name in face.features}


def test_the_hand_drawn_boxes_of_the_sample_clip_get_sides():
    lines = (Path(__file__).parents[2] / "samples" / "astronaut.jsonl").read_text().splitlines()
    for line in lines:
        objects = [(thing["label"], thing["box"]) for thing in json.loads(line)["objects"]]
        detections = Detections(
            np.array([box for _, box in objects], np.float32),
            np.array([LABELS[name] for name, _ in objects]),
            np.ones(len(objects), np.float32),
        )
        (face,) = faces_of(detections, NAMES)
        assert len(face.features) == len(objects) - 1 == 6
        for part in ("eye", "eyebrow"):  # the head hardly tilts, so larger x is the subject's left
            assert face.features[f"left_{part}"].box[0] > face.features[f"right_{part}"].box[0]
            assert list(face.features[f"left_{part}"].box) in [
                pytest.approx(box) for name, box in objects if name == part
            ]


def test_of_many_candidates_the_best_and_plausible_are_kept():
    made = made_face()
    clutter = {
        "twin of an eye": ("eye", 0.9, tuple(v + 6 for v in made["left_eye"][2])),
        "eye on the chin": ("eye", 0.99, box_about(300, 250, 20, 10)),
        "weak second nose": ("nose", 0.6, tuple(v + 5 for v in made["nose"][2])),
        "mouth on the forehead": ("mouth", 0.99, box_about(300, 150, 40, 20)),
        "mouth far away": ("mouth", 0.99, box_about(500, 300, 40, 20)),
    }
    (face,) = faces_of(detections_of(made, clutter), NAMES)
    assert_is(face, made)


def test_a_doubled_eye_is_not_the_other_eye():
    made = made_face(without=("right_eye",))
    double = {"double": ("eye", 0.9, tuple(v - 7 if i % 2 == 0 else v for i, v in enumerate(made["left_eye"][2])))}
    (face,) = faces_of(detections_of(made, double), NAMES)
    assert_is(face, made)


def test_faces_side_by_side_keep_their_own_parts_best_face_first():
    made = [made_face((200, 200)), made_face((305, 210), scores={"face": 0.995}), made_face((410, 190), 0.8)]
    faces = faces_of(detections_of(*made), NAMES)
    assert [face.id for face in faces] == [1, 2, 3]
    for face, expected in zip(faces, (made[1], made[0], made[2]), strict=True):
        assert_is(face, expected)


@pytest.mark.parametrize("shift", [(45, 20), (-50, 0), (10, 70)])
def test_of_overlapping_faces_each_keeps_its_own_parts(shift):
    made = [made_face((300, 200)), made_face((300 + shift[0], 200 + shift[1]), 0.9, scores={"face": 0.9})]
    for face, expected in zip(faces_of(detections_of(*made), NAMES), made, strict=True):
        assert_is(face, expected)


def test_no_part_is_given_to_two_faces():
    """Two boxes on one face, as detectors give at times: the parts are shared out, each once."""
    made = made_face()
    x1, y1, x2, y2 = made["face"][2]
    again = {"face": ("face", 0.9, (x1 + 8, y1 + 8, x2 + 8, y2 + 8))}
    faces = faces_of(detections_of(made, again), NAMES)
    boxes = [feature.box for face in faces for feature in face.features.values()]
    assert len(faces) == 2
    assert len(boxes) == len(set(boxes)) == 6


def test_the_order_in_which_faces_come_does_not_matter():
    """The only nose lies better in the second face; a greedy first face would take it."""
    first = made_face((300, 200), without=("nose",), scores={"face": 0.999})
    second = made_face((345, 205), scores={"face": 0.9})
    one, two = faces_of(detections_of(first, second), NAMES)
    assert_is(one, first)
    assert_is(two, second)


def test_one_hundred_faces_keep_their_parts():
    made = [made_face((100 + 110 * (i % 10), 100 + 125 * (i // 10)), tilt_deg=3 * (i % 10) - 15) for i in range(100)]
    faces = faces_of(detections_of(*made), NAMES)
    for face, expected in zip(sorted(faces, key=lambda f: (round(f.box[3] / 125), f.box[0])), made, strict=True):
        assert set(face.features) == set(UPRIGHT)
        assert face.box == pytest.approx(expected["face"][2], abs=1e-3)
        assert face.features["left_eye"].box == pytest.approx(expected["left_eye"][2], abs=1e-3)


def test_without_a_face_features_stay_loose():
    made = {name: part for name, part in made_face().items() if name != "face"}
    assert faces_of(detections_of(made), NAMES) == ()
    assert faces_of(Detections.empty(), NAMES) == ()


def test_a_model_without_a_class_face_has_no_faces():
    assert FaceGrouper(("cat", "dog")).face_label is None
    assert faces_of(detections_of(made_face()), ("cat", "dog", "eyebrow", "nose", "mouth")) == ()


def test_a_model_of_some_parts_in_another_order_and_case():
    names = ("Mouth", "person", "Face")
    made = made_face()
    boxes = np.array([made["face"][2], made["mouth"][2], made["nose"][2]], np.float32)
    (face,) = faces_of(Detections(boxes, np.array([2, 0, 1]), np.array([0.9, 0.8, 0.7], np.float32)), names)
    assert list(face.features) == ["mouth"]


def test_boxes_without_extent_do_no_harm():
    made = made_face() | {"flat": ("face", 0.9, (50, 50, 50, 50)), "point": ("eye", 0.9, (320, 180, 320, 180))}
    faces = faces_of(detections_of(made), NAMES)
    assert len(faces) == 2
    assert_is(faces[0], {name: part for name, part in made.items() if name not in ("flat", "point")})


def test_names_of_parts_are_those_of_their_classes():
    assert {kind(name) for name in FaceGrouper(NAMES).slots} == set(NAMES) - {"face"}


def test_a_face_as_json():
    (face,) = faces_of(detections_of(made_face(without=tuple(set(UPRIGHT) - {"left_eye"}))), NAMES)
    assert json.loads(json.dumps(face.to_dict())) == {
        "id": 1,
        "box": [250.0, 142.0, 350.0, 258.0],
        "score": 0.99,
        "features": {"left_eye": {"box": [310.0, 169.0, 330.0, 179.0], "score": 0.95}},
    }

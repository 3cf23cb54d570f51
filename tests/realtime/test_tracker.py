import math

import numpy as np
import pytest
from made_faces import NAMES, detections_of, made_face, mirrored

from realtime.faces.looks import FACE_PX, FEATURES_PX, Looks
from realtime.faces.tracker import MAX_CLOSE_S, MAX_HELD_S, MAX_LOST_S, FaceTracker
from realtime.score_levels import CALIBRATED, UNCALIBRATED
from realtime.structures import Detections

FRAME_S = 1 / 30
THRESHOLD = 0.8
WEAK = 0.9 * THRESHOLD
TOO_WEAK = 0.9 * UNCALIBRATED.continuing * THRESHOLD


class Run:
    """A tracker fed with made faces, frame after frame."""

    def __init__(self, *, raw=False, frame_s=FRAME_S):
        self.tracker = FaceTracker(NAMES, raw=raw)
        self.now_s = 0.0
        self.frame_s = frame_s
        self.shown = None

    def see(self, *faces, after_s=None, scale=None):
        """The faces in the next frame, all of which was looked at at this scale."""
        self.now_s += self.frame_s if after_s is None else after_s
        looks = None if scale is None else Looks(np.array([[0, 0, 640, 480]]), np.array([scale]))
        tracked = self.tracker.update(
            detections_of(*faces), threshold=THRESHOLD, pts_s=self.now_s, side_px=640, looks=looks
        )
        self.shown = tracked.above_or_in_face(THRESHOLD)
        return self.shown.faces

    def ids(self, *faces, after_s=None):
        return [face.id for face in self.see(*faces, after_s=after_s)]


def centre(face):
    return (face.box[0] + face.box[2]) / 2, (face.box[1] + face.box[3]) / 2


def test_a_face_keeps_its_number_and_a_new_one_gets_the_next():
    run = Run()
    for i in range(30):
        assert run.ids(made_face((200 + 4 * i, 200))) == [1]
    for i in range(30):
        assert run.ids(made_face((320, 200)), made_face((500 - 4 * i, 100), 0.5)) == [1, 2]


@pytest.mark.parametrize("raw", [False, True])
def test_two_faces_that_cross_keep_their_numbers(raw):
    """They pass at different heights, half covering each other."""
    run = Run(raw=raw)
    for i in range(61):
        left, right = made_face((100 + 7 * i, 200)), made_face((520 - 7 * i, 260), 1.1)
        one, two = sorted(run.see(*((left, right) if i % 2 else (right, left))), key=lambda f: f.box[3] - f.box[1])
        if i == 0:
            first = one.id, two.id
        assert (one.id, two.id) == first
        assert centre(one) == pytest.approx((100 + 7 * i, 200), abs=3)


def test_a_face_that_passes_behind_another_keeps_its_number():
    """For a third of a second only the one in front is seen."""
    run = Run()
    for i in range(60):
        behind, front = made_face((100 + 8 * i, 205), 0.9), made_face((330, 200), 1.1)
        hidden = abs(100 + 8 * i - 330) < 40
        ids = run.ids(*([front] if hidden else [front, behind]))
        if i == 0:
            assert ids == [1, 2]
        assert ids == ([1] if hidden else [1, 2])


@pytest.mark.parametrize("missing", [1, 2, 10])
def test_a_face_that_is_missed_keeps_its_number(missing):
    run = Run()
    for i in range(20):
        run.see(made_face((200 + 5 * i, 200)))
    for _ in range(missing):
        assert run.see() == ()
        assert len(run.shown) == 0
    assert run.ids(made_face((200 + 5 * (20 + missing), 200))) == [1]


def test_a_face_that_was_away_for_long_is_a_new_one_and_no_number_comes_again():
    run = Run()
    seen = []
    for _ in range(5):
        seen += run.ids(made_face())
        for _ in range(math.ceil(MAX_LOST_S / FRAME_S) + 1):
            run.see()
    assert seen == [1, 2, 3, 4, 5]


def test_a_fast_small_face_is_followed():
    """It goes on by its own width every frame, once it is known to be fast."""
    run = Run()
    way = np.cumsum(np.minimum(np.arange(25) * 3, 20))
    for x in way:
        assert run.ids(made_face((60 + x, 200), 0.2)) == [1]


@pytest.mark.parametrize("frame_s", [1 / 60, 1 / 10, 1 / 2, 2.0])
def test_numbers_last_at_any_frame_rate(frame_s):
    run = Run(frame_s=frame_s)
    for i in range(12):
        assert run.ids(made_face((200 + 3 * i, 200)), made_face((420, 200))) == [1, 2]


def test_numbers_last_at_a_varying_frame_rate():
    run = Run()
    for step_s in np.random.default_rng(0).uniform(0.005, 0.3, 60):
        way = 120 * (run.now_s + step_s)
        assert run.ids(made_face((100 + way, 200)), made_face((100 + way, 400)), after_s=step_s) == [1, 2]


@pytest.mark.parametrize("jump_s", [-10.0, 0.0, 100.0])
def test_a_clock_that_stands_still_or_jumps_does_no_harm(jump_s):
    run = Run()
    for _ in range(10):
        run.see(made_face())
    (face,) = run.see(made_face(), after_s=jump_s)
    assert face.id == 1
    assert face.box == pytest.approx(made_face()["face"][2], abs=1e-3)
    assert run.ids(made_face()) == [1]


def test_a_feature_goes_on_below_the_threshold():
    run = Run()
    for i in range(20):
        scores = {"left_eye": WEAK, "mouth": WEAK} if i % 3 == 1 else {}
        (face,) = run.see(made_face((200 + 2 * i, 200), scores=scores))
        assert len(face.features) == 6
        assert len(run.shown) == 7
        assert face.features["mouth"].score == pytest.approx(scores.get("mouth", 0.95))


def test_a_feature_does_not_begin_below_the_threshold_nor_go_on_far_below():
    run = Run()
    for _ in range(5):
        (face,) = run.see(made_face(scores={"left_eye": WEAK}))
        assert "left_eye" not in face.features
    run.see(made_face())
    (face,) = run.see(made_face(scores={"left_eye": TOO_WEAK}))
    assert "left_eye" not in face.features
    assert len(face.features) == len(run.shown) - 1 == 5


def test_a_feature_does_not_go_on_elsewhere():
    """A weak mouth at another place in the face is not the mouth that was there."""
    run = Run()
    run.see(made_face())
    elsewhere = {"mouth": ("mouth", WEAK, tuple(v - 40 * (i % 2) for i, v in enumerate(made_face()["mouth"][2])))}
    (face,) = run.see(made_face(without=("mouth",)) | elsewhere)
    assert "mouth" not in face.features


def test_a_face_goes_on_below_the_threshold_and_does_not_begin_there():
    run = Run()
    assert run.ids(made_face(scores={"face": WEAK})) == []
    assert len(run.shown) == 6  # its features are there, loose
    assert run.ids(made_face()) == [1]
    for _ in range(60):
        assert run.ids(made_face(scores={"face": WEAK})) == [1]
    assert run.ids(made_face(scores={"face": TOO_WEAK})) == []


def test_weak_boxes_do_not_take_a_sure_face_its_number():
    run = Run()
    run.see(made_face((300, 200)))
    weak = {"face": ("face", WEAK, made_face((302, 200))["face"][2])}
    (face,) = run.see(made_face((310, 200)), weak)
    assert face.id == 1
    assert face.score == pytest.approx(0.99)
    assert len(run.shown) == 7


def test_sides_stay_when_the_evidence_is_gone():
    """One eye alone may be either; it stays what it was."""
    run = Run()
    for _ in range(5):
        run.see(made_face(tilt_deg=40))
    rest = ("right_eye", "left_eyebrow", "right_eyebrow", "nose", "mouth")
    for _ in range(10):
        (face,) = run.see(made_face(tilt_deg=40, without=rest))
        assert list(face.features) == ["left_eye"]


def test_sides_follow_when_the_image_is_mirrored():
    """What is expected does not hold against what is seen."""
    tracker = FaceTracker(NAMES)
    plain = detections_of(made_face((320, 200), tilt_deg=20))
    for i in range(10):
        tracker.update(plain, threshold=THRESHOLD, pts_s=i * FRAME_S, side_px=640)
    tracked = tracker.update(mirrored(plain, 640), threshold=THRESHOLD, pts_s=10 * FRAME_S, side_px=640)
    (face,) = tracked.above_or_in_face(THRESHOLD).faces
    assert len(face.features) == 6
    assert face.features["left_eye"].box[0] > face.features["right_eye"].box[0]


def trembling_faces(count):
    rng = np.random.default_rng(0)
    for _ in range(count):
        x, y = rng.normal(0, 0.4, 2)
        yield made_face((300 + x, 200 + y))


@pytest.mark.parametrize("part", ["face", "left_eye", "mouth"])
def test_shown_boxes_are_steadier_than_raw_ones(part):
    raw, steady = Run(raw=True), Run()

    def edges(run):
        found = [run.see(face)[0] for face in trembling_faces(120)]
        return np.array([f.box if part == "face" else f.features[part].box for f in found])[30:]

    assert (edges(steady).std(axis=0) < 0.5 * edges(raw).std(axis=0)).all()


def test_the_detections_that_are_shown_have_the_boxes_of_the_faces():
    run = Run()
    loose = {"loose": ("nose", 0.9, (20, 20, 40, 50)), "weak": ("mouth", WEAK, (50, 20, 70, 50))}
    for face in trembling_faces(30):
        (found,) = run.see(face, loose)
    boxes = [tuple(box) for box in run.shown.boxes.tolist()]
    assert {found.box, *(feature.box for feature in found.features.values())} < set(boxes)
    assert (20, 20, 40, 50) in boxes
    assert len(boxes) == 8
    assert (np.diff(run.shown.scores) <= 0).all()
    assert run.shown.boxes.dtype == np.float32


def test_raw_shows_what_was_found():
    run = Run(raw=True)
    for face in trembling_faces(5):
        (found,) = run.see(face)
        assert found.box == pytest.approx(face["face"][2], abs=1e-3)
        assert run.shown.boxes.tolist() == detections_of(face).boxes.tolist()
    (found,) = run.see(made_face(scores={"nose": WEAK}))
    assert "nose" not in found.features
    assert found.id == 1


def test_the_threshold_may_change_on_the_way():
    tracker = FaceTracker(NAMES)
    found = detections_of(made_face(scores={"mouth": 0.5}))
    shown = [
        tracker.update(found, threshold=threshold, pts_s=i * FRAME_S, side_px=640).above_or_in_face(threshold)
        for i, threshold in enumerate((0.8, 0.4, 0.98))
    ]
    assert [len(detections) for detections in shown] == [6, 7, 7]


def test_one_hundred_faces_keep_their_numbers():
    run = Run()
    places = [(100 + 110 * (i % 10), 100 + 125 * (i // 10)) for i in range(100)]
    rng = np.random.default_rng(0)
    first = {}
    for i in range(4):
        shuffled = rng.permutation(100)
        faces = run.see(*(made_face((places[k][0] + 9 * i, places[k][1]), 0.9) for k in shuffled))
        assert len(faces) == 100
        assert all(len(face.features) == 6 for face in faces)
        for face in faces:
            x, y = centre(face)
            place = (round((x - 9 * i - 100) / 110), round((y - 100) / 125))
            assert first.setdefault(face.id, place) == place
    assert set(first) == set(range(1, 101))


def test_frames_without_anything_are_fine():
    run = Run()
    for _ in range(3):
        assert run.see() == ()
        assert run.shown.boxes.shape == (0, 4)


def test_a_model_without_faces_shows_what_it_found():
    tracker = FaceTracker(("cat", "dog"))
    found = Detections(np.array([[1, 2, 3, 4], [5, 6, 7, 8]], np.float32), np.array([0, 1]), np.array([0.9, 0.3]))
    shown = tracker.update(found, threshold=0.5, pts_s=0, side_px=640).above_or_in_face(0.5)
    assert shown.faces == ()
    assert shown.boxes.tolist() == [[1, 2, 3, 4]]


# Faces that no look of a frame could show

FAR, CLOSE = 0.1, 1.0
"""Scales at which a made face is 12 px and 116 px high in the network's input."""


def test_a_face_that_no_look_could_show_is_held_with_its_features_where_it_moves():
    run = Run()
    for i in range(8):
        run.see(made_face((200 + 5 * i, 200)), scale=CLOSE)
    (before,) = run.shown.faces
    for i in range(3):
        (face,) = run.see(scale=FAR)
        assert (face.id, face.score, set(face.features)) == (before.id, before.score, set(before.features))
        assert centre(face) == pytest.approx((200 + 5 * (8 + i), 200), abs=5)
        assert run.shown.scores.tolist() == sorted(run.shown.scores, reverse=True)
        nose = face.features["nose"].box
        assert (nose[0] + nose[2]) / 2 == pytest.approx(centre(face)[0], abs=3)
    assert [face.id for face in run.see(made_face((245, 200)), scale=CLOSE)] == [before.id]


def test_a_face_that_a_look_would_have_shown_is_gone():
    run = Run()
    run.see(made_face(), scale=CLOSE)
    assert run.see(scale=FAR)
    assert run.see(scale=0.9 * FACE_PX / 116, after_s=MAX_CLOSE_S)
    assert not run.see(scale=1.1 * FACE_PX / 116)
    run.see(made_face(), scale=CLOSE)
    assert not run.see()


def test_a_face_is_not_held_for_long():
    run = Run()
    run.see(made_face(), scale=CLOSE)
    held = 0
    while run.see(scale=FAR):
        held += 1
    assert held == pytest.approx(MAX_HELD_S * 30, abs=1)


def test_raw_faces_are_not_held():
    run = Run(raw=True)
    run.see(made_face(), scale=CLOSE)
    assert not run.see(scale=FAR)
    assert len(run.tracker.known()) == 1


def test_features_that_no_look_could_show_are_held_with_their_face():
    run = Run()
    whole = made_face()
    run.see(whole, scale=CLOSE)
    (face,) = run.see({"face": whole["face"]}, scale=FAR)
    assert len(face.features) == 6
    assert run.shown.names.count("face") == 1
    (face,) = run.see({"face": whole["face"]}, scale=CLOSE)
    assert not face.features


def test_the_box_of_a_coarse_look_gives_way_to_where_the_face_just_seen_closely_is_expected():
    run = Run()
    for _ in range(8):
        (before,) = run.see(made_face(), scale=CLOSE)
    wide = made_face(scale=1.3, scores={"face": 0.85})
    (face,) = run.see(wide, scale=FAR)
    assert face.box == pytest.approx(before.box, abs=1)
    assert (face.id, face.score) == (1, before.score)
    (face,) = run.see(wide, scale=1.1 * FEATURES_PX / 116)
    assert face.score == pytest.approx(0.85)
    (face,) = run.see(wide, scale=FAR, after_s=MAX_CLOSE_S + 0.01)
    assert face.id == 1
    assert face.score == pytest.approx(0.85)


def test_a_coarse_look_starts_and_continues_a_face_that_was_not_seen_closer():
    run = Run()
    for _ in range(5):
        assert [face.id for face in run.see(made_face(), scale=FAR)] == [1]


def test_known_faces_are_those_seen_and_those_just_lost():
    run = Run()
    for i in range(10):
        run.see(made_face((200 + 6 * i, 200)), *([made_face((500, 100), 0.5)] if i < 9 else []))
    known = run.tracker.known()
    assert (len(known), known.pts_s) == (2, run.now_s)
    assert known.speeds[0].tolist() == pytest.approx([180, 0, 180, 0], abs=20)
    assert known.scores.tolist() == pytest.approx([0.99, 0.99])
    run.see(after_s=MAX_HELD_S + 0.1)
    assert not len(run.tracker.known())


@pytest.mark.parametrize(("levels", "is_shown"), [(CALIBRATED, True), (UNCALIBRATED, False)])
def test_with_calibrated_scores_a_known_face_continues_from_one_in_ten_on(levels, is_shown):
    tracker = FaceTracker(NAMES, levels=levels)
    for i, score in enumerate((0.9, 0.11)):
        found = detections_of(made_face(scores={"face": score}))
        shown = tracker.update(found, threshold=0.5, pts_s=FRAME_S * i, side_px=640).above_or_in_face(0.5)
    assert (len(shown.faces) == 1) == is_shown

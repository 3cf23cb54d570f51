import cv2
import numpy as np
import pytest
from face_shape import landmarks_68, landmarks_98, pts_text, wflw_line
from tiny_data import noise_image, write_image

from train.errors import TrainError
from train.prepare.boxing import boxes_of_landmarks
from train.prepare.celebamask import read_celebamask
from train.prepare.pts import read_points, read_pts
from train.prepare.wflw import read_wflw

LEFT, RIGHT = landmarks_68(scale=60, at=(50, 40)), landmarks_68(scale=60, at=(150, 40))


def photo(path, seed=0):
    return write_image(path, noise_image(96, 200, seed))


def face_tops(source_photo) -> list[float]:
    """x1 of each face box, rounded."""
    return [
        round(box[0]) for box, class_id in zip(source_photo.boxes, source_photo.classes, strict=True) if class_id == 0
    ]


def test_pts_coordinates_of_the_first_pixel_are_half_a_pixel_from_the_edge(tmp_path):
    points = np.arange(136).reshape(68, 2) + 1.0
    (tmp_path / "a.pts").write_text("{\n" + "".join(f"{x} {y}\n" for x, y in points) + "}\n")

    assert read_points(tmp_path / "a.pts")[0].tolist() == [0.5, 1.5]


def test_pts_file_marks_the_photo_of_its_name(tmp_path):
    photo(tmp_path / "deep" / "a.jpg")
    photo(tmp_path / "unmarked.jpg")
    (tmp_path / "deep" / "a.pts").write_text(pts_text(LEFT))

    source = read_pts(tmp_path)

    assert [(p.path, p.name) for p in source.photos] == [(tmp_path / "deep" / "a.jpg", "deep/a")]
    assert source.photos[0].boxes == pytest.approx(boxes_of_landmarks(LEFT)[0], abs=0.01)
    assert source.notes == ["1 images without a .pts file left out"]
    assert source.problems == []


def test_pts_files_with_counters_share_a_photo(tmp_path):
    photo(tmp_path / "a.jpg")
    (tmp_path / "a_1.pts").write_text(pts_text(LEFT))
    (tmp_path / "a_2.pts").write_text(pts_text(RIGHT))

    (found,) = read_pts(tmp_path).photos

    assert (found.path.name, face_tops(found)) == ("a.jpg", [20, 120])


def test_photo_with_a_bad_pts_file_is_left_out_with_all_its_faces(tmp_path):
    photo(tmp_path / "a.jpg")
    (tmp_path / "a_1.pts").write_text(pts_text(LEFT))
    (tmp_path / "a_2.pts").write_text(pts_text(RIGHT[:60]))

    source = read_pts(tmp_path)

    assert (source.photos, len(source.problems)) == ([], 1)


def test_pts_copies_of_a_photo_are_one_with_all_its_faces(tmp_path):
    for name, points in (("a_1", LEFT), ("a_2", RIGHT), ("a_3", LEFT + 2)):  # the third marks the first again
        photo(tmp_path / f"{name}.png")
        (tmp_path / f"{name}.pts").write_text(pts_text(points))
    photo(tmp_path / "a_4.png", seed=1)
    (tmp_path / "a_4.pts").write_text(pts_text(RIGHT))

    first, other = read_pts(tmp_path).photos

    assert (first.path.name, face_tops(first)) == ("a_1.png", [20, 120])
    assert (other.path.name, face_tops(other)) == ("a_4.png", [120])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (pts_text(LEFT).replace("{", ""), "expected the points between a line '{' and a line '}', found no such"),
        (pts_text(LEFT[:67]), "expected 68 points, found 67"),
        (pts_text(LEFT * [1, 0]), "the points of the face span no area"),
        ("{\n1 2\n3\n}\n", ":3: expected a point 'x y', found '3'"),
        ("{\n1 two\n}\n", ":2: expected a point 'x y', found '1 two'"),
        ("{\n1 nan\n}\n", ":2: expected finite numbers, found '1 nan'"),
    ],
)
def test_malformed_pts_file_is_named_and_the_others_are_read(tmp_path, text, message):
    for name in ("bad", "good"):
        photo(tmp_path / f"{name}.jpg")
        (tmp_path / f"{name}.pts").write_text(pts_text(LEFT))
    (tmp_path / "bad.pts").write_text(text)

    source = read_pts(tmp_path)

    assert [p.name for p in source.photos] == ["good"]
    assert len(source.problems) == 1
    assert source.problems[0].startswith(f"{tmp_path / 'bad.pts'}:")
    assert message in source.problems[0]


def test_pts_file_without_a_photo_or_with_two_is_named(tmp_path):
    (tmp_path / "lost_1.pts").write_text(pts_text(LEFT))
    (tmp_path / "two.pts").write_text(pts_text(LEFT))
    (tmp_path / "latin.pts").write_bytes(b"\xff{")
    for name in ("two.jpg", "two.png", "latin.jpg"):
        photo(tmp_path / name)

    assert read_pts(tmp_path).problems == [
        f"{tmp_path / 'lost_1.pts'}: no photo lost.* or lost_1.* beside it",
        f"{tmp_path / 'two.pts'}: more than one photo beside it: two.jpg, two.png. Keep one of them",
        f"cannot read {tmp_path / 'latin.pts'}: not a UTF-8 text file",
    ]


def test_folder_without_pts_files_is_refused(tmp_path):
    photo(tmp_path / "a.jpg")

    with pytest.raises(TrainError, match=r"no \.pts files found"):
        read_pts(tmp_path)
    with pytest.raises(TrainError, match=r"cannot read .*nowhere: no such folder"):
        read_pts(tmp_path / "nowhere")


def test_wflw_lines_of_one_photo_are_its_faces(tmp_path):
    left, right = landmarks_98(60, (50, 40)), landmarks_98(60, (150, 40))
    lines = [wflw_line(left, "0--A/a b.jpg"), wflw_line(left, "0--A/c.jpg"), wflw_line(right, "0--A/a b.jpg")]
    (tmp_path / "list.txt").write_text("".join(lines))

    two, one = read_wflw(tmp_path / "list.txt", tmp_path).photos

    assert (two.path, two.name, face_tops(two)) == (tmp_path / "0--A" / "a b.jpg", "0--A/a b", [20, 120])
    assert (one.name, face_tops(one)) == ("0--A/c", [20])
    assert one.boxes == pytest.approx(boxes_of_landmarks(landmarks_68(60, (50, 40)))[0], abs=0.5)


def test_malformed_wflw_lines_are_named(tmp_path):
    good = wflw_line(landmarks_98(60, (50, 40)), "a.jpg")
    lines = [good, "1 2 3 c.jpg\n", good.replace(" ", " x", 1), "nan " + good.split(maxsplit=1)[1]]
    lines[2:] = [line.replace("a.jpg", "b.jpg") for line in lines[2:]]
    lines.append(" ".join(["5"] * 206) + " b.jpg\n")
    (tmp_path / "list.txt").write_text("".join(lines))

    source = read_wflw(tmp_path / "list.txt", tmp_path)

    wanted = ["found 4 fields", "could not convert string to float", "finite numbers", "span no area"]
    assert [p.name for p in source.photos] == ["a"]
    for number, (problem, text) in enumerate(zip(source.problems, wanted, strict=True), start=2):
        assert problem.startswith(f"{tmp_path / 'list.txt'}:{number}: ")
        assert text in problem


def test_empty_wflw_list_a_missing_list_and_a_missing_folder_are_refused(tmp_path):
    (tmp_path / "list.txt").write_text("\n")

    with pytest.raises(TrainError, match="the list is empty"):
        read_wflw(tmp_path / "list.txt", tmp_path)
    with pytest.raises(TrainError, match=r"cannot read .*none\.txt: No such file"):
        read_wflw(tmp_path / "none.txt", tmp_path)
    with pytest.raises(TrainError, match="--images is WFLW's folder WFLW_images"):
        read_wflw(tmp_path / "list.txt", tmp_path / "none")


@pytest.fixture
def write_masks(tmp_path):
    """Write the photo of a number, 128 px, and its masks of 64 px, each a rectangle x1 y1 x2 y2."""

    def write(number: int, **masks: tuple[int, int, int, int]) -> None:
        write_image(tmp_path / "CelebA-HQ-img" / f"{number}.jpg", noise_image(128, 128, number))
        for name, (x1, y1, x2, y2) in masks.items():
            mask = np.zeros((64, 64, 3), np.uint8)
            mask[y1:y2, x1:x2] = 255
            write_image(tmp_path / "CelebAMask-HQ-mask-anno" / "0" / f"{number:05}_{name}.png", mask)

    return write


def test_masks_become_boxes_in_pixels_of_the_photo(tmp_path, write_masks):
    write_masks(
        7, skin=(10, 2, 50, 60), r_brow=(30, 20, 40, 25), l_eye=(12, 26, 22, 31), nose=(25, 26, 35, 46),
        u_lip=(20, 48, 40, 50), l_lip=(20, 50, 38, 54), mouth=(0, 0, 0, 0), hair=(0, 0, 64, 20),
    )  # fmt: skip

    (found,) = read_celebamask(tmp_path).photos

    assert (found.path.name, found.name) == ("7.jpg", "7")
    assert found.classes.tolist() == [0, 1, 2, 3, 4]
    assert found.boxes.tolist() == [
        pytest.approx(2 * np.array([10, 20 - 0.18 * 40, 50, 60])),
        pytest.approx(2 * np.array([12 - 1.2, 26 - 1.5, 22 + 1.2, 31 + 1.5])),
        pytest.approx(2 * np.array([30 - 1, 20 - 1.2, 40 + 1, 25 + 1.2])),
        pytest.approx(2 * np.array([25 - 1, 26 - 1.6, 35 + 1, 46 + 1.6])),
        pytest.approx(2 * np.array([20 - 2, 48 - 1.12, 40 + 2, 54 + 1.12])),
    ]


def test_celebamask_without_what_a_face_needs_is_named(tmp_path, write_masks):
    write_masks(0, nose=(1, 1, 9, 9))
    write_masks(1, skin=(0, 0, 0, 0), nose=(1, 1, 9, 9))
    write_masks(2, skin=(1, 1, 30, 30), mouth=(5, 20, 9, 25))
    write_masks(3, skin=(1, 1, 30, 30), nose=(1, 1, 9, 9))
    (tmp_path / "CelebA-HQ-img" / "3.jpg").unlink()
    write_masks(4, skin=(1, 1, 30, 30), nose=(1, 1, 9, 9))
    masks = tmp_path / "CelebAMask-HQ-mask-anno" / "0"
    (masks / "00004_nose.png").write_bytes(b"no image")
    write_masks(5, skin=(1, 1, 30, 30))
    write_image(masks / "00005_nose.png", np.full((32, 32, 3), 255, np.uint8))

    source = read_celebamask(tmp_path)

    assert source.photos == []
    assert [problem.split(": ", 1)[1] for problem in source.problems] == [
        f"no mask of the skin beside {masks / '00000_nose.png'}",
        "the mask of the skin is empty",
        "neither an eyebrow, an eye nor a nose is visible: the forehead cannot be separated from the face",
        "no photo 3.jpg for the masks 00003_*.png",
        "not a readable image",
        "expected a mask of the skin's size (64, 64), found (32, 32)",
    ]


def test_folder_without_masks_is_refused(tmp_path):
    with pytest.raises(TrainError, match=r"CelebAMask-HQ-mask-anno: no such folder"):
        read_celebamask(tmp_path)
    (tmp_path / "CelebAMask-HQ-mask-anno").mkdir()
    with pytest.raises(TrainError, match="no masks found"):
        read_celebamask(tmp_path)


def test_masks_may_be_grey_or_coloured(tmp_path, write_masks):
    write_masks(0, skin=(1, 1, 30, 30), nose=(10, 10, 20, 20))
    nose = tmp_path / "CelebAMask-HQ-mask-anno" / "0" / "00000_nose.png"
    cv2.imwrite(str(nose), cv2.imread(str(nose), cv2.IMREAD_GRAYSCALE))

    assert read_celebamask(tmp_path).photos[0].boxes[1].tolist() == pytest.approx([18, 18.4, 42, 41.6])

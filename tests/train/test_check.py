import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny_data import noise_image, write_image

from train.data.check import check_data
from train.data.check_report import Kind, Report
from train.data.data_yaml import load_data_config
from train.data.dataset import load_split
from train.data.images import read_image
from train.errors import TrainError

NEEDS = ". A data set needs 'names', 'train' and 'val'"
LABELS = "0 0.5 0.5 0.5 0.25\n1 0.25 0.5 0.25 0.5\n"


@pytest.fixture
def root(tmp_path) -> Path:
    """A sound data set of two images in each of two splits."""
    for split, seeds in (("train", (0, 1)), ("val", (2, 3))):
        for seed in seeds:
            write_image(tmp_path / "images" / split / f"{seed}.jpg", noise_image(64, 128, seed))
            write_labels(tmp_path, f"{split}/{seed}", LABELS)
    write_data(tmp_path, "train: images/train\nval: images/val")
    return tmp_path


def write_data(root: Path, splits: str) -> None:
    (root / "data.yaml").write_text(f"names: [face, eye]\n{splits}\n")


def write_labels(root: Path, name: str, text: str) -> Path:
    path = root / "labels" / f"{name}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def truncate(path: Path, *, missing: int) -> None:
    path.write_bytes(path.read_bytes()[:-missing])


def found(root: Path, **kwargs) -> list[tuple[Kind, str]]:
    """Problems, with file names relative to the data set."""
    return [(p.kind, p.message.replace(f"{root}/", "")) for p in check_data(root / "data.yaml", **kwargs).problems]


def kinds(report: Report) -> set[Kind]:
    return {problem.kind for problem in report.problems}


def test_sound_data_set_has_no_problems(root, train_cli):
    assert found(root, size=64) == []

    code, out, err = train_cli("check", root / "data.yaml")

    assert (code, err) == (0, "")
    assert out.splitlines()[0] == ("train: 2 images, 0 with an empty label file, 0 without label file, 0 unreadable")
    assert out.splitlines()[-1] == f"{root}/data.yaml: 0 errors, 0 warnings"


def test_all_problems_are_reported_at_once(root, train_cli):
    write_labels(root, "train/0", "0 0.5 0.5\n1 0.25 0.5 0.25 0.5\n\n7 0.5 0.5 0.1 0.1\n")
    truncate(root / "images/train/1.jpg", missing=2)
    (root / "images/train/4.png").write_bytes(b"no picture")
    shutil.copy(root / "images/val/2.jpg", root / "images/train/5.jpg")
    (root / "train.txt").write_text("images/train/0.jpg\nimages/train/gone.jpg\n")
    write_data(root, "train: [images/train, train.txt, nowhere]\nval: images/val")

    code, out, err = train_cli("check", root / "data.yaml")

    assert (code, err) == (1, "")
    at = f"{root}/"
    for line in (
        f"  {at}data.yaml: 'train' names {at}nowhere, which is neither a folder of images nor a .txt list",
        f"  {at}train.txt:2: image {at}images/train/gone.jpg not found",
        f"  {at}labels/train/0.txt:1: expected 'class cx cy w h' (5 numbers) or a polygon (class + 3 or more points), "
        "found 3 numbers",
        f"  {at}labels/train/0.txt:4: class id 7 is not in 'names' (0 to 1)",
        f"  cannot read image {at}images/train/1.jpg: it is cut short",
        f"  cannot read image {at}images/train/4.png: not a readable image",
        f"  {at}images/val/2.jpg: in 'val', same pixels as {at}images/train/5.jpg in 'train'",
        f"  {at}train.txt:1: {at}images/train/0.jpg is listed already, in {at}images/train",
        f"  {at}data.yaml: no box of 'face' in split 'train'",
        f"{at}data.yaml: 7 errors, 2 warnings",
    ):
        assert any(shown.startswith(line) for shown in out.splitlines()), line


def test_each_problem_of_a_file_is_reported_once(root):
    """Though the file is listed twice, and in two splits."""
    write_labels(root, "train/0", "nonsense\n")
    write_data(root, "train: [images/train, images/train]\nval: images/train")

    assert [message for kind, message in found(root) if kind is Kind.LABEL] == [
        "labels/train/0.txt:1: expected 'class cx cy w h' (5 numbers) or a polygon (class + 3 or more points), "
        "found 1 numbers"
    ]


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        ("train: images/train\nval: images/val", ["key 'names' is missing" + NEEDS]),
        (
            "train: nowhere\nnames: [a, a]",
            [
                "'train' names nowhere, which is neither a folder of images nor a .txt list",
                "key 'val' is missing" + NEEDS,
                "'names' holds a class name twice: a, a",
            ],
        ),
        ("names: [face, eye]\nval: images/val", ["key 'train' is missing" + NEEDS]),
    ],
)
def test_problems_of_data_yaml_are_collected(root, text, messages):
    (root / "data.yaml").write_text(text)

    assert found(root) == [(Kind.DATA, f"data.yaml: {message}") for message in messages]


def test_a_split_in_order_is_checked_though_another_is_not(root):
    write_labels(root, "val/2", "0 0.5 0.5 0.5 2\n")
    write_data(root, "train: nowhere\nval: images/val")

    assert [kind for kind, _ in found(root)] == [Kind.DATA, Kind.LABEL]


def test_splits_without_images_or_labels_are_errors(root):
    (root / "empty").mkdir()
    shutil.rmtree(root / "labels" / "val")
    write_data(root, "train: empty\nval: images/val")

    assert found(root) == [
        (Kind.DATA, "data.yaml: split 'train' has no images. Looked in: empty"),
        (Kind.DATA, "data.yaml: split 'val' has no labelled box. Looked for labels such as labels/val/2.txt"),
    ]


def test_splits_that_share_a_folder_are_an_error(root):
    write_data(root, "train: images/train\nval: ./images/../images/train")

    problems = found(root)

    assert problems[0] == (
        Kind.DATA,
        "data.yaml: 'val' names images/../images/train, which 'train' names too. Give each split its own images",
    )
    assert [kind for kind, _ in problems[1:]] == 2 * [Kind.LEAK]


def test_image_listed_in_two_splits_is_a_leak(root):
    (root / "val.txt").write_text("images/val/2.jpg\n\nimages/train/1.jpg\n")
    write_data(root, "train: images/train\nval: val.txt")

    assert found(root) == [
        (Kind.LEAK, "val.txt:3: images/train/1.jpg is in 'val', and by images/train in 'train'"),
    ]


def test_same_pixels_in_another_file_are_the_same_image(root):
    """Whatever the format: the copy is lossless, its bytes are others."""
    write_image(root / "images/train/copy.png", cv2.imread(str(root / "images/train/0.jpg"))[..., ::-1])
    write_labels(root, "train/copy", LABELS)

    assert found(root) == [(Kind.DUPLICATE_IMAGE, "images/train/copy.png: same pixels as images/train/0.jpg")]


def test_one_pixel_makes_another_image(root):
    picture = cv2.imread(str(root / "images/train/0.jpg"))[..., ::-1].copy()
    picture[0, 0, 0] ^= 1
    write_image(root / "images/train/other.png", picture)

    assert found(root) == []


def test_a_copy_with_other_colours_in_another_split_is_a_warning(root, train_cli):
    picture = cv2.imread(str(root / "images/train/0.jpg"))[..., ::-1]
    write_image(root / "images/val/pale.png", (picture * 0.5 + 100).astype(np.uint8))
    write_labels(root, "val/pale", LABELS)

    [(kind, message)] = found(root)

    assert kind is Kind.NEAR_DUPLICATE
    assert message.startswith(
        "images/val/pale.png: in 'val', near-duplicate of images/train/0.jpg in 'train' (correlation "
    )
    assert train_cli("check", root / "data.yaml")[0] == 0


def test_link_to_a_listed_image_is_that_image(root):
    (root / "images/train/link.jpg").symlink_to("0.jpg")

    assert [kind for kind, _ in found(root)] == [Kind.LISTED_TWICE]


def test_repeated_label_lines_name_the_first(root):
    write_labels(root, "train/0", f"{LABELS}\n0 .50 0.5 0.5 0.25\n1 0.5 0.5 0.5 0.25\n")

    assert found(root) == [
        (Kind.DUPLICATE_LABEL, "labels/train/0.txt:4: expected a box of its own, found that of line 1 again")
    ]


def test_boxes_beyond_the_border_by_more_than_rounding(root):
    """The image is 128 px wide: 0.9 px out at the right, and 0.4 px."""
    write_labels(root, "train/0", f"0 0.757 0.5 0.5 0.5\n0 0.753 0.5 0.5 0.5\n{LABELS}")

    assert found(root) == [
        (
            Kind.CLIPPED_BOX,
            "labels/train/0.txt:1: expected a box within the image, found one that reaches 0.9 px outside, "
            "which is clipped",
        )
    ]


def test_tiny_boxes_are_judged_at_the_size_of_the_input(root):
    write_labels(root, "train/0", f"0 0.5 0.5 0.0625 0.0625\n{LABELS}")  # 8x4 px of 128x64

    assert found(root) == []
    assert found(root, size=64) == [
        (
            Kind.TINY_BOX,
            "labels/train/0.txt:1: expected a box of 2.5x5 px or more, found 4.0x2.0 px at input size 64",
        )
    ]


def test_label_files_without_image(root):
    write_labels(root, "train/gone", LABELS)
    (root / "labels/train/notes.md").touch()

    assert found(root) == [(Kind.NO_IMAGE, "labels/train/gone.txt: expected an image images/train/gone.*, found none")]


def test_images_that_no_split_lists_still_have_their_labels(root):
    """And a list among the images is not taken for labels."""
    for path in (root / "images/train").iterdir():
        path.rename(root / path.name)
    for path in (root / "labels/train").iterdir():
        path.rename(root / path.name)
    (root / "train.txt").write_text("0.jpg\n")
    write_data(root, "train: train.txt\nval: images/val")

    assert found(root) == []


def test_counts_and_sizes(root):
    write_labels(root, "train/4", "")
    for seed in (4, 5):  # one with an empty label file, one without
        write_image(root / "images/train" / f"{seed}.png", noise_image(64, 64, seed))
    write_labels(root, "train/6", "0 0.5 0.5 0.5 0.5\n")
    write_image(root / "images/train/6.png", noise_image(64, 64, 6))
    (root / "train.txt").write_text("images/train/4.png\n")
    write_data(root, "train: [images/train, train.txt]\nval: images/val")

    train, val = check_data(root / "data.yaml", size=32).splits

    assert (train.name, train.images, train.listed) == ("train", 5, 6)
    assert (train.empty_label_file, train.no_label_file, train.unreadable) == (1, 1, 0)
    assert [(c.name, c.boxes, c.images) for c in train.classes] == [("face", 3, 3), ("eye", 2, 2)]
    face, eye = train.classes
    # Faces are 64x16 px in two images of 128x64 and 32x32 px in one of 64x64; at 32 px 16x4 and 16x16.
    assert face.width_px == pytest.approx(np.percentile([64, 64, 32], (5, 50, 95)), abs=0.05)
    assert face.height_px == pytest.approx(np.percentile([16, 16, 32], (5, 50, 95)), abs=0.05)
    assert face.input_width_px == (16, 16, 16)
    assert face.input_height_px == pytest.approx(np.percentile([4, 4, 16], (5, 50, 95)), abs=0.05)
    assert (eye.width_px, eye.height_px) == ((32, 32, 32), (32, 32, 32))
    assert (val.images, val.listed, val.empty_label_file, val.no_label_file) == (2, 2, 0, 0)


def test_table_gives_sizes_of_the_input_on_demand(root, train_cli):
    _, out, _ = train_cli("check", root / "data.yaml", "--size", "32")

    assert " ".join(out.splitlines()[1].split()) == "class boxes images width px height px width at 32 height at 32"
    assert out.splitlines()[2].split() == ["face", "2", "2", "64/64/64", "16/16/16", "16/16/16", "4/4/4"]
    assert "at" not in train_cli("check", root / "data.yaml")[1].splitlines()[1]


def test_unreadable_images_are_no_background_and_have_no_boxes(root):
    (root / "images/train/0.jpg").write_bytes(b"")
    (root / "images/train/4.jpg").write_bytes(b"")  # without label file

    train = check_data(root / "data.yaml").splits[0]

    assert (train.images, train.unreadable, train.no_label_file) == (3, 2, 0)
    assert [c.boxes for c in train.classes] == [1, 1]


def test_limit_holds_for_each_kind_and_the_total_is_reported(root, train_cli):
    write_labels(root, "train/0", "a\nb\nc\n" + 3 * LABELS)

    code, out, _ = train_cli("check", root / "data.yaml", "--limit", "2")

    assert code == 1
    lines = out.splitlines()
    start = lines.index("error: malformed label: 3")
    assert [line.split(":")[1] for line in lines[start + 1 : start + 3]] == ["1", "2"]
    assert lines[start + 3] == "  … 1 more; --limit shows more, --json writes all"
    assert "warning: duplicate label: 4" in lines
    assert lines[-1].endswith("3 errors, 4 warnings")


def test_warnings_alone_exit_with_0(root, train_cli):
    write_labels(root, "train/gone", LABELS)

    assert train_cli("check", root / "data.yaml")[0] == 0


def test_json_has_all_problems_whatever_the_limit(root, train_cli, tmp_path_factory):
    write_labels(root, "train/0", "a\nb\n" + LABELS + LABELS)
    path = tmp_path_factory.mktemp("report") / "check.json"

    train_cli("check", root / "data.yaml", "--limit", "0", "--size", "32", "--json", path)

    report = json.loads(path.read_text())
    assert (report["errors"], report["warnings"], report["size"]) == (2, 2, 32)
    assert [p["level"] for p in report["problems"]] == ["error", "error", "warning", "warning"]
    assert report["problems"][0]["kind"] == "malformed label"
    assert report["problems"][0]["message"].startswith(f"{root}/labels/train/0.txt:1: ")
    assert [split["name"] for split in report["splits"]] == ["train", "val"]
    assert report["splits"][0]["classes"][1]["name"] == "eye"


def test_json_needs_its_folder_before_the_work(root, train_cli):
    code, out, err = train_cli("check", root / "data.yaml", "--json", root / "none" / "check.json")

    assert (code, out) == (1, "")
    assert err == f"error: cannot write {root}/none/check.json: folder {root}/none does not exist\n"


def test_no_data_yaml_is_an_error(tmp_path, train_cli):
    code, out, _ = train_cli("check", tmp_path / "data.yaml")

    assert code == 1
    assert f"cannot read {tmp_path}/data.yaml: No such file or directory" in out


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".webp", ".tif"])
@pytest.mark.parametrize("missing", [2, 500])
def test_truncated_images_of_any_format_are_found(tmp_path, suffix, missing):
    path = write_image(tmp_path / f"a{suffix}", noise_image(64, 64, 0))
    assert read_image(path).shape == (64, 64, 3)

    truncate(path, missing=missing)

    with pytest.raises(TrainError, match=rf"cannot read image .*a\{suffix}: "):
        read_image(path)


def test_jpeg_by_another_name_is_checked_as_one(tmp_path):
    path = write_image(tmp_path / "a.jpg", noise_image(64, 64, 0)).rename(tmp_path / "a.png")
    truncate(path, missing=100)

    with pytest.raises(TrainError, match="it is cut short"):
        read_image(path)


def test_what_passes_the_check_can_be_loaded(root):
    """Both read through the same functions: what check calls an error stops training, and the other way round."""
    write_labels(root, "train/0", "0 0.5 0.5 0.5 1.018\n1 0.5 0.5 0.1 0.1\n")
    assert kinds(check_data(root / "data.yaml")) == {Kind.CLIPPED_BOX}
    assert len(load_split(load_data_config(root / "data.yaml"), "train")[0].classes) == 2

    write_labels(root, "train/0", "0 0.5 0.5 0.5 1.025\n")
    assert Kind.LABEL in kinds(check_data(root / "data.yaml"))
    with pytest.raises(TrainError):
        load_split(load_data_config(root / "data.yaml"), "train")


def test_label_file_that_is_no_text(root):
    (root / "labels/train/0.txt").write_bytes(b"\xff\x00")

    assert found(root)[0] == (Kind.LABEL, "cannot read labels/train/0.txt: not a UTF-8 text file")


def test_a_test_split_that_is_not_there_is_a_warning(root, train_cli):
    write_data(root, "train: ../images/train\nval: ../images/val\ntest: ../images/test")

    code, out, err = train_cli("check", root / "data.yaml")

    assert (code, err) == (0, "")
    assert "warning: test split: 1" in out.splitlines()
    assert f"'test' names {root}/../images/test, which is neither a folder of images nor a .txt list" in out


def test_a_test_split_without_labels_is_a_warning(root):
    write_image(root / "images/test/9.jpg", noise_image(64, 128, 9))
    write_data(root, "train: images/train\nval: images/val\ntest: images/test")

    assert found(root) == [
        (Kind.TEST_SPLIT, "data.yaml: split 'test' has no labelled box. Looked for labels such as labels/test/9.txt")
    ]


def test_images_that_share_a_label_file_are_named(root):
    for suffix in ("png", "bmp"):
        write_image(root / "images/train" / f"0.{suffix}", noise_image(64, 128, ord(suffix[0])))

    assert found(root) == [
        (
            Kind.SHARED_LABELS,
            "labels/train/0.txt: expected the labels of one image, found images/train/0.bmp and images/train/0.jpg and "
            "images/train/0.png: they can only belong to one of them",
        )
    ]


def test_linked_label_folders_are_shared_as_well(root):
    shutil.rmtree(root / "labels/val")
    for path, name in zip(sorted((root / "images/val").iterdir()), "01", strict=True):
        path.rename(path.with_stem(name))
    (root / "labels/val").symlink_to("train")

    assert [kind for kind, _ in found(root)] == 2 * [Kind.SHARED_LABELS]


def test_images_without_a_label_file_or_linked_to_each_other_share_nothing(root):
    write_image(root / "images/train/7.png", noise_image(64, 128, 7))
    write_image(root / "images/train/7.jpg", noise_image(64, 128, 8))
    (root / "images/train/1.png").symlink_to("1.jpg")

    assert Kind.SHARED_LABELS not in kinds(check_data(root / "data.yaml"))


@pytest.mark.parametrize(
    ("place", "advice"),
    [
        ("Labels/val/2.txt", "Labels are read from 'labels'"),
        ("images/val/2.txt", "Labels are read from 'labels'"),
        ("labels/2.txt", "Labels are read from 'labels'"),
        ("Annotations/2.xml", "Convert it with 'realtime train prepare voc'"),
        ("Annotations/val/2.xml", "Convert it with 'realtime train prepare voc'"),
        ("images/val/2.xml", "Convert it with 'realtime train prepare voc'"),
    ],
)
def test_labels_in_another_place_are_named(root, place, advice):
    shutil.rmtree(root / "labels" / "val")
    (root / place).parent.mkdir(parents=True, exist_ok=True)
    (root / place).write_text(LABELS)

    kind, message = found(root)[0]
    assert kind is Kind.DATA
    assert message.startswith(
        "data.yaml: split 'val' has no labelled box. Looked for labels such as labels/val/2.txt, "
        f"but found {place}. {advice}"
    )


def test_labels_of_images_below_a_folder_in_capitals(root):
    (root / "images").rename(root / "Images")
    write_data(root, "train: Images/train\nval: Images/val")

    assert [message.split(". ")[1] for _, message in found(root)] == [
        f"Looked for labels such as Images/{split}.txt, but found labels/{split}.txt" for split in ("train/0", "val/2")
    ]


def test_one_folder_of_a_split_with_its_labels_elsewhere_is_a_warning(root):
    write_image(root / "more/Images/8.png", noise_image(64, 128, 8))
    write_image(root / "rooms/0.png", noise_image(64, 128, 9))  # without objects; the labels are of another image
    write_labels(root / "more", "8", LABELS)
    write_data(root, "train: [images/train, more/Images, rooms]\nval: images/val")

    [(kind, message)] = found(root)

    assert kind is Kind.LABELS_ELSEWHERE
    assert message.startswith("more/Images: no image has a label file, but there is more/labels/8.txt. Labels are read")

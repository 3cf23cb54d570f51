"""``realtime label``: photos and frames become a data set."""

import csv
import json
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from realtime.cli import app
from realtime.errors import RealtimeError
from realtime.labelling.doubt import doubt_of
from realtime.labelling.labelled import inside
from realtime.score_levels import CALIBRATED
from realtime.structures import Detections


def label(*arguments: object) -> tuple[int, str]:
    """Exit code and what was printed to standard error, an error that ends the command included."""
    result = CliRunner().invoke(app, ["label", *map(str, arguments)])
    error = result.exception if isinstance(result.exception, RealtimeError) else ""
    return result.exit_code, f"{result.stderr}{error}"


@pytest.fixture(scope="module")
def made(tmp_path_factory, request) -> dict[str, Path]:
    """A folder of each format, made of the same photos and clip."""
    root = Path(request.config.rootpath)
    folder = tmp_path_factory.mktemp("label")
    sources = folder / "in"
    (sources / "more").mkdir(parents=True)
    for photo in (root / "export" / "images").iterdir():
        shutil.copy(photo, sources / "more")
    shutil.copy(root / "samples" / "astronaut.mp4", sources)
    (sources / "notes.txt").write_text("not labelled")
    outs = {}
    for name in ("yolo", "coco", "label-studio", "cvat"):
        outs[name] = folder / name
        code, _ = label(sources, "--out", outs[name], "--format", name, "--every", 48, "--review", "--model", "pico")
        assert code == 0
    return outs


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "images.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_photos_are_copied_byte_for_byte(made, photos):
    stored = {path.read_bytes() for path in (made["yolo"] / "images").iterdir()}
    assert {path.read_bytes() for path in photos.glob("*.jpg")} < stored


def test_the_least_certain_come_first_in_every_list(made):
    rows = table(made["coco"])
    doubts = [float(row["doubt"]) for row in rows]
    assert doubts == sorted(doubts, reverse=True)
    order = [row["image"] for row in rows]
    coco = json.loads((made["coco"] / "instances.json").read_text())
    assert [image["file_name"] for image in coco["images"]] == order
    cvat = ET.parse(made["cvat"] / "annotations.xml").getroot()
    assert [image.get("name") for image in cvat.iter("image")] == order
    tasks = json.loads((made["label-studio"] / "tasks.json").read_text())
    assert [task["data"]["image"].rpartition("/")[2] for task in tasks] == order
    train = (made["yolo"] / "train.txt").read_text().split()
    assert train == [f"images/{name}" for name in order if f"images/{name}" in train]


def test_coco_is_read_by_its_own_library(made):
    coco = pytest.importorskip("pycocotools.coco").COCO(made["coco"] / "instances.json")
    assert [category["name"] for category in coco.loadCats(coco.getCatIds())][:2] == ["face", "eye"]
    assert len(coco.anns) == sum(int(row["labels"]) for row in table(made["coco"]))
    for image in coco.imgs.values():
        stored = cv2.imread(str(made["coco"] / "images" / image["file_name"]))
        assert stored.shape[:2] == (image["height"], image["width"])
    for annotation in coco.anns.values():
        x, y, width, height = annotation["bbox"]
        image = coco.imgs[annotation["image_id"]]
        assert 0 <= x < x + width <= image["width"] + 0.01
        assert 0 <= y < y + height <= image["height"] + 0.01


def test_the_interface_of_label_studio_names_every_class_in_order(made):
    root = ET.parse(made["label-studio"] / "labels.xml").getroot()
    assert [entry.get("value") for entry in root.iter("Label")] == ["face", "eye", "eyebrow", "nose", "mouth"]
    tasks = json.loads((made["label-studio"] / "tasks.json").read_text())
    (tag,) = root.iter("RectangleLabels")
    regions = [region for task in tasks for region in task["predictions"][0]["result"]]
    assert {(region["from_name"], region["to_name"]) for region in regions} == {(tag.get("name"), tag.get("toName"))}


def test_the_review_shows_doubtful_images_only(made):
    page = (made["yolo"] / "review.html").read_text(encoding="utf-8")
    doubtful = [row["image"] for row in table(made["yolo"]) if float(row["doubt"]) >= CALIBRATED.doubt]
    certain = [row["image"] for row in table(made["yolo"]) if float(row["doubt"]) < CALIBRATED.doubt - 0.001]
    assert doubtful
    assert all(f'src="images/{name}"' in page for name in doubtful)
    assert not any(f'src="images/{name}"' in page for name in certain)


def test_a_frame_like_an_earlier_one_is_left_out(tmp_path):
    still = np.full((96, 128, 3), 90, np.uint8)
    cv2.rectangle(still, (20, 20), (60, 70), (200, 30, 30), -1)
    other = cv2.resize(np.random.default_rng(0).integers(0, 255, (12, 16, 3), np.uint8), (128, 96))
    writer = cv2.VideoWriter(str(tmp_path / "still.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 10, (128, 96))
    for image in [still] * 5 + [other] * 5:
        writer.write(image)
    writer.release()
    code, text = label(tmp_path / "still.mp4", "--out", tmp_path / "out", "--every", 1, "--model", "pico")
    assert code == 0
    assert "2 images" in text
    assert "left out 8 frames like an earlier one" in text
    code, text = label(
        tmp_path / "still.mp4", "--out", tmp_path / "all", "--every", 1, "--model", "pico", "--keep-duplicates"
    )
    assert "10 images" in text


def test_names_never_meet(tmp_path, photos):
    cat = photos / "chelsea.jpg"
    for name in ("a/b.jpg", "a-b.jpg", "A-B.png", "images/x y\u00e9<1>.jpg", "b.tiff"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(cv2.imencode(path.suffix, cv2.imread(str(cat)))[1].tobytes())
    code, _ = label(tmp_path / "in", "--out", tmp_path / "out", "--model", "pico", "--reach", "near")
    assert code == 0
    stored = sorted(path.name for path in (tmp_path / "out" / "images").iterdir())
    assert stored == ["A-B.png", "a-b-2.jpg", "a-b-3.jpg", "b.jpg", "images-x-y\u00e9-1.jpg"]
    labels = sorted(path.stem for path in (tmp_path / "out" / "labels").iterdir())
    assert labels == sorted(Path(name).stem for name in stored)


def test_a_photo_that_is_turned_by_exif_is_stored_upright(tmp_path, photos):
    pillow = pytest.importorskip("PIL.Image")
    with pillow.open(photos / "astronaut.jpg") as image:
        exif = image.getexif()
        exif[0x0112] = 6
        image.save(tmp_path / "turned.jpg", exif=exif)
        size_wh = image.size
    assert label(tmp_path / "turned.jpg", "--out", tmp_path / "out", "--model", "pico")[0] == 0
    raw = cv2.imread(str(tmp_path / "out" / "images" / "turned.jpg"), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    assert raw.shape[1::-1] == size_wh[::-1]


def test_what_cannot_be_read_is_reported_and_the_rest_goes_on(tmp_path, photos):
    (tmp_path / "bad.jpg").write_bytes(b"no")
    (tmp_path / "bad.mp4").write_bytes(b"no")
    code, text = label(tmp_path, photos, "--out", tmp_path / "out", "--model", "pico")
    assert code == 1
    assert "bad.jpg: not a readable image" in text
    assert "bad.mp4: not a readable video file" in text
    assert f"{len(list(photos.glob('*.jpg')))} images" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nix.jpg"], "cannot label nix.jpg: not found"),
        (["{empty}"], "the folder holds no photos or videos"),
        (["{photo}", "--format", "voc"], "'voc' is not one of 'yolo', 'coco', 'label-studio', 'cvat'"),
        (["{photo}", "--every", "0"], "should be greater than or equal to 1"),
        (["{photo}", "--model", "nix"], "neither a file nor a model that comes with the app"),
    ],
)
def test_bad_input_leaves_no_folder(tmp_path, photos, arguments, message):
    (tmp_path / "empty").mkdir()
    places = {"empty": tmp_path / "empty", "photo": photos / "rocket.jpg"}
    code, text = label(*(argument.format(**places) for argument in arguments), "--out", tmp_path / "out")
    assert code != 0
    assert message in " ".join(text.replace("│", " ").split())
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_a_folder_that_holds_something_is_never_written_to(tmp_path, photos):
    (tmp_path / "mine.txt").write_text("keep")
    code, text = label(photos / "rocket.jpg", "--out", tmp_path, "--model", "pico")
    assert code == 1
    assert "it is not an empty folder; choose another name" in text
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_the_command_itself_runs(tmp_path, photos):
    command = [sys.executable, "-m", "realtime", "label", photos, "--out", tmp_path / "out", "--model", "pico"]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1].endswith(f"; wrote {tmp_path / 'out'}")


@pytest.mark.parametrize(
    ("scores", "threshold", "doubt"),
    [([], 0.5, 0), ([0.5], 0.5, 1), ([1.0, 0.0], 0.5, 0), ([0.9, 0.4], 0.8, 0.5), ([0.2], 0.8, 0.25), ([0.3], 0, 0.7)],
)
def test_doubt_is_greatest_at_the_threshold(scores, threshold, doubt):
    assert doubt_of(np.array(scores, np.float32), threshold) == pytest.approx(doubt)


def test_boxes_are_clipped_to_the_image():
    boxes = np.array([[-5, -5, 20, 20], [40, 40, 60, 60], [10, 10, 10.4, 30]], np.float32)
    found = inside(Detections(boxes, np.arange(3), np.array([0.9, 0.8, 0.7], np.float32), ("a", "b", "c")), (50, 50))
    assert found.boxes.tolist() == [[0, 0, 20, 20], [40, 40, 50, 50]]
    assert found.names == ["a", "b"]

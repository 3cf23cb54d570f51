import shutil
import subprocess
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from tiny_data import CLASS_NAMES, make_data_set, noise_image, write_image

import train.evaluation.predict
from train.data.images import read_image
from train.errors import TrainError
from train.evaluation import drawing
from train.evaluation.drawing import CLASS_COLOURS, ERROR_COLOUR, Mark, draw_boxes
from train.evaluation.evaluate import Detected
from train.evaluation.matching import Boxes
from train.evaluation.predict import draw_outcome, find_images, outcome, worst_first
from train.evaluation.report import write_report
from train.models.architectures import ModelConfig, build_model
from train.models.checkpoint import Checkpoint

RED, BLUE = 1, 2
BOX, ELSEWHERE = (8, 8, 24, 24), (40, 40, 56, 56)
GREY = (114, 114, 114)


def boxes(*detections: tuple[int, float, tuple[float, ...]]) -> Boxes:
    labels, scores, corners = zip(*detections, strict=True) if detections else ((), (), ())
    return Boxes(np.array(corners, np.float32).reshape(-1, 4), np.array(labels, np.int64), np.array(scores, np.float32))


class Page(HTMLParser):
    """What stands in a page: text by tag, and the attributes of figures, images and links."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.text: dict[str, list[str]] = {}
        self.attributes: dict[str, list[dict[str, str]]] = {}
        self._open: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.attributes.setdefault(tag, []).append(dict(attrs))
        if tag not in ("img", "meta"):
            self._open.append(tag)
            self.text.setdefault(tag, []).append("")

    def handle_data(self, data):
        for tag in set(self._open):
            self.text[tag][-1] += data

    def handle_endtag(self, tag):
        assert self._open.pop() == tag


# Ranking


def test_worst_first_by_errors_then_by_overlap():
    truth = boxes((RED, 1, BOX), (BLUE, 1, ELSEWHERE))
    exact, loose = (RED, 0.9, BOX), (RED, 0.9, (8, 8, 24, 18))
    blue = (BLUE, 0.9, ELSEWHERE)
    cases = {
        "right": [exact, blue],
        "loose": [loose, blue],
        "missed": [exact],
        "missed, loose": [loose],
        "class taken for another": [exact, (RED, 0.9, ELSEWHERE)],
        "all wrong": [(BLUE, 0.9, BOX)],
        "twice": [exact, (RED, 0.8, BOX), blue],
    }
    outcomes = [outcome(Path(name), truth, boxes(*found)) for name, found in cases.items()]

    assert [o.path.name for o in worst_first(outcomes)] == [
        "all wrong", "class taken for another", "missed, loose", "missed", "twice", "loose", "right",
    ]  # fmt: skip
    by_name = {o.path.name: o for o in outcomes}
    assert (by_name["all wrong"].missed.tolist(), by_name["all wrong"].false_positives.tolist()) == ([0, 1], [0])
    assert (by_name["twice"].missed.tolist(), by_name["twice"].false_positives.tolist()) == ([], [1])
    assert by_name["loose"].error_key == pytest.approx((0, 1 - 10 / 16))


# Drawing


def colour_at(picture, x, y):
    return tuple(picture[y, x].tolist())


def test_solid_box_has_its_colour_all_along_and_leaves_the_image_as_it_was():
    image = np.full((64, 64, 3), 114, np.uint8)

    drawn = draw_boxes(image, [Mark(BOX, CLASS_COLOURS[0])])

    assert all(colour_at(drawn, x, 8) == colour_at(drawn, 8, x) == CLASS_COLOURS[0] for x in range(8, 24))
    assert colour_at(drawn, 16, 16) == colour_at(drawn, 40, 40) == GREY
    assert (image == 114).all()


def test_dashed_box_has_gaps():
    drawn = draw_boxes(np.full((64, 64, 3), 114, np.uint8), [Mark((4, 4, 60, 60), ERROR_COLOUR, dashed=True)])

    for along in (drawn[4, 4:60], drawn[60, 4:60], drawn[4:60, 4], drawn[4:60, 60]):
        colours = [tuple(pixel) for pixel in along.tolist()]
        changes = sum(a != b for a, b in pairwise(colours))
        assert set(colours) == {ERROR_COLOUR, (255, 255, 255)}
        assert changes >= 6
    assert colour_at(drawn, 30, 30) == GREY


def test_a_detector_that_finds_hundreds_of_boxes_gets_a_page_all_the_same(monkeypatch):
    captions = []
    monkeypatch.setattr(drawing, "_draw_caption", lambda _, mark, *__: (captions.append(mark.caption), mark.box)[1])

    marks = [Mark((i, i, i + 9, i + 9), (0, 255, 0), str(i)) for i in range(150)]
    drawn = draw_boxes(noise_image(200, 200, seed=0), marks)

    assert captions == [str(i) for i in range(drawing.MAX_CAPTIONS)]
    assert (drawn[149] == (0, 255, 0)).all(axis=1).any()  # the boxes are all drawn


def test_captions_hide_neither_their_boxes_nor_one_another():
    image = np.full((300, 300, 3), 114, np.uint8)
    colours = [(10 * i, 0, 250) for i in range(1, 5)]
    marks = [Mark((140, 140 + 3 * i, 160, 150 + 3 * i), c, f"caption {i}") for i, c in enumerate(colours)]

    drawn = draw_boxes(image, marks)

    one_area = (draw_boxes(image, marks[:1]) == colours[0]).all(axis=2).sum()
    for mark in marks:
        assert (drawn == mark.colour).all(axis=2).sum() > 0.8 * one_area  # 20 x 10 px of box, the rest is caption
    bare = draw_boxes(image, [Mark(m.box, m.colour) for m in marks])
    assert (drawn[140:160, 142:158] == bare[140:160, 142:158]).mean() > 0.95


@pytest.mark.parametrize("box", [(0, 0, 5, 5), (35, 35, 40, 40), (0, 0, 40, 40)])
def test_caption_is_drawn_in_an_image_that_is_too_small_for_it(box):
    drawn = draw_boxes(np.full((40, 40, 3), 114, np.uint8), [Mark(box, ERROR_COLOUR, "missed eyebrow")])

    assert (drawn == ERROR_COLOUR).all(axis=2).sum() > 200


@pytest.fixture
def grey_photo(tmp_path):
    """64 x 32 px; in a network input of 64 px it lies between rows 16 and 48, drawn it is ten times as large."""
    return write_image(tmp_path / "grey.png", np.full((32, 64, 3), 114, np.uint8))


def test_labels_left_and_predictions_right(grey_photo):
    found = outcome(
        grey_photo,
        boxes((RED, 1, (10, 20, 20, 30)), (BLUE, 1, (40, 20, 50, 30))),
        boxes((RED, 0.9, (10, 20, 20, 29)), (BLUE, 0.8, (25, 34, 35, 44))),
    )

    picture = draw_outcome(found, CLASS_NAMES, size=64, with_labels=True)

    strip, gap, width = 24, 4, 640
    assert picture.shape == (strip + 320, 2 * width + gap, 3)
    left, right = picture[strip:, :width], picture[strip:, width + gap :]
    # Left both labelled boxes, in the colours of their classes.
    assert colour_at(left, 150, 40) == CLASS_COLOURS[0]
    assert colour_at(left, 450, 40) == CLASS_COLOURS[1]
    assert not (left == ERROR_COLOUR).all(axis=2).any()
    # Right the match where it was found, the miss dashed, the false positive solid.
    assert colour_at(right, 150, 129) == CLASS_COLOURS[0]
    assert {tuple(pixel) for pixel in right[140, 410:490].tolist()} == {ERROR_COLOUR, (255, 255, 255)}
    assert {tuple(pixel) for pixel in right[180, 260:340].tolist()} == {ERROR_COLOUR}
    assert not (right == CLASS_COLOURS[1]).all(axis=2).any()


def test_without_labels_there_is_one_panel_in_the_colours_of_the_classes(grey_photo):
    found = outcome(grey_photo, boxes(), boxes((BLUE, 0.9, (10, 20, 20, 30))))

    picture = draw_outcome(found, CLASS_NAMES, size=64, with_labels=False)

    assert picture.shape == (24 + 320, 640, 3)
    assert colour_at(picture, 150, 24 + 40) == CLASS_COLOURS[1]
    assert not (picture == ERROR_COLOUR).all(axis=2).any()


def test_large_photos_are_reduced(tmp_path):
    path = write_image(tmp_path / "large.png", noise_image(800, 1600, seed=0))

    assert draw_outcome(outcome(path, boxes(), boxes()), CLASS_NAMES, size=64, with_labels=False).shape[1] == 1280


# The page


def test_page_tells_of_each_image_and_escapes_names(tmp_path):
    path = write_image(tmp_path / '<b>"x"&.png', np.full((32, 32, 3), 90, np.uint8))
    plain = write_image(tmp_path / "plain.png", np.full((32, 32, 3), 90, np.uint8))
    out = tmp_path / "out"
    out.mkdir()
    outcomes = [
        outcome(path, boxes((RED, 1, BOX), (BLUE, 1, ELSEWHERE)), boxes((RED, 0.9, BOX), (BLUE, 0.8, BOX))),
        outcome(plain, boxes((RED, 1, BOX)), boxes((RED, 0.9, BOX))),
    ]

    index = write_report(outcomes, ("<red>", "blue"), out, title="a & b", size=64, with_labels=True)

    page = Page(index)
    assert page.text["h1"] == ["a & b"]
    assert page.text["b"] == [str(path), str(plain)]
    assert [c.split(": ")[1] for c in page.text["figcaption"]] == [
        "1 missed (blue), 1 false (blue), mean IoU 1.00",
        "0 missed, 0 false, mean IoU 1.00",
    ]
    assert [(f["data-missed"], f["data-false"]) for f in page.attributes["figure"]] == [("2", "2"), ("", "")]
    *images, large = page.attributes["img"]
    assert "src" not in large  # of what is looked at closely
    assert [i["src"] for i in images] == [a["href"] for a in page.attributes["a"]]
    assert page.attributes["img"][0]["alt"] == '<b>"x"&.png'
    for picture in images:
        assert read_image(out / picture["src"]).shape == (int(picture["height"]), int(picture["width"]), 3)
    rows = [row.split() for row in page.text["tr"]]
    cells = iter(page.text["td"])
    assert len(rows) == 3
    assert list(zip(*5 * [cells], strict=True)) == [("<red>", "2", "2", "0", "0"), ("blue", "1", "0", "1", "1")]
    assert [o["value"] for o in page.attributes["option"]] == ["", "any", "missed", "false", "none", "", "1", "2"]
    assert "http" not in index.read_text()  # readable without a network
    assert sorted(p.name for p in out.iterdir()) == ["0001.jpg", "0002.jpg", "index.html"]


BROWSER = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def page_of_errors(tmp_path_factory):
    """Three images: a red box missed; a blue one too many; nothing wrong."""
    folder = tmp_path_factory.mktemp("page")
    path = write_image(folder / "a.png", np.full((32, 32, 3), 90, np.uint8))
    red = (RED, 1, BOX)
    outcomes = [
        outcome(path, boxes(red), boxes()),
        outcome(path, boxes(red), boxes((RED, 0.9, BOX), (BLUE, 0.8, ELSEWHERE))),
        outcome(path, boxes(red), boxes((RED, 0.9, BOX))),
    ]
    return write_report(outcomes, ("red", "blue"), folder, title="errors", size=64, with_labels=True)


@pytest.mark.skipif(BROWSER is None, reason="needs Chromium")
@pytest.mark.parametrize(
    ("keys", "shown", "looked_at"),
    [
        ([], [1, 2, 3], None), (["m"], [1], None), (["e", "2"], [2], None), (["f", "1"], [], None),
        (["m", "c"], [3], None), (["ArrowRight", "ArrowRight"], [1, 2, 3], 2), (["f", "k"], [2], 2),
    ],
)  # fmt: skip
def test_the_page_filters_and_enlarges_by_keys(page_of_errors, tmp_path, keys, shown, looked_at):
    """As a browser shows it, from the file."""
    pressed = "".join(
        f'document.body.dispatchEvent(new KeyboardEvent("keydown", {{key: "{key}", bubbles: true}}));' for key in keys
    )
    text = page_of_errors.read_text(encoding="utf-8").replace("</body>", f"<script>{pressed}</script></body>")
    page = tmp_path / "index.html"
    page.write_text(text, encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--dump-dom"]
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    done = subprocess.run([BROWSER, *options, profile, page.as_uri()], capture_output=True, text=True, check=True)
    dom = tmp_path / "dom.html"
    dom.write_text(done.stdout, encoding="utf-8")
    seen = Page(dom)
    assert [i for i, figure in enumerate(seen.attributes["figure"], start=1) if "hidden" not in figure] == shown
    assert ("open" in seen.attributes["dialog"][0]) == (looked_at is not None)
    if looked_at:
        assert seen.attributes["img"][-1]["src"].endswith(f"{looked_at:04}.jpg")


# The command


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """An untrained model, which chose the threshold 0.3 on val."""
    path = tmp_path_factory.mktemp("model") / "best.pt"
    config = ModelConfig("nano", CLASS_NAMES, 64)
    Checkpoint(config, build_model(config).state_dict(), {"metrics": {"threshold": 0.3}}).save(path)
    return path


@pytest.fixture
def data(tmp_path):
    return make_data_set(tmp_path / "data", train=1, val=4)


@pytest.fixture
def finds_reds_only(monkeypatch):
    """The model finds each red box, but in the third image nothing; and with score 0.2 something everywhere."""

    def detect(_model, images, *, size, **_):
        for n, image in enumerate(images):
            truth = Boxes(image.boxes * size, image.classes + 1, np.ones(len(image.classes), np.float32))
            reds = [(RED, 0.9, tuple(box)) for box in truth.boxes[truth.labels == RED]] if n != 2 else []
            yield Detected(truth, boxes(*reds, (RED, 0.2, (0, 0, 64, 64))), np.zeros(len(truth.labels), np.float32))

    monkeypatch.setattr(train.evaluation.predict, "detect", detect)


def names(out: Path) -> list[str]:
    return [Path(text).name for text in Page(out / "index.html").text["b"]]


@pytest.mark.usefixtures("finds_reds_only")
def test_predict_with_a_data_set(train_cli, checkpoint, data, tmp_path):
    out = tmp_path / "a" / "out"

    code, said, err = train_cli("predict", checkpoint, data.parent / "images" / "val", "--labels", data, "--out", out,
                                "--device", "cpu")  # fmt: skip

    assert (code, err) == (0, "")
    # Of three images with a red and a blue box each two miss the blue one, the third both.
    assert said == f"4 images at score threshold 0.30, 4 misses and false positives: {out}/index.html\n"
    assert names(out) == ["002.png", "000.png", "001.png", "003.png"]


@pytest.mark.usefixtures("finds_reds_only")
def test_predict_takes_threshold_and_worst(train_cli, checkpoint, data, tmp_path):
    code, said, _ = train_cli(
        "predict", checkpoint, data.parent / "images" / "val", "--labels", data.parent / "labels" / "val",
        "--out", tmp_path, "--threshold", "0.1", "--worst", "1",
    )  # fmt: skip

    assert code == 0
    assert said.startswith("4 images at score threshold 0.10, 8 misses and false positives: ")
    assert names(tmp_path) == ["002.png"]
    assert Page(tmp_path / "index.html").text["td"][:5] == ["red box", "3", "2", "1", "4"]  # of all images
    assert [p.name for p in tmp_path.glob("*.jpg")] == ["0001.jpg"]


def test_predict_without_labels_keeps_the_order(train_cli, checkpoint, data, tmp_path):
    images = [data.parent / "images" / "val" / name for name in ("003.png", "001.png")]

    code, said, err = train_cli("predict", checkpoint, *images, "--out", tmp_path / "out", "--device", "cpu")

    assert (code, err) == (0, "")
    assert said == f"2 images at score threshold 0.30: {tmp_path}/out/index.html\n"
    assert names(tmp_path / "out") == ["003.png", "001.png"]
    page = Page(tmp_path / "out" / "index.html")
    assert "missed" not in " ".join(page.text["figcaption"])
    assert "select" not in page.text


def test_labels_of_a_folder_go_by_the_stem(data, tmp_path):
    photos = [write_image(tmp_path / "photos" / f"{n}.png", np.zeros((8, 8, 3), np.uint8)) for n in ("000", "other")]

    labelled, other = find_images(photos, data.parent / "labels" / "val", CLASS_NAMES)

    assert labelled.classes.tolist() == [0, 1]
    assert other.classes.tolist() == []


def test_images_of_one_stem_cannot_share_the_labels_of_a_folder(data, tmp_path):
    photos = [write_image(tmp_path / folder / "000.png", np.zeros((8, 8, 3), np.uint8)) for folder in ("a", "b")]
    labels = data.parent / "labels" / "val"

    with pytest.raises(TrainError, match=r"a/000\.png and .*b/000\.png would both have the labels of .*val/000\.txt"):
        find_images(photos, labels, CLASS_NAMES)
    assert len(find_images([photos[0], photos[0]], labels, CLASS_NAMES)) == 2


def test_mistakes_are_named(data, tmp_path):
    photo = write_image(tmp_path / "photos" / "x.png", np.zeros((8, 8, 3), np.uint8))
    (tmp_path / "empty").mkdir()

    with pytest.raises(TrainError, match=r"no images in .*empty: expected \.jpg"):
        find_images([tmp_path / "empty"], None, CLASS_NAMES)
    with pytest.raises(TrainError, match=r"--labels .*empty: none of 1 images has a label file. Looked for .*x\.txt"):
        find_images([photo], tmp_path / "empty", CLASS_NAMES)
    with pytest.raises(TrainError, match=r"--labels .*data\.yaml names red box, blue disc, but the model finds face"):
        find_images([photo], data, ("face",))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--worst", "3"], "--worst 3: without labels there are no errors to sort by. Add --labels DATA.yaml|DIR"),
        (["--labels", "no.yaml"], "cannot read no.yaml: No such file or directory"),
    ],
)
def test_command_names_mistakes_in_one_line(train_cli, checkpoint, data, tmp_path, more, message):
    code, _, err = train_cli("predict", checkpoint, data.parent / "images" / "val", "--out", tmp_path / "out", *more)

    assert (code, err) == (1, f"error: {message}\n")
    assert not (tmp_path / "out").exists()


def test_image_that_cannot_be_read_is_named(train_cli, checkpoint, tmp_path):
    (tmp_path / "x.jpg").write_text("no picture")

    code, _, err = train_cli("predict", checkpoint, tmp_path / "x.jpg", "--out", tmp_path / "out")

    assert (code, err) == (1, f"error: cannot read image {tmp_path}/x.jpg: not a readable image\n")


def test_image_that_cannot_be_written_is_named(grey_photo, tmp_path):
    (tmp_path / "0001.jpg").mkdir()

    with pytest.raises(TrainError, match=r"cannot write .*0001\.jpg"):
        write_report(
            [outcome(grey_photo, boxes(), boxes())], CLASS_NAMES, tmp_path, title="", size=64, with_labels=True
        )

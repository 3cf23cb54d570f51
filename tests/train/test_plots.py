import warnings

import cv2
import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager
from matplotlib.colors import to_rgb

from realtime.drawing.colours import PALETTE_BGR
from train.evaluation.drawing import CLASS_COLOURS
from train.evaluation.line_labels import spread
from train.evaluation.matching import Boxes
from train.evaluation.metrics import THRESHOLDS, evaluate_boxes
from train.evaluation.plot_style import plot_style
from train.evaluation.plots import (
    plot_confusion,
    plot_curves,
    plot_evaluation,
    plot_f1,
    plot_ious,
    plot_precision_recall,
)

NAMES = ("face", "eye", "ear")
BOX, ELSEWHERE = (0, 0, 10, 10), (50, 50, 60, 60)


def boxes(*detections: tuple[int, float, tuple[float, ...]]) -> Boxes:
    labels, scores, corners = zip(*detections, strict=True) if detections else ((), (), ())
    return Boxes(np.array(corners, np.float32).reshape(-1, 4), np.array(labels, np.int64), np.array(scores, np.float32))


@pytest.fixture(scope="module")
def metrics():
    """Both faces and one eye of two found, one false positive; no ear is labelled. The best threshold is 0.56."""
    labelled = [boxes((1, 1, BOX), (2, 1, BOX)), boxes((1, 1, BOX), (2, 1, BOX))]
    predicted = [
        boxes((1, 0.955, BOX), (2, 0.855, (0, 0, 10, 8)), (2, 0.555, ELSEWHERE)),
        boxes((1, 0.755, (0, 0, 10, 6))),
    ]
    return evaluate_boxes(labelled, predicted, NAMES)


def lines(figure):
    return {line.get_label(): line for line in figure.axes[0].lines}


def legend(figure):
    """The names at the lines, from top to bottom."""
    named = [text for text in figure.axes[0].texts if text.get_transform() == figure.axes[0].transAxes]
    return [text.get_text() for text in sorted(named, key=lambda text: -text.get_position()[1])]


def test_precision_recall_has_a_line_for_each_labelled_class(metrics):
    figure = plot_precision_recall(metrics)

    # Of the eyes one of two is found, without an error before: precision 1 at 51 of 101 recalls.
    assert legend(figure) == ["face, AP50 1.000", "eye, AP50 0.505"]
    eye = lines(figure)["eye, AP50 0.505"]
    assert eye.get_ydata()[eye.get_xdata() <= 0.5] == pytest.approx(1)
    assert eye.get_ydata()[eye.get_xdata() > 0.5] == pytest.approx(0)
    assert to_rgb(eye.get_color()) == pytest.approx(np.array(CLASS_COLOURS[1]) / 255)


def test_f1_marks_the_best_threshold(metrics):
    figure = plot_f1(metrics)

    assert metrics.best_threshold == 0.56
    assert legend(figure) == ["face", "mean", "eye"]
    assert "best threshold 0.56, mean F1 0.833" in [text.get_text().strip() for text in figure.axes[0].texts]
    drawn = lines(figure)
    at_best = int(np.abs(THRESHOLDS - 0.56).argmin())
    assert [drawn[name].get_ydata()[at_best] for name in ("face", "eye", "mean")] == pytest.approx([1, 2 / 3, 5 / 6])
    assert drawn["eye"].get_ydata()[at_best - 2] == pytest.approx(0.5)  # with the false positive
    assert set(drawn["_best threshold"].get_xdata()) == {0.56}


def test_confusion_shows_counts_and_shares(metrics):
    axes = plot_confusion(metrics).axes[0]

    assert [tick.get_text() for tick in axes.get_yticklabels()] == [*NAMES, "background"]
    cells = {tuple(reversed(text.get_position())): text.get_text() for text in axes.texts}
    assert cells == {(0, 0): "2\n100.0%", (1, 1): "1\n50.0%", (1, 3): "1\n50.0%"}
    shares = np.asarray(axes.images[0].get_array())
    assert shares.tolist() == [[1, 0, 0, 0], [0, 0.5, 0, 0.5], [0, 0, 0, 0], [0, 0, 0, 0]]


def test_iou_histogram_counts_the_matched_pairs(metrics):
    figure = plot_ious(metrics)

    assert [axes.texts[0].get_text() for axes in figure.axes] == [
        "face: 2 pairs, mean 0.800",
        "eye: 1 pairs, mean 0.800",
    ]
    heights = [[bar.get_height() for bar in axes.patches] for axes in figure.axes]
    assert [sum(h) for h in heights] == [2, 1]
    tallest = figure.axes[1].patches[int(np.argmax(heights[1]))]
    assert tallest.get_x() - 0.001 <= 0.8 <= tallest.get_x() + tallest.get_width() + 0.001


PICTURES = ["confusion.png", "f1_confidence.png", "iou.png", "precision_recall.png", "reliability.png"]


def test_all_are_written(metrics, tmp_path):
    plot_evaluation(metrics, tmp_path)

    assert sorted(path.name for path in tmp_path.iterdir()) == PICTURES
    for name in PICTURES:
        assert cv2.imread(str(tmp_path / name)).std() > 10  # not a blank sheet


def test_nothing_labelled_and_nothing_found_can_be_drawn(tmp_path):
    plot_evaluation(evaluate_boxes([boxes()], [boxes()], NAMES), tmp_path)

    assert sorted(path.name for path in tmp_path.iterdir()) == PICTURES


def test_many_classes_have_distinct_lines():
    names = tuple(f"class {i}" for i in range(14))
    image = boxes(*((i + 1, 1.0, (20 * i, 0, 20 * i + 10, 10)) for i in range(14)))

    drawn = lines(plot_precision_recall(evaluate_boxes([image], [image], names)))

    assert (
        len(
            {(drawn[f"{name}, AP50 1.000"].get_color(), drawn[f"{name}, AP50 1.000"].get_linestyle()) for name in names}
        )
        == 14
    )


def named(*names: str):
    image = boxes(*((i + 1, 1.0, (20 * i, 0, 20 * i + 10, 10)) for i in range(len(names))))
    return evaluate_boxes([image], [image], names)


@pytest.fixture
def font(tmp_path, monkeypatch):
    """A font of this one character, installed since matplotlib made its list."""
    path = tmp_path / "one.ttf"
    builder = FontBuilder(1000)
    builder.setupGlyphOrder([".notdef", "sun"])
    builder.setupCharacterMap({ord("日"): "sun"})
    pen = TTGlyphPen(None)
    for point, draw in (((0, 0), pen.moveTo), ((0, 900), pen.lineTo), ((900, 900), pen.lineTo), ((900, 0), pen.lineTo)):
        draw(point)
    pen.closePath()
    glyph = pen.glyph()
    builder.setupGlyf({".notdef": TTGlyphPen(None).glyph(), "sun": glyph})
    builder.setupHorizontalMetrics({".notdef": (1000, 0), "sun": (1000, 0)})
    builder.setupHorizontalHeader(ascent=900, descent=-100)
    builder.setupNameTable({"familyName": "One Character", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(path)
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [str(path), str(tmp_path / "none.ttf")])
    return path


@pytest.mark.usefixtures("font")
def test_names_are_written_in_an_installed_font_that_has_them():
    with plot_style(["日", "face"]):
        axes = plot_confusion(named("日", "face")).axes[0]
        families = axes.get_yticklabels()[0].get_fontfamily()

    assert families == ["DejaVu Sans", "One Character"]
    with plot_style(["face"]):
        assert plot_confusion(named("face")).axes[0].get_yticklabels()[0].get_fontfamily() == ["DejaVu Sans"]


@pytest.mark.parametrize(
    "names",
    [
        ("日本", "얼굴", "😀"),
        ("$5 and $6", "$\\nonsense{$", "_hidden", "a_b^c"),
        tuple(f"{'a very long class name ' * 8}{i}" for i in range(12)),
    ],
)
def test_any_names_are_drawn_without_a_warning(tmp_path, names, capfd):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plot_evaluation(named(*names), tmp_path)
        (tmp_path / "losses.csv").write_text("images_seen,loss\n1,2\n")
        columns = ["f1_" + name.replace(",", "") for name in names]
        (tmp_path / "metrics.csv").write_text(f"images_seen,{','.join(columns)}\n1{',0.5' * len(names)}\n")
        plot_curves(tmp_path)

    assert capfd.readouterr() == ("", "")
    assert sorted(path.name for path in tmp_path.glob("*.png")) == sorted([*PICTURES, "curves.png"])


def test_names_are_no_formulas_and_all_are_in_the_legend():
    with plot_style(["$a$", "_b"]):
        figure = plot_precision_recall(named("$a$", "_b"))

    assert sorted(legend(figure)) == [" _b, AP50 1.000", "$a$, AP50 1.000"]
    assert not figure.axes[0].texts[0].get_parse_math()


@pytest.mark.parametrize("wanted", [[0.5], [0.9, 0.9, 0.9], [0.0, 0.01, 0.02], [1.0] * 30, [0.2, 0.8, 0.21, 0.79]])
def test_names_at_lines_lie_apart_in_the_order_of_the_lines(wanted):
    places = spread(wanted)
    assert all(0 <= place <= 1.001 for place in places)
    in_order = sorted(range(len(wanted)), key=lambda i: places[i])
    assert [wanted[i] for i in in_order] == sorted(wanted)
    gaps = np.diff([places[i] for i in in_order])
    assert (gaps >= min(0.055, 1 / max(1, len(wanted) - 1)) - 1e-9).all()


def test_classes_have_the_colours_that_the_app_gives_them():
    assert tuple(colour[::-1] for colour in PALETTE_BGR) == CLASS_COLOURS

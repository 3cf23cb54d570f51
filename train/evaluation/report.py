"""A page of predictions: ``index.html`` and a drawn image for each input, readable offline."""

from collections import Counter
from collections.abc import Sequence
from html import escape
from pathlib import Path

import cv2
import numpy as np

from realtime.errors import SinkError
from realtime.image_io import write_image
from train.errors import TrainError
from train.evaluation.drawing import class_colour
from train.evaluation.predict import Outcome, draw_outcome
from train.evaluation.report_page import KEYS, KEYS_WITHOUT_LABELS, KINDS, LEGEND, SCRIPT, STYLE


def write_report(
    outcomes: Sequence[Outcome],
    class_names: Sequence[str],
    out: Path,
    *,
    title: str,
    size: int,
    with_labels: bool,
    show: int | None = None,
) -> Path:
    """Write the page and its images, numbered in its order.

    Args:
        outcomes: the matched images, in the order of the page.
        class_names: names of the labels 1, 2, ….
        out: an existing folder.
        title: heading of the page.
        size: side in pixels of the network's input.
        with_labels: whether the images are labelled, so that errors can be reported.
        show: number of images to show; None for all. The table of classes counts all.

    Returns:
        The path of ``index.html``.

    Raises:
        TrainError: an image cannot be written.
    """
    figures = []
    for i, found in enumerate(outcomes[:show], start=1):
        name = f"{i:04}.jpg"
        drawn = draw_outcome(found, class_names, size=size, with_labels=with_labels)
        try:
            write_image(out / name, drawn[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])
        except SinkError as error:
            raise TrainError(str(error)) from error
        figures.append(_figure(found, class_names, i, name, drawn, with_labels=with_labels))
    head = f"{_class_table(outcomes, class_names)}<p>{LEGEND}</p>\n" if with_labels else ""
    keys = f"{_filter(class_names)}<small>{KEYS}</small>" if with_labels else f"<small>{KEYS_WITHOUT_LABELS}</small>"
    page = out / "index.html"
    page.write_text(
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(title)}</title>\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n<h1>{escape(title)}</h1>\n"
        f"<p>{len(figures)} of {len(outcomes)} images</p>\n{head}<nav>{keys}</nav>\n<main>\n{''.join(figures)}</main>\n"
        f'<dialog><img alt=""><span></span></dialog>\n<script>{SCRIPT}</script>\n'
        "</body>\n</html>\n",
        encoding="utf-8",
        errors="backslashreplace",
    )
    return page


def _figure(
    found: Outcome, class_names: Sequence[str], rank: int, name: str, drawn: np.ndarray, *, with_labels: bool
) -> str:
    if with_labels:
        missed, false = found.labelled.labels[found.missed], found.predicted.labels[found.false_positives]
        matched = found.ious[found.partners >= 0]
        numbers = f"{len(missed)} missed{_listed(missed, class_names)}, {len(false)} false{_listed(false, class_names)}"
        numbers += f", mean IoU {matched.mean():.2f}" if len(matched) else ""
        errors = f' data-missed="{_ids(missed)}" data-false="{_ids(false)}"'
    else:
        numbers = f"{len(found.predicted.labels)} found{_listed(found.predicted.labels, class_names)}"
        errors = ""
    height, width = drawn.shape[:2]
    return (
        f'<figure{errors}><a href="{name}">'
        f'<img src="{name}" width="{width}" height="{height}" loading="lazy" alt="{escape(found.path.name)}"></a>\n'
        f"<figcaption>{rank}. <b>{escape(str(found.path))}</b>: {escape(numbers)}</figcaption></figure>\n"
    )


def _ids(labels: np.ndarray) -> str:
    return " ".join(str(label) for label in np.unique(labels).tolist())


def _listed(labels: np.ndarray, class_names: Sequence[str]) -> str:
    """Class names with how often each occurs, in parentheses; nothing for no labels."""
    counts = sorted(Counter(labels.tolist()).items())
    names = [class_names[label - 1] + (f" x{n}" if n > 1 else "") for label, n in counts]
    return f" ({', '.join(names)})" if names else ""


def _class_table(outcomes: Sequence[Outcome], class_names: Sequence[str]) -> str:
    rows = []
    for label, name in enumerate(class_names, start=1):
        labelled = sum(int((o.labelled.labels == label).sum()) for o in outcomes)
        missed = sum(int((o.labelled.labels[o.missed] == label).sum()) for o in outcomes)
        false = sum(int((o.predicted.labels[o.false_positives] == label).sum()) for o in outcomes)
        cells = "".join(f"<td>{count}</td>" for count in (labelled, labelled - missed, missed, false))
        red, green, blue = class_colour(label - 1)
        swatch = f'<i style="background: rgb({red} {green} {blue})"></i>'
        rows.append(f"<tr><td>{swatch}{escape(name)}</td>{cells}</tr>\n")
    head = "".join(f"<th>{word}</th>" for word in ("class", "labelled", "found", "missed", "false positives"))
    return f"<table>\n<tr>{head}</tr>\n{''.join(rows)}</table>\n"


def _filter(class_names: Sequence[str]) -> str:
    kinds = "".join(f'<option value="{value}">{words}</option>' for value, words in KINDS.items())
    labels = "".join(f'<option value="{i}">{escape(name)}</option>' for i, name in enumerate(class_names, start=1))
    return (
        f'<label>Show <select id="kind">{kinds}</select></label>'
        f'<label>of <select id="label"><option value="">any class</option>{labels}</select></label>'
        '<span id="count"></span>'
    )

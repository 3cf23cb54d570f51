"""An HTML page of the images that deserve a look, with their boxes; it works from the file."""

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from realtime.drawing.colours import colour_of
from realtime.labelling.labelled import Label, LabelledImage, labels_of
from realtime.redaction import redacted

MAX_SHOWN = 500
STYLE = """
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif; }
body { margin: 2rem; }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(24rem, 1fr)); gap: 1.5rem; }
figure { margin: 0; }
div { position: relative; }
img { display: block; width: 100%; }
svg { position: absolute; inset: 0; width: 100%; height: 100%; }
rect { fill: none; stroke-width: 2; vector-effect: non-scaling-stroke; pointer-events: all; }
.rejected { stroke-dasharray: 4 3; }
figcaption { overflow-wrap: anywhere; }
.key { display: inline-block; width: 1em; height: 1em; margin: 0 .3em 0 1em; vertical-align: -.15em; }
"""


def write_review(path: Path, images: Sequence[LabelledImage]) -> None:
    """Write the page beside the folder ``images``: those that are doubtful, in the order given.

    Labels have whole lines, what was found below the threshold dashed ones; the pointer shows class and score.
    """
    doubtful = [image for image in images if image.is_doubtful]
    path.write_text("\n".join(_page(doubtful[:MAX_SHOWN], len(doubtful), len(images))), encoding="utf-8")


def _page(images: Sequence[LabelledImage], doubtful: int, total: int) -> Iterator[str]:
    yield f'<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>Review of labels</title><style>{STYLE}</style>'
    yield '<meta name="viewport" content="width=device-width">'
    shown = f", the first {len(images)} of which are shown" if len(images) < doubtful else ""
    yield f"<h1>Doubtful labels</h1><p>{doubtful} of {total} images{shown}, the least certain first. Whole lines are "
    yield "labels, dashed ones boxes whose score is below the threshold. Point at a box for its class and score.</p>"
    yield f"<p>{_key(images)}</p><main>"
    for image in images:
        yield from _figure(image)
    yield "</main></html>"


def _key(images: Sequence[LabelledImage]) -> str:
    names = next((image.detections.class_names for image in images), ())
    return "".join(
        f'<span class="key" style="background: {_css_colour(class_id)}"></span>{escape(name)}'
        for class_id, name in enumerate(names)
    )


def _figure(image: LabelledImage) -> Iterator[str]:
    width, height = image.size_wh
    name = escape(image.file.as_posix(), quote=True)
    yield f'<figure><div><img src="images/{name}" alt="" loading="lazy" width="{width}" height="{height}" '
    yield f'style="height: auto"><svg viewBox="0 0 {width} {height}" preserveAspectRatio="none">'
    for label in labels_of(image.rejected):
        yield _rect(label, ' class="rejected"')
    for label in labels_of(image.detections):
        yield _rect(label, "")
    source = escape(redacted(image.source.encode(errors="backslashreplace").decode()))
    yield f"</svg></div><figcaption>doubt {image.doubt:.2f} · {source}</figcaption></figure>"


def _rect(label: Label, attributes: str) -> str:
    x1, y1, x2, y2 = label.box
    return (
        f'<rect{attributes} x="{x1}" y="{y1}" width="{x2 - x1:.2f}" height="{y2 - y1:.2f}" '
        f'stroke="{_css_colour(label.class_id)}"><title>{escape(label.name)} {label.score:.0%}</title></rect>'
    )


def _css_colour(class_id: int) -> str:
    blue, green, red = colour_of(class_id)
    return f"rgb({red} {green} {blue})"

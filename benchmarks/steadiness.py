"""How steady the boxes of faces are, as the detector gives them and as the app shows them.

Jitter and lag are measured on clips made from one frame of the sample clip: held still or moved along a known way,
blurred as by a lens, with a sensor's noise, compressed image by image as webcams do (and once more as a video
file). Flicker and changes of identity are measured on a real clip, and how much its boxes tremble as they move. The
detector runs once over each clip: raw and shown differ only in what comes after it.
"""

import json
import math
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import typer

from realtime.faces.boxes import iou
from realtime.faces.tracker import FaceTracker
from realtime.inference.detector import OnnxDetector, find_model
from realtime.inference.providers import Provider
from realtime.results import Result
from realtime.sinks.base import Ending
from realtime.sinks.video_file import VideoFileSink
from realtime.sources.video_file import VideoFileSource
from realtime.structures import Detections, Frame

SAMPLE = Path(__file__).parents[1] / "samples" / "astronaut.mp4"
SPEEDS = (0.05, 0.1, 0.2, 0.4, 0.8)
"""Of the moving face, if none are given."""
WAY = 0.2
"""How far it moves, in sides of the image."""
REST_S = 0.5
"""How long it rests at each end."""
BLUR_SIGMA_PX = 0.8
JPEG_QUALITY = 85
SETTLED_FRAMES = 15
"""The first frames of a stretch are left out: a filter begins with its first value, whatever that is."""
LAGS = np.arange(-1, 4.001, 0.02)
"""Lags that are tried, in frames."""
SHORT_FRAMES = 2
"""A feature that is away for no more, or there for no more, flickers."""
SAME_PLACE_IOU = 0.3

Boxes = dict[tuple[int, str], np.ndarray]
"""By number of a face and name of a part (``face`` for itself): (frames,4) xyxy px, NaN where it is not seen."""


@dataclass(frozen=True, slots=True)
class Found:
    """What the detector found in one frame, weak scores too."""

    pts_s: float
    side_px: int
    detections: Detections


def measure(
    video: Annotated[Path, typer.Argument(metavar="[VIDEO]", help="Real clip; by default the sample clip.")] = SAMPLE,
    model: Annotated[str, typer.Option(help="Name of a shipped model, or an ONNX file.")] = "nano",
    frames: Annotated[int, typer.Option(min=20, help="Frames of each made clip, and at most of the real one.")] = 150,
    frame_rate: Annotated[int, typer.Option(min=5, help="Of the made clips, in frames per second.")] = 30,
    noise: Annotated[float, typer.Option(min=0, help="Deviation of the sensor's noise, in grey levels.")] = 6,
    speed: Annotated[
        list[float] | None, typer.Option(min=0.01, help="Of the moving face, in sides per second; may be repeated.")
    ] = None,
    json_path: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.")] = None,
) -> None:
    """Measure jitter, lag, flicker and changes of identity, raw and as shown."""
    detector = OnnxDetector(find_model(model), provider=Provider.CPU)
    photo = next(iter(read(SAMPLE, 1))).image

    def both(clip: Iterable[Frame]) -> tuple[Boxes, Boxes]:
        found = find(clip, detector)
        return boxes_over_time(found, detector, raw=True), boxes_over_time(found, detector, raw=False)

    still = np.zeros(frames)
    results: dict[str, Any] = {"jitter": {}, "lag_frames": {}}
    results["jitter"]["still, from a camera"] = jitter(*both(filmed(photo, still, frame_rate, noise)), about_mean)
    with tempfile.TemporaryDirectory() as folder:
        file = recorded(filmed(photo, still, frame_rate, noise), frame_rate, Path(folder) / "still.mp4")
        results["jitter"]["still, from a file"] = jitter(*both(read(file, frames)), about_mean)
    for sides_per_s in speed or SPEEDS:
        way = stop_and_go(frames, frame_rate, sides_per_s)
        raw, shown = both(filmed(photo, way, frame_rate, noise))
        results["lag_frames"][f"{sides_per_s:g}"] = lag(raw, shown, way)
    raw, shown = both(read(video, frames))
    results["jitter"][f"{video.name}, about even motion"] = jitter(raw, shown, about_even_motion)
    results["flicker"] = {"raw": flicker(raw), "shown": flicker(shown)}
    results["identities"] = {"faces": len({number for number, _ in shown}), "switches": switches(shown)}
    say(results)
    if json_path:
        content = {"model": model, "video": video.name, "frames": frames, "frame_rate": frame_rate, **results}
        json_path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def read(video: Path, max_frames: int) -> Iterator[Frame]:
    """The first frames of a file."""
    source = VideoFileSource(video)
    try:
        yield from islice(iter(source.read, None), max_frames)
    finally:
        source.close()


def stop_and_go(frames: int, frame_rate: float, speed: float) -> np.ndarray:
    """A way (frames,) in sides of the image: rest, go at ``speed`` sides per second, rest, come back, and so on."""
    going_s = WAY / speed
    turns_s = np.cumsum([0, REST_S, going_s, REST_S, going_s])
    times_s = np.arange(frames) / frame_rate
    way: np.ndarray = np.interp(times_s % turns_s[-1], turns_s, np.array([-1, -1, 1, 1, -1]) * WAY / 2)
    return way


def filmed(photo: np.ndarray, way: np.ndarray, frame_rate: float, noise: float) -> Iterator[Frame]:
    """The image, uint8 (H,W,3) BGR, moved sideways by ``way`` (frames,) sides, as a webcam would send it."""
    height, width = photo.shape[:2]
    rng = np.random.default_rng(0)
    for index, shift in enumerate((way * max(width, height)).tolist()):
        move = np.array([[1, 0, shift], [0, 1, 0]], float)
        image = cv2.warpAffine(photo, move, (width, height), borderMode=cv2.BORDER_REFLECT)
        image = cv2.GaussianBlur(image, (0, 0), BLUR_SIGMA_PX)
        image = (image + rng.normal(0, noise, image.shape)).clip(0, 255).astype(np.uint8)
        _, sent = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        received = cv2.imdecode(sent, cv2.IMREAD_COLOR)
        assert received is not None
        yield Frame(received, index, index / frame_rate, 0.0)


def recorded(clip: Iterator[Frame], frame_rate: int, path: Path) -> Path:
    """The clip as a video file that the app wrote."""
    first = next(clip)
    size_wh = first.image.shape[1], first.image.shape[0]
    sink = VideoFileSink(
        path, size_wh=size_wh, frame_rate=Fraction(frame_rate), time_base=Fraction(1, frame_rate), audio=None
    )
    ending = Ending.FAILED
    try:
        for frame in (first, *clip):
            sink.write(Result(frame, Detections.empty(), frame.image))
        ending = Ending.COMPLETE
    finally:
        sink.close(ending)
    return path


def find(clip: Iterable[Frame], detector: OnnxDetector) -> list[Found]:
    """Everything that the detector finds in each frame."""
    return [Found(frame.pts_s, max(frame.image.shape[:2]), detector.detect(frame.image)) for frame in clip]


def boxes_over_time(found: list[Found], detector: OnnxDetector, *, raw: bool) -> Boxes:
    """Every box of every face, frame after frame, as the app has it with ``--raw`` or without."""
    tracker = FaceTracker(detector.metadata.class_names, raw=raw, levels=detector.metadata.levels)
    threshold = detector.metadata.threshold
    boxes: Boxes = {}
    for index, frame in enumerate(found):
        tracked = tracker.update(frame.detections, threshold=threshold, pts_s=frame.pts_s, side_px=frame.side_px)
        faces = tracked.above_or_in_face(threshold).faces
        for face in faces:
            parts = {"face": face.box, **{name: feature.box for name, feature in face.features.items()}}
            for part, box in parts.items():
                boxes.setdefault((face.id, part), np.full((len(found), 4), np.nan))[index] = box
    return boxes


def about_mean(boxes: np.ndarray) -> np.ndarray:
    """Boxes (N,4) of a still face less their mean."""
    residuals: np.ndarray = boxes - boxes.mean(axis=0)
    return residuals


def about_even_motion(boxes: np.ndarray) -> np.ndarray:
    """Second differences of boxes (N,4): nothing for even motion, and of the noise's own deviation for white noise."""
    return np.diff(boxes, n=2, axis=0) / math.sqrt(6)


def jitter(raw: Boxes, shown: Boxes, tremble: Callable[[np.ndarray], np.ndarray]) -> dict[str, dict[str, float]]:
    """Jitter of each part's edges, where it is seen both raw and shown, settled, without a break.

    Returns:
        By part, raw and shown: the standard deviation in px, and in percent of the box (the root of its area); the mean
        over the faces.
    """
    rows: dict[str, list[list[float]]] = {}
    for key in sorted(raw.keys() & shown.keys()):
        stretches = spans(~np.isnan(raw[key][:, 0]) & ~np.isnan(shown[key][:, 0]))
        row: list[float] = []
        for boxes in (raw[key], shown[key]):
            settled = [boxes[stretch][SETTLED_FRAMES:] for stretch in stretches]
            rest = np.concatenate([tremble(part) for part in settled if len(part)] or [boxes[:0]])
            if len(rest):
                px = math.sqrt((rest**2).mean())
                row += [px, 100 * px / math.sqrt(np.nanmean((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])))]
        if row:
            rows.setdefault(key[1], []).append(row)
    columns = ("raw_px", "raw_percent", "shown_px", "shown_percent")
    return {part: dict(zip(columns, np.mean(row, axis=0).tolist(), strict=True)) for part, row in rows.items()}


def spans(there: np.ndarray) -> list[slice]:
    """The runs of True in ``there`` (frames,)."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], there.astype(int), [0]]))).tolist()
    return [slice(start, end) for start, end in zip(edges[::2], edges[1::2], strict=True)]


def lag(raw: Boxes, shown: Boxes, way: np.ndarray) -> dict[str, float]:
    """Frames by which the shown boxes follow ``way`` (frames,) later than the raw: mean of the parts, and the most.

    Of parts that are there most of the time: one that is found now and then cannot be compared with a way.
    """
    present = [key for key in raw.keys() & shown.keys() if min(share_there(raw[key]), share_there(shown[key])) > 0.5]
    lags = [lag_of(shown[key], way) - lag_of(raw[key], way) for key in present]
    return {"mean": round(float(np.mean(lags)), 3), "most": round(float(np.max(lags)), 3)}


def share_there(boxes: np.ndarray) -> float:
    """In which share of the frames a part (frames,4) has a box."""
    return float((~np.isnan(boxes[:, 0])).mean())


def lag_of(boxes: np.ndarray, way: np.ndarray) -> float:
    """Frames by which the centres of boxes (frames,4) follow ``way``: the lag at which they correlate best."""
    there = np.flatnonzero(~np.isnan(boxes[:, 0]))
    x = boxes[there, 0] + boxes[there, 2]
    fits = [np.corrcoef(x, np.interp(there - late, np.arange(len(way)), way))[0, 1] for late in LAGS]
    return float(LAGS[np.argmax(fits)])


def flicker(boxes: Boxes) -> dict[str, float]:
    """How often parts are away, or there, for no more than ``SHORT_FRAMES``, each per 1,000 boxes."""
    total = gaps = blips = 0
    for part in boxes.values():
        there = ~np.isnan(part[:, 0])
        first, last = np.flatnonzero(there)[[0, -1]]
        total += int(there.sum())
        gaps += sum(span.stop - span.start <= SHORT_FRAMES for span in spans(~there[first : last + 1]))
        blips += sum(span.stop - span.start <= SHORT_FRAMES for span in spans(there))
    return {
        "boxes": total,
        "gaps_per_1000": 1000 * gaps / max(total, 1),
        "blips_per_1000": 1000 * blips / max(total, 1),
    }


def switches(boxes: Boxes) -> int:
    """How many faces appear where one with another number was in the frame before, which is not seen any more."""
    faces = {number: part for (number, name), part in boxes.items() if name == "face"}
    count = 0
    for number, face in faces.items():
        first = int(np.flatnonzero(~np.isnan(face[:, 0]))[0])
        if first:
            count += any(
                np.isnan(other[first, 0]) and iou(other[first - 1], face[first]) >= SAME_PLACE_IOU
                for other_number, other in faces.items()
                if other_number != number
            )
    return count


def say(results: dict[str, Any]) -> None:
    """Print the figures."""
    for clip, parts in results["jitter"].items():
        typer.echo(f"jitter, {clip}: deviation of edges in px (and in percent of the box)")
        for part, row in parts.items():
            ratio = row["shown_px"] / row["raw_px"] if row["raw_px"] else math.nan
            typer.echo(
                f"  {part:<16} raw {row['raw_px']:6.3f} ({row['raw_percent']:.2f})   "
                f"shown {row['shown_px']:6.3f} ({row['shown_percent']:.2f})   {ratio:4.0%}"
            )
    typer.echo("lag behind the raw boxes, in frames")
    for speed, row in results["lag_frames"].items():
        typer.echo(f"  at {speed:<5} sides/s    mean {row['mean']:.2f}   most {row['most']:.2f}")
    typer.echo(f"flicker: away, or there, for {SHORT_FRAMES} frames or less, per 1,000 boxes")
    for kind, row in results["flicker"].items():
        typer.echo(
            f"  {kind:<6} away {row['gaps_per_1000']:.2f}   there {row['blips_per_1000']:.2f}   of {row['boxes']}"
        )
    typer.echo("{faces} faces, {switches} changes of number".format(**results["identities"]))


if __name__ == "__main__":
    typer.run(measure)

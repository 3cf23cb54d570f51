"""What a camera saves by following a near face with the narrow companion of its model, and how the boxes fare.

A real clip runs through the live path in two modes, in turns: with a look at each whole frame, and with the known faces
followed in a part of it.
"""

import json
import time
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from machine import describe

from realtime.faces.boxes import iou
from realtime.faces.tracker import FaceTracker
from realtime.inference.detector import OnnxDetector, find_model
from realtime.inference.providers import Provider
from realtime.regions.frames import FrameDetector
from realtime.regions.tiles import Reach
from realtime.sources.video_file import VideoFileSource
from realtime.structures import FACE, Detections, Frame

SAMPLE = Path(__file__).parents[1] / "samples" / "astronaut.mp4"
MODES = {"whole": replace(Reach(), follows=False), "followed": Reach()}
WARM_FRAMES = 5
"""The first frames, in which networks are opened, are not timed."""


@dataclass(slots=True)
class Run:
    """One mode, over all rounds."""

    ms: list[float] = field(default_factory=list)
    """Of the detection of each frame."""
    cpu_ms: list[float] = field(default_factory=list)
    """Of all threads, detection and tracking, mean of each round."""
    shown: list[Detections] = field(default_factory=list)
    """In each frame of the last round."""
    parts: int = 0
    """Frames of the last round that were not looked at as a whole."""

    def report(self) -> dict[str, Any]:
        """Plain values; jitter is the median change of the speed of a box's edges, for boxes of a lone face."""
        lone = [found.boxes[found.parts == FACE] for found in self.shown]
        boxes = np.array([one[0] if len(one) == 1 else np.full(4, np.nan) for one in lone])
        changes = np.abs(np.diff(boxes, 2, axis=0))
        return {
            "ms_p50": round(float(np.median(self.ms)), 2),
            "ms_mean": round(float(np.mean(self.ms)), 2),
            "ms_p95": round(float(np.percentile(self.ms, 95)), 2),
            "cpu_ms": round(float(np.median(self.cpu_ms)), 2),
            "frames_without_a_look_at_the_whole": self.parts,
            "frames_with_a_face": sum(len(one) > 0 for one in lone),
            "boxes": sum(map(len, self.shown)),
            "jitter_px": None if np.isnan(changes).all() else round(float(np.nanmedian(changes)), 3),
        }


def play(frames: list[Frame], network: OnnxDetector, mode: str, run: Run) -> None:
    """Run the frames through the live path, and add what it took and gave."""
    metadata = network.metadata
    frame_wh = (frames[0].image.shape[1], frames[0].image.shape[0])
    detector = FrameDetector(network, MODES[mode], is_live=True, frame_wh=frame_wh)
    tracker = FaceTracker(metadata.class_names, levels=metadata.levels)
    run.shown, run.parts, cpu_s = [], 0, time.process_time()
    try:
        for number, detected in enumerate(detector.map(iter(frames))):
            found = tracker.update(
                detected.found,
                threshold=metadata.threshold,
                pts_s=detected.frame.pts_s,
                side_px=max(frame_wh),
                looks=detected.looks,
            )
            detector.note(detected, tracker.known())
            run.shown.append(found.above_or_in_face(metadata.threshold))
            run.parts += detected.looks is not None and not _shows_all(detected.looks.regions, frame_wh)
            if number >= WARM_FRAMES:
                run.ms.append(detected.preprocess_ms + detected.infer_ms)
    finally:
        detector.close()
    run.cpu_ms.append(1000 * (time.process_time() - cpu_s) / len(frames))


def _shows_all(regions: np.ndarray, frame_wh: tuple[int, int]) -> bool:
    return bool((regions == [0, 0, *frame_wh]).all(axis=1).any())


def agreement(one: list[Detections], other: list[Detections]) -> list[float]:
    """IoU of the faces of frames in which both modes show a single one."""
    faces = [[found.boxes[found.parts == FACE] for found in shown] for shown in (one, other)]
    return [float(iou(a[0], b[0])) for a, b in zip(*faces, strict=True) if len(a) == len(b) == 1]


def main(
    video: Annotated[Path, typer.Argument(metavar="[VIDEO]", help="Real clip; by default the sample clip.")] = SAMPLE,
    model: Annotated[str, typer.Option(help="Name of a shipped model, or an ONNX file.")] = "nano",
    frames: Annotated[int, typer.Option(min=10, help="Frames at most.")] = 300,
    rounds: Annotated[int, typer.Option(min=1, help="Of both modes in turns.")] = 3,
    json_path: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.")] = None,
) -> None:
    """Measure time, steadiness and agreement of both modes."""
    network = OnnxDetector(find_model(model), provider=Provider.CPU)
    if network.narrow is None:
        raise typer.BadParameter(f"{model} has no narrow companion: export it with --narrow")
    with VideoFileSource(video) as source:
        clip = list(islice(iter(source.read, None), frames))
    runs = {mode: Run() for mode in MODES}
    for _ in range(rounds):
        for mode, run in runs.items():
            play(clip, network, mode, run)
    shared = agreement(*(run.shown for run in runs.values()))
    report = {mode: run.report() for mode, run in runs.items()} | {
        "frames": len(clip),
        "frame_wh": clip[0].image.shape[1::-1],
        "cpu_followed_to_whole": round(runs["followed"].cpu_ms[-1] / runs["whole"].cpu_ms[-1], 3),
        "iou_p50": round(float(np.median(shared)), 3) if shared else None,
        "iou_p05": round(float(np.percentile(shared, 5)), 3) if shared else None,
        "machine": describe(),
    }
    typer.echo(json.dumps(report, indent=2))
    if json_path:
        json_path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)

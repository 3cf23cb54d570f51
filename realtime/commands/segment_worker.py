"""What is done with a part of a long video."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from realtime.batch.cuts import Cuts, find_cuts
from realtime.batch.tasks import Outcome, Step, Task
from realtime.commands.console import printable, wrote
from realtime.commands.face_counter import FaceCounter
from realtime.commands.found_frames import FoundFrames
from realtime.commands.opening import chosen_threshold
from realtime.commands.outputs import audio_of, check_places, of_original
from realtime.commands.unsure import UnsureFrames
from realtime.drawing.hiding import HeldBox, hide
from realtime.drawing.look_ahead import LookAheadHider
from realtime.drawing.render import drawn
from realtime.errors import SourceError
from realtime.faces.known import KnownFaces
from realtime.faces.tracker import FaceTracker
from realtime.formatting import counted
from realtime.inference.timed import Detected
from realtime.regions.frames import FrameDetector
from realtime.regions.planner import looks_once
from realtime.regions.tiles import Reach
from realtime.results import Result
from realtime.sinks.base import Ending
from realtime.sinks.crops import CropsSink, join_crops
from realtime.sinks.csv_file import CsvSink
from realtime.sinks.jsonl import JsonLinesSink
from realtime.sinks.video_parts import JoinedVideoSink, Packets, PartSink
from realtime.sources.capture import CaptureThread
from realtime.sources.decode_errors import DecodeErrors
from realtime.sources.video_file import VideoFileSource
from realtime.structures import Detections, Frame

if TYPE_CHECKING:
    from realtime.commands.video_worker import Settings
    from realtime.inference.detector import OnnxDetector

AHEAD_S = 3.0
"""Time before a part in which faces are followed, so that those that get a closer look are known at its first frame."""
CUTS = "cuts.json"
WHOLE = Outcome(data={"whole": True})
"""It turns out that the video is not to be cut."""


class SegmentWorker:
    """Carries out the steps of long videos."""

    def __init__(self, detector: "OnnxDetector", settings: "Settings") -> None:
        self._detector = detector
        self._settings = settings
        self._threshold = chosen_threshold(settings.run.threshold, detector)

    def process(self, task: Task, step: Step) -> Outcome:
        """Carry out one step.

        Raises:
            RealtimeError: the video cannot be read, or a result not be written.
        """
        from realtime.batch.output_folders import make_folders

        make_folders(path.parent for path in task.outputs.values())
        steps: dict[str, Callable[[Task, Step], Outcome]] = {
            "cut": self._cut,
            "detect": self._detect,
            "track": self._track,
            "draw": self._draw,
            "join": self._join,
        }
        return steps[step.kind](task, step)

    def _cut(self, task: Task, step: Step) -> Outcome:
        if self._settings.run.max_frames is not None:
            return WHOLE
        check_places(task.outputs)  # not only after hours of work
        cuts = find_cuts(
            task.source, step.part_s,
            start_s=self._settings.start_s, duration_s=self._settings.duration_s, workers=step.workers,
        )  # fmt: skip
        if cuts is None:
            return WHOLE
        cuts.save(step.folder / CUTS)
        return Outcome(data={"parts": cuts.parts})

    def _detect(self, task: Task, step: Step) -> Outcome:
        cuts = Cuts.load(step.folder / CUTS)
        reach = self._settings.run.reach or Reach.near()
        if looks_once(self._detector.metadata, reach, cuts.size_wh, self._detector.tile_wh):
            reach = Reach.near()  # it does not matter what was in the frames before
        source, first = cuts.open_part(task.source, step.part, 0.0 if reach.is_near else AHEAD_S)
        wanted, found = cuts.frames_of(step.part), FoundFrames()
        detector = FrameDetector(self._detector, reach, is_live=False, frame_wh=cuts.size_wh)
        follow = None if reach.is_near else partial(_follow, self._new_tracker(), self._threshold)
        for index, detected in enumerate(_detected(source, detector, follow), first):
            if index in wanted:
                found.add(detected)
        if source.errors or found.pts_s != [cuts.pts_s[index] for index in wanted]:
            return WHOLE  # damaged, or its frames are not those of its packets
        found.save(step.folder / f"found-{step.part}.npz")
        return Outcome()

    def _track(self, task: Task, step: Step) -> Outcome:
        cuts = Cuts.load(step.folder / CUTS)
        names = self._detector.metadata.class_names
        tracker = self._new_tracker()
        faces, sinks = FaceCounter(), list[JsonLinesSink | CsvSink]()
        hiding = self._settings.run.hiding
        hider = LookAheadHider(names, hiding) if hiding else None
        unsure = UnsureFrames(hider, self._detector.metadata.levels.candidate) if hider else None
        sinks += [JsonLinesSink(task.outputs["jsonl"])] if "jsonl" in task.outputs else []
        sinks += [CsvSink(task.outputs["csv"])] if "csv" in task.outputs else []
        ending = Ending.FAILED
        try:
            frames = self._tracked(step.folder, cuts, tracker)
            if hider:
                frames = hider.delayed(frames, lambda frame: (frame.result.frame, frame.result.detections))
            for part, group in groupby(frames, key=lambda frame: frame.part):
                shown = FoundFrames()
                for tracked in group:
                    result = tracked.result
                    covers = hider.plan(result.frame, result.detections) if hider else []
                    for sink in (faces, *sinks, *([unsure] if unsure else [])):
                        sink.write(result)
                    shown.add(tracked.detected, result.detections, covers)
                shown.save(step.folder / f"shown-{part}.npz")
            ending = Ending.COMPLETE
        finally:
            for sink in sinks:
                sink.close(ending)
        report = (unsure.report or "") if unsure else ""
        (step.folder / "report.txt").write_text(f"{faces.count}\n{report}", encoding="utf-8")
        return self._outcome(task, step, cuts)

    def _new_tracker(self) -> FaceTracker:
        metadata = self._detector.metadata
        return FaceTracker(metadata.class_names, raw=self._settings.run.raw, levels=metadata.levels)

    def _tracked(self, folder: Path, cuts: Cuts, tracker: FaceTracker) -> "Iterator[_TrackedFrame]":
        """The faces of all frames, part by part."""
        for part in range(cuts.parts):
            frames = FoundFrames.load(folder / f"found-{part}.npz").each(self._detector.metadata.class_names)
            for index, detected in enumerate(frames, cuts.first_frames[part]):
                image, pts_s = detected.frame.image, detected.frame.pts_s
                candidates = _update(tracker, self._threshold, detected)
                found = candidates.above_or_in_face(self._threshold)
                result = Result(Frame(image, index, pts_s, 0.0), found, candidates=candidates)
                yield _TrackedFrame(part, detected, result)

    def _draw(self, task: Task, step: Step) -> Outcome:
        cuts, names = Cuts.load(step.folder / CUTS), self._detector.metadata.class_names
        source, _ = cuts.open_part(task.source, step.part)
        shown = FoundFrames.load(step.folder / f"shown-{step.part}.npz")
        video = crops = None
        if "out" in task.outputs:
            video = PartSink(step.folder / f"part{task.outputs['out'].suffix}", **self._video_options(cuts))
        if "crops" in task.outputs:
            crops = CropsSink(_crops_of(step, step.part))
        wanted = cuts.frames_of(step.part)
        indices = iter(wanted)
        with source:
            for (detected, covers), frame in zip(shown.covered(names), iter(source.read, None), strict=False):
                result = Result(replace(frame, index=next(indices)), detected.found)
                if crops:
                    crops.write(result)
                if video:
                    video.write(replace(result, canvas=self._canvas(result, covers)))
        if next(indices, None) is not None:
            raise SourceError(f"cannot read {task.source} twice: it has changed", value=task.source)
        if crops:
            crops.close(Ending.COMPLETE)
        if video:
            video.finish().save(step.folder / f"drawn-{step.part}.npz")
        return Outcome()

    def _canvas(self, result: Result, covers: list[HeldBox]) -> np.ndarray:
        run = self._settings.run
        if run.hiding:
            return hide(result.image, covers, 0.0, run.hiding.cover)
        return drawn(result.image, result.detections, run.style)

    def _join(self, task: Task, step: Step) -> Outcome:
        cuts, errors = Cuts.load(step.folder / CUTS), DecodeErrors()
        if "out" in task.outputs:
            self._join_videos(task, step, cuts, errors)
        if "crops" in task.outputs:
            join_crops((_crops_of(step, part) for part in range(cuts.parts)), task.outputs["crops"])
        return self._outcome(task, step, cuts, errors)

    def _join_videos(self, task: Task, step: Step, cuts: Cuts, errors: DecodeErrors) -> None:
        parts = [step.folder / f"drawn-{part}.npz" for part in range(cuts.parts)]
        pts = np.concatenate([Packets.load(part).pts for part in parts])
        audio = audio_of(task.source, cuts, errors)
        sink = JoinedVideoSink(task.outputs["out"], audio=audio, **self._video_options(cuts))
        ending = Ending.FAILED
        try:
            sink.join(parts, pts)
            ending = Ending.COMPLETE
        finally:
            sink.close(ending)

    def _video_options(self, cuts: Cuts) -> dict[str, Any]:
        options = {"size_wh": cuts.size_wh, "frame_rate": cuts.frame_rate, "encoding": self._settings.encoding}
        return options | of_original(cuts)

    def _outcome(self, task: Task, step: Step, cuts: Cuts, errors: DecodeErrors | None = None) -> Outcome:
        """That of the whole video, which ends with this step if nothing is left to do."""
        from realtime.commands.video_worker import damage

        faces, _, report = (step.folder / "report.txt").read_text(encoding="utf-8").partition("\n")
        title = f"[{task.number}/{task.total}] {printable(task.source)}: "
        frames = len(cuts.pts_s)
        done = f"{counted(frames, 'frame')}, {counted(int(faces), 'face')}, in {counted(cuts.parts, 'part')}"
        lines = [f"{title}{done}{wrote(*task.outputs.values())}", *([f"{title}{report}"] if report else [])]
        if errors is not None and errors.audio_tracks and not errors:
            lines.append(f"{printable(task.source)}: {errors}")
        error = damage(task.source, errors) if errors else None
        return Outcome(error=error, frames=frames, faces=int(faces), messages=tuple(lines))


def _crops_of(step: Step, part: int) -> Path:
    return step.folder / f"crops-{part}"


def _detected(
    source: VideoFileSource, detector: FrameDetector, follow: Callable[[Detected], KnownFaces] | None
) -> Iterator[Detected]:
    """What is in each frame; ``follow`` gives the faces that are known after it, if it matters for the next ones."""
    capture = CaptureThread(source, on_read=lambda _: None)
    capture.start()
    try:
        for detected in detector.map(iter(capture.buffer.get, None)):
            if follow:
                detector.note(detected, follow(detected))
            yield detected
    finally:
        detector.close()
        capture.stop()


def _follow(tracker: FaceTracker, threshold: float, detected: Detected) -> KnownFaces:
    """The faces that are known after a frame."""
    _update(tracker, threshold, detected)
    return tracker.known()


def _update(tracker: FaceTracker, threshold: float, detected: Detected) -> Detections:
    """The faces of a frame, by the detections in it."""
    frame = detected.frame
    side_px = max(frame.image.shape[:2])
    return tracker.update(detected.found, threshold=threshold, pts_s=frame.pts_s, side_px=side_px, looks=detected.looks)


@dataclass(frozen=True, slots=True)
class _TrackedFrame:
    part: int
    detected: Detected
    result: Result

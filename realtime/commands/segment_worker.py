"""What is done with a part of a long video."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from realtime.batch.cuts import Cuts, find_cuts
from realtime.batch.tasks import Outcome, Step, Task
from realtime.commands.console import printable, wrote
from realtime.commands.face_counter import FaceCounter
from realtime.commands.opening import chosen_threshold
from realtime.commands.unsure import UnsureFrames
from realtime.drawing.hiding import HeldBox, hide
from realtime.drawing.look_ahead import LookAheadHider
from realtime.drawing.render import drawn
from realtime.errors import SourceError
from realtime.faces.looks import Looks
from realtime.faces.tracker import FaceTracker
from realtime.formatting import counted
from realtime.inference.timed import Detected
from realtime.regions.frames import FrameDetector
from realtime.regions.tiles import Reach
from realtime.results import Result
from realtime.sinks.audio import Audio
from realtime.sinks.base import Ending
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
        run = self._settings.run
        if self._settings.start_s or self._settings.duration_s is not None or run.max_frames is not None:
            return WHOLE
        cuts = find_cuts(task.source, step.part_s)
        if cuts is None:
            return WHOLE
        cuts.save(step.folder / CUTS)
        return Outcome(data={"parts": cuts.parts})

    def _detect(self, task: Task, step: Step) -> Outcome:
        cuts = Cuts.load(step.folder / CUTS)
        reach = self._settings.run.reach or Reach.near()
        source, first = cuts.open_part(task.source, step.part, 0.0 if reach.is_near else AHEAD_S)
        wanted, found = cuts.frames_of(step.part), FoundFrames()
        tracker = self._new_tracker()
        for index, detected in enumerate(_detected(source, self._detector, reach, tracker, self._threshold), first):
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
                candidates = tracker.update(
                    detected.found,
                    threshold=self._threshold,
                    pts_s=pts_s,
                    side_px=max(image.shape[:2]),
                    looks=detected.looks,
                )
                found = candidates.above_or_in_face(self._threshold)
                result = Result(Frame(image, index, pts_s, 0.0), found, candidates=candidates)
                yield _TrackedFrame(part, detected, result)

    def _draw(self, task: Task, step: Step) -> Outcome:
        cuts, names = Cuts.load(step.folder / CUTS), self._detector.metadata.class_names
        run = self._settings.run
        source, _ = cuts.open_part(task.source, step.part)
        wanted = cuts.frames_of(step.part)
        shown = FoundFrames.load(step.folder / f"shown-{step.part}.npz")
        sink = PartSink(step.folder / f"part{task.outputs['out'].suffix}", **self._video_options(cuts))
        count = 0
        with source:
            for (detected, covers), frame in zip(shown.covered(names), iter(source.read, None), strict=False):
                found, image = detected.found, frame.image
                canvas = hide(image, covers, 0.0, run.hiding.cover) if run.hiding else drawn(image, found, run.style)
                sink.write(Result(frame, found, canvas=canvas))
                count += 1
        if count != len(wanted):
            raise SourceError(f"cannot read {task.source} twice: it has changed", value=task.source)
        sink.finish().save(step.folder / f"drawn-{step.part}.npz")
        return Outcome()

    def _join(self, task: Task, step: Step) -> Outcome:
        cuts, errors = Cuts.load(step.folder / CUTS), DecodeErrors()
        parts = [step.folder / f"drawn-{part}.npz" for part in range(cuts.parts)]
        pts = np.concatenate([Packets.load(part).pts for part in parts])
        audio = Audio(task.source, errors=errors)
        sink = JoinedVideoSink(task.outputs["out"], audio=audio, **self._video_options(cuts))
        ending = Ending.FAILED
        try:
            sink.join(parts, pts)
            ending = Ending.COMPLETE
        finally:
            sink.close(ending)
        return self._outcome(task, step, cuts, errors)

    def _video_options(self, cuts: Cuts) -> dict[str, Any]:
        return {
            "size_wh": cuts.size_wh,
            "frame_rate": cuts.frame_rate,
            "time_base": cuts.time_base,
            "origin_s": cuts.origin_s,
            "pixel_aspect": cuts.pixel_aspect,
            "encoding": self._settings.encoding,
        }

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


def _detected(
    source: VideoFileSource, network: "OnnxDetector", reach: Reach, tracker: FaceTracker, threshold: float
) -> Iterator[Detected]:
    """What is in each frame; faces are followed only to know where to look closer."""
    capture = CaptureThread(source, on_read=lambda _: None)
    detector = FrameDetector(network, reach, is_live=False, frame_wh=source.size_wh)
    capture.start()
    try:
        for detected in detector.map(iter(capture.buffer.get, None)):
            if not reach.is_near:
                tracker.update(
                    detected.found,
                    threshold=threshold,
                    pts_s=detected.frame.pts_s,
                    side_px=max(detected.frame.image.shape[:2]),
                    looks=detected.looks,
                )
            detector.note(detected, tracker.known())
            yield detected
    finally:
        detector.close()
        capture.stop()


@dataclass(frozen=True, slots=True)
class _TrackedFrame:
    part: int
    detected: Detected
    result: Result


@dataclass(slots=True)
class _Row:
    pts_s: float
    size_hw: tuple[int, int]
    found: Detections
    looks: Looks | None
    covers: Sequence[HeldBox]


class FoundFrames:
    """What was found in the frames of a part, without the images."""

    def __init__(self) -> None:
        self._rows: list[_Row] = []

    @property
    def pts_s(self) -> list[float]:
        """The timestamps of the frames."""
        return [row.pts_s for row in self._rows]

    def add(self, detected: Detected, shown: Detections | None = None, covers: Sequence[HeldBox] = ()) -> None:
        """Keep one frame, perhaps with other detections, and what is to be hidden in it, at the time 0."""
        height, width = detected.frame.image.shape[:2]
        found = detected.found if shown is None else shown
        self._rows.append(_Row(detected.frame.pts_s, (height, width), found, detected.looks, covers))

    def save(self, path: Path) -> None:
        """Write all to a file, which appears when it is whole.

        Raises:
            OSError: the disk is full, say.
        """
        found = Detections.concatenate([row.found for row in self._rows])
        looks = [row.looks for row in self._rows if row.looks is not None]
        partial = path.with_name(f".{path.name}.partial")
        with partial.open("wb") as file:
            np.savez(
                file,
                pts_s=np.array(self.pts_s),
                sizes_hw=np.array([row.size_hw for row in self._rows]),
                counts=np.array([len(row.found) for row in self._rows]),
                boxes=found.boxes,
                labels=found.labels,
                scores=found.scores,
                face_ids=found.face_ids,
                parts=found.parts,
                look_counts=np.array([-1 if row.looks is None else len(row.looks.scales) for row in self._rows]),
                regions=np.concatenate([np.zeros((0, 4)), *(look.regions for look in looks)]),
                scales=np.concatenate([np.zeros(0), *(look.scales for look in looks)]),
                cover_counts=np.array([len(row.covers) for row in self._rows]),
                covers=np.array([[*held.box, held.seen_s] for row in self._rows for held in row.covers]).reshape(-1, 5),
            )
        partial.replace(path)

    @classmethod
    def load(cls, path: Path) -> "_Loaded":
        """Read such a file."""
        with np.load(path) as file:
            return _Loaded({name: file[name] for name in file.files})


@dataclass(frozen=True, slots=True)
class _Loaded:
    arrays: dict[str, np.ndarray]

    def covered(self, names: tuple[str, ...]) -> Iterator[tuple[Detected, list[HeldBox]]]:
        """The frames in order, with what is to be hidden in each, at the time 0."""
        row = 0
        for detected, count in zip(self.each(names), self.arrays["cover_counts"].tolist(), strict=True):
            covers = self.arrays["covers"][row : row + count]
            yield detected, [HeldBox(held[:4].astype(np.float32), float(held[4])) for held in covers]
            row += count

    def each(self, names: tuple[str, ...]) -> Iterator[Detected]:
        """The frames in order; ``names`` are those of the classes. Images are black, and take no memory."""
        every, row, look = self.arrays, 0, 0
        columns = [every[name] for name in ("boxes", "labels", "scores", "face_ids", "parts")]
        for pts_s, (height, width), count, look_count in zip(
            every["pts_s"].tolist(), every["sizes_hw"].tolist(), every["counts"], every["look_counts"], strict=True
        ):
            rows = slice(row, row + count)
            boxes, labels, scores, face_ids, parts = (column[rows] for column in columns)
            found = Detections(boxes, labels, scores, names, face_ids, parts)
            looks = None
            if look_count >= 0:
                at = slice(look, look + look_count)
                looks = Looks(every["regions"][at], every["scales"][at])
                look += look_count
            row += count
            image = np.broadcast_to(np.zeros((1, 1, 1), np.uint8), (height, width, 3))
            yield Detected(Frame(image, 0, pts_s, time.monotonic()), found, 0.0, 0.0, looks)

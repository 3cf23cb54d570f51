"""Lines and table of the sample clip stay what they were, to the last digit.

``data/`` holds what a detector once found in its first 60 frames, and what was written of that by the first version of
the app. Detections are played back, since the last digits of a network differ from one processor to another.
"""

from pathlib import Path

import numpy as np
import pytest
from fakes import FakeDetector

from realtime.controls import Controls
from realtime.pipeline import Pipeline
from realtime.sinks.csv_file import CsvSink
from realtime.sinks.jsonl import JsonLinesSink
from realtime.sources.video_file import VideoFileSource
from realtime.structures import Detections

DATA = Path(__file__).parent / "data"
NAMES = ("face", "eye", "eyebrow", "nose", "mouth")
FRAMES = 60


class PlayedBack(FakeDetector):
    """Finds what was recorded, frame after frame."""

    def __init__(self):
        super().__init__(class_names=NAMES)
        recorded = np.load(DATA / "astronaut_detections.npz")
        ends = np.cumsum(recorded["counts"])[:-1]
        columns = (np.split(recorded[name], ends) for name in ("boxes", "labels", "scores"))
        self._found = (
            Detections(boxes, labels.astype(np.int64), scores, NAMES)
            for boxes, labels, scores in zip(*columns, strict=True)
        )

    def infer(self, network_input, transform):
        return next(self._found)


@pytest.mark.parametrize(("kind", "name"), [(JsonLinesSink, "astronaut.jsonl"), (CsvSink, "astronaut.csv")])
def test_what_is_written_of_the_sample_clip_is_what_it_was(tmp_path, clip, kind, name):
    sink = kind(tmp_path / name)
    Pipeline(VideoFileSource(clip), PlayedBack(), [sink], Controls(0.8)).run(max_frames=FRAMES)
    assert (tmp_path / name).read_bytes() == (DATA / name).read_bytes()

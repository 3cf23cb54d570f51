"""Several images in one run of the network: frames of a file, regions, and models that are made for it."""

import gc
import weakref
from dataclasses import replace

import numpy as np
import pytest
from fakes import FakeDetector, RecordingSink, ScriptedSource, make_video, metadata, stub_model
from pretend_gpu import PretendGpu
from test_moving import Scene

import realtime
from realtime.commands.opening import open_detector, speed_notices
from realtime.controls import Controls
from realtime.errors import ModelError, SourceError
from realtime.image_io import read_image
from realtime.inference.detector import OnnxDetector, find_model
from realtime.inference.providers import Provider
from realtime.pipeline import Pipeline
from realtime.regions.detector import CloserDetector
from realtime.regions.tiles import Reach
from realtime.result_stream import ResultStream

BATCH = 4


def batch_model(path, batch=BATCH):
    return stub_model(path / f"batch{batch}.onnx", contract=metadata(batch=batch))


def grey(level, size_wh=(64, 64)):
    return np.full((size_wh[1], size_wh[0], 3), level, np.uint8)


@pytest.fixture(params=[Provider.CPU, Provider.CUDA])
def detector(request, tmp_path, monkeypatch):
    if request.param is Provider.CUDA:
        PretendGpu(monkeypatch)
    return OnnxDetector(batch_model(tmp_path), provider=request.param, concurrency=3)


@pytest.mark.parametrize("count", [0, 1, BATCH - 1, BATCH, BATCH + 1, 3 * BATCH])
def test_each_image_gets_its_own_detections(detector, count):
    levels = [(20 + 9 * i) % 60 for i in range(count)]
    found = detector.detect_batch([grey(level) for level in levels])
    assert [one.boxes[0].tolist() for one in found] == [[8, 16 + level / 4, 40, 48 + level / 4] for level in levels]
    assert [one.names for one in found] == [["face", "eye"]] * count


def test_images_of_a_batch_have_sizes_of_their_own(detector):
    """And what an earlier, larger batch left behind is not seen."""
    detector.detect_batch([grey(200, (640, 100))] * BATCH)
    one, other = detector.detect_batch([grey(0, (64, 32)), grey(0, (32, 64))])
    # 114, the border, is the largest pixel: moved down by 28.5, the face lies at 44.5, and the border ends at 48.
    np.testing.assert_allclose(one.boxes[0], [8, 28.5, 40, 32])
    np.testing.assert_allclose(other.boxes[0], [0, 44.5, 24, 64])
    np.testing.assert_array_equal(detector.detect(grey(0, (32, 64))).boxes, other.boxes)


def test_frames_at_a_time_are_those_of_a_batch(detector):
    assert (detector.max_batch, detector.concurrency) == (BATCH, 1)


def test_more_images_than_a_run_takes_are_refused_by_its_stages(detector):
    with pytest.raises(ValueError, match="expected at most 4 images, found 5"):
        detector.preprocess_batch([grey(0)] * (BATCH + 1))


def test_a_file_that_is_not_of_the_batch_that_it_says_is_refused(tmp_path):
    props = metadata(batch=BATCH).to_props()
    for path in (stub_model(tmp_path / "m.onnx", props=props), stub_model(
        tmp_path / "n.onnx", contract=metadata(batch=BATCH), props=metadata().to_props()
    )):  # fmt: skip
        with pytest.raises(ModelError, match="graph and metadata disagree"):
            OnnxDetector(path, provider=Provider.CPU)


def stream(source, detector, **options):
    return ResultStream(source, detector, Controls(0.5), **options)


class Runs:
    """How many images each run of a detector had."""

    def __init__(self, detector):
        self.sizes = []
        self._infer = detector.infer_batch
        detector.infer_batch = self

    def __call__(self, network_input, transforms):
        assert len(network_input) == BATCH
        self.sizes.append(len(transforms))
        return self._infer(network_input, transforms)


@pytest.mark.parametrize(("count", "sizes"), [(0, []), (1, [1]), (4, [4]), (5, [4, 1]), (10, [4, 4, 2])])
def test_frames_of_a_file_go_together_and_come_in_order(count, sizes):
    fake = FakeDetector(max_batch=BATCH)
    runs = Runs(fake)
    results = stream(ScriptedSource(count), fake)
    assert [result.frame.index for result in results.results()] == list(range(count))
    assert results.is_complete
    results.close()
    assert runs.sizes == sizes


def test_a_limit_takes_no_frame_more():
    source, fake = ScriptedSource(20), FakeDetector(max_batch=BATCH)
    runs, sink = Runs(fake), RecordingSink()
    Pipeline(source, fake, [sink], Controls(0.5)).run(max_frames=6)
    assert [frame.index for frame in sink.frames] == list(range(6))
    assert runs.sizes == [4, 2]


@pytest.mark.parametrize("live", ["source", "window"])
def test_a_frame_that_is_waited_for_waits_for_no_other(live):
    fake = FakeDetector(max_batch=BATCH)
    runs = Runs(fake)
    source = ScriptedSource(5, is_live=live == "source")
    results = stream(source, fake, on_idle=(lambda: None) if live == "window" else None)
    given = list(results.results())
    results.close()
    assert runs.sizes == [1] * len(given) != []


def test_a_source_that_breaks_gives_the_frames_before():
    source = ScriptedSource(6, error=SourceError("it broke"))
    sink = RecordingSink()
    pipeline = Pipeline(source, FakeDetector(max_batch=BATCH), [sink], Controls(0.5))
    with pytest.raises(SourceError, match="it broke"):
        pipeline.run()
    assert [frame.index for frame in sink.frames] == list(range(6))
    assert source.closed == 1


def test_a_network_that_fails_ends_the_run_after_the_batches_before():
    calls = []

    def fail():
        calls.append(1)
        if len(calls) == 3:
            raise ModelError("the network failed")

    sink = RecordingSink()
    with pytest.raises(ModelError, match="the network failed"):
        Pipeline(ScriptedSource(20), FakeDetector(fail, max_batch=BATCH), [sink], Controls(0.5)).run()
    assert [frame.index for frame in sink.frames] == list(range(2 * BATCH))


def test_a_stop_ends_it_soon_without_a_gap():
    sink = RecordingSink(on_write=lambda frame: pipeline.stop() if frame.index == 5 else None)
    pipeline = Pipeline(ScriptedSource(1000), FakeDetector(max_batch=BATCH), [sink], Controls(0.5))
    pipeline.run()
    indices = [frame.index for frame in sink.frames]
    assert indices == list(range(len(indices)))
    assert 6 <= len(indices) <= 3 * BATCH


def test_frames_are_freed_once_they_are_done():
    gc.disable()  # a cycle would keep a batch of frames until it is collected
    try:
        results = stream(ScriptedSource(2), FakeDetector(max_batch=BATCH))
        assert len(list(results.results())) == 2
        results.close()
        held = weakref.ref(results)
        del results
        assert held() is None
    finally:
        gc.enable()


class Together:
    """``nano``, four images in a run."""

    def __init__(self, network):
        self.metadata = replace(network.metadata, batch=BATCH)
        self.concurrency, self.max_batch, self.is_thread_safe = 1, BATCH, True
        self.preprocess, self.infer = network.preprocess, network.infer
        self.tile_wh, self.wide = network.tile_wh, network.wide
        self.narrow_wh, self.narrow = network.narrow_wh, network.narrow
        self.runs = []

    def preprocess_batch(self, images):
        prepared = [self.preprocess(image) for image in images]
        assert len(prepared) <= BATCH
        return [pixels.copy() for pixels, _ in map(self.preprocess, images)], [transform for _, transform in prepared]

    def infer_batch(self, inputs, transforms):
        self.runs.append(len(transforms))
        return [self.infer(pixels, transform) for pixels, transform in zip(inputs, transforms, strict=True)]


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """``nano`` without its wide companion, so that tiles go through the same network as all else."""
    alone = tmp_path_factory.mktemp("model") / "nano.onnx"
    alone.write_bytes(find_model("nano").read_bytes())
    return OnnxDetector(alone, provider=Provider.CPU)


def test_looking_closer_finds_the_same_in_fewer_runs(network, photos):
    """Tiles and close-ups of three frames at a time."""
    sinks = []
    together = Together(network)
    for each in (network, together):
        sinks.append(sink := RecordingSink())
        Pipeline(Scene(photos, 8), each, [sink], Controls(network.metadata.threshold), reach=Reach()).run()
    assert len(sinks[0].frames) == len(sinks[1].frames) == 8
    for one, other in zip(*(sink.detections for sink in sinks), strict=True):
        np.testing.assert_array_equal(one.boxes, other.boxes)
        np.testing.assert_array_equal(one.scores, other.scores)
        np.testing.assert_array_equal(one.face_ids, other.face_ids)
    assert any(sinks[0].faces)
    assert max(together.runs) == BATCH
    assert len(together.runs) < sum(together.runs) / 2


def test_a_photo_is_looked_at_in_batches(network, photos):
    image, together = read_image(photos / "astronaut.jpg"), Together(network)
    reach = Reach.parse("2x2")
    one, other = (CloserDetector(each, reach).detect(image) for each in (network, together))
    np.testing.assert_array_equal(one.boxes, other.boxes)
    assert together.runs[:2] == [4, 1]


def test_the_api_takes_such_a_model(tmp_path):
    path = batch_model(tmp_path)
    detector = realtime.Detector(path, provider="cpu")
    assert detector(grey(20)).detections.boxes[0].tolist() == [8, 21, 40, 53]
    video = make_video(tmp_path / "in.mp4", frames=6)
    with realtime.stream(video, detector) as results:
        assert [result.frame.index for result in results] == list(range(6))


def test_a_camera_is_told_that_a_model_for_one_is_faster(tmp_path):
    path = batch_model(tmp_path)
    detector = open_detector(str(path), Provider.CPU)
    assert speed_notices(detector, "m.onnx") == []
    assert speed_notices(detector, "m.onnx", is_live=True) == [
        "m.onnx computes 4 images in each run: a model for one is faster here"
    ]

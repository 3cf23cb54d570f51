"""The library, as a user of it would write."""

import gc
import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from commands import python_of, run_python
from fakes import make_video, read_video

import realtime

ROOT = Path(__file__).parents[2]
PHOTO = ROOT / "export" / "images" / "astronaut.jpg"


@pytest.fixture(scope="module")
def detector():
    return realtime.Detector("pico", provider="cpu")


def running():
    return {thread.name for thread in threading.enumerate()} & {"capture", "receive"}


def test_an_image_by_path_and_by_array_gives_the_same(detector):
    by_path, by_array = detector(PHOTO), detector(cv2.imread(str(PHOTO)))
    (face,) = by_path.faces
    assert face.id == 1
    assert {"left_eye", "right_eye", "nose", "mouth"} <= set(face.features)
    assert face.features["left_eye"].box[0] > face.features["right_eye"].box[0]
    assert by_path.to_dict().keys() == {"image", "detections", "faces"}
    assert by_array.to_dict().keys() == {"frame", "pts_s", "detections", "faces"}
    assert by_array.to_dict()["detections"] == by_path.to_dict()["detections"]
    assert by_array.faces == by_path.faces


def test_an_image_that_is_cut_short_is_refused(detector, tmp_path):
    """Its results would be those of half an image."""
    (tmp_path / "cut.jpg").write_bytes(PHOTO.read_bytes()[:-1000])
    with pytest.raises(realtime.SourceError, match="it is cut short"):
        detector(tmp_path / "cut.jpg")


def test_results_say_what_the_command_prints(detector):
    command = [sys.executable, "-c", "from realtime.cli import run_cli; run_cli()", "image", PHOTO]
    printed = subprocess.run([*command, "--model", "pico"], capture_output=True, text=True, check=True)
    assert json.loads(printed.stdout) == json.loads(json.dumps(detector(PHOTO).to_dict()))


def test_a_result_is_shown_in_one_line(detector, clip):
    assert repr(detector(PHOTO)).startswith(f"Result(path={str(PHOTO)!r}, size_wh=(512, 512), 1 face, ")
    with realtime.stream(clip, detector) as results:
        assert repr(next(iter(results))).startswith("Result(frame=0, pts_s=0.000, size_wh=(")


def test_a_grey_or_float_image_is_never_answered_with_the_one_before(detector):
    image = cv2.imread(str(PHOTO))
    assert len(detector(image).faces) == 1
    assert detector(np.zeros(image.shape[:2], np.uint8)).faces == ()
    assert detector(np.zeros(image.shape)).faces == ()
    with pytest.raises(realtime.ImageError, match="channels first"):
        detector(image.transpose(2, 0, 1))


def test_a_result_is_drawn_saved_and_looked_at_from_another_threshold(detector, tmp_path):
    result = detector(PHOTO)
    before = result.image.copy()
    result.save(tmp_path / "drawn.png")
    assert (cv2.imread(str(tmp_path / "drawn.png")) == result.draw()).all()
    assert (result.image == before).all()
    assert (result.draw() != before).any()
    assert len(result.at(0.999).detections) < len(result.detections) < len(result.at(0.1).detections)
    assert result.at(detector.threshold).faces == result.faces
    for threshold in (0.3, 0.95):
        (face,) = [face for face in result.at(threshold).faces if face.score > 0.95]
        assert all(feature.score >= threshold for feature in face.features.values())
    with pytest.raises(realtime.SinkError, match=r"folder .* does not exist"):
        result.save(tmp_path / "no" / "drawn.png")


@pytest.mark.parametrize("threshold", [-0.1, 2, float("nan")])
def test_a_threshold_is_a_score(detector, threshold):
    result = detector(PHOTO)
    with pytest.raises(ValueError, match="expected a threshold from 0 to 1, found"):
        result.at(threshold)
    with pytest.raises(ValueError, match="expected a threshold from 0 to 1, found"):
        realtime.Detector("pico", threshold=threshold)


def test_a_source_is_a_path_an_address_or_a_number():
    with pytest.raises(TypeError, match="expected a source as a path, an address or a camera's number, found NoneType"):
        realtime.stream(None)


def test_only_public_names_are_listed():
    assert {name for name in dir(realtime) if not name.startswith("__")} == set(realtime.__all__)


def test_a_result_becomes_that_of_supervision(detector, monkeypatch):
    class Detections:
        def __init__(self, xyxy, confidence, class_id, tracker_id, data):
            self.__dict__.update(locals())

    monkeypatch.setitem(sys.modules, "supervision", type(sys)("supervision"))
    sys.modules["supervision"].Detections = Detections
    found = detector(PHOTO).detections
    converted = detector(PHOTO).to_supervision()
    np.testing.assert_array_equal(converted.xyxy, found.boxes)
    np.testing.assert_array_equal(converted.confidence, found.scores)
    assert set(converted.tracker_id.tolist()) <= {1, -1}
    assert converted.data["class_name"].tolist() == found.names
    assert {"face", "left_eye"} <= set(converted.data["part"].tolist())


def test_a_detector_may_be_called_from_several_threads(detector):
    images = [cv2.imread(str(path)) for path in sorted((ROOT / "export" / "images").glob("*.jpg"))] * 6
    expected = [detector(image).to_dict() for image in images]
    with ThreadPoolExecutor(4, thread_name_prefix="test-") as threads:
        assert [result.to_dict() for result in threads.map(detector, images)] == expected


def test_a_stream_gives_every_frame_of_a_file_and_ends(detector, clip):
    results = list(realtime.stream(clip, detector))
    assert [result.frame.index for result in results] == list(range(144))
    assert all(1 in {face.id for face in result.faces} for result in results)
    assert not running()


def test_leaving_a_stream_early_ends_its_threads_and_closes_the_source(detector, clip):
    with realtime.stream(str(clip), detector) as results:
        assert next(results).frame.index == 0
        assert running() == {"capture"}
    assert not running()
    for result in realtime.stream(clip, detector):
        assert result.faces
        break
    del result
    gc.collect()
    assert not running()
    realtime.stream(clip, detector).close()  # never begun


def test_a_part_of_a_file(detector, clip):
    results = list(realtime.stream(clip, detector, start_s=1.0, duration_s=0.5, raw=True))
    assert [round(result.frame.pts_s * 24) for result in results] == list(range(24, 36))


def test_a_stream_of_what_is_not_there_is_refused(detector, tmp_path):
    for source in (tmp_path / "no.mp4", "98", "tcp://127.0.0.1:1"):
        with pytest.raises(realtime.SourceError):
            realtime.stream(source, detector)
    with pytest.raises(ValueError, match="'0' is live"):
        realtime.stream(0, detector, start_s=1.0)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"model": "giant"}, realtime.ModelError, "giant"),
        ({"threshold": 1.5}, ValueError, "expected a threshold from 0 to 1, found 1.5"),
        ({"provider": "tpu"}, ValueError, "tpu"),
    ],
)
def test_a_detector_that_cannot_be_made_says_why(arguments, error, message):
    with pytest.raises(error, match=message):
        realtime.Detector(**arguments)


def test_importing_the_package_loads_nothing_heavy():
    heavy = {"cv2", "numpy", "onnxruntime", "av"}
    code = f"import sys, realtime; assert realtime.__version__; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_every_public_name_is_there_and_documented():
    for name in realtime.__all__:
        assert getattr(realtime, name).__doc__ or name == "PARTS"
    assert set(realtime.__all__) <= set(dir(realtime))
    with pytest.raises(AttributeError, match="no attribute 'Detektor'"):
        realtime.Detektor  # noqa: B018


def test_the_page_runs_as_it_stands(tmp_path):
    cv2.imwrite(str(tmp_path / "photo.jpg"), cv2.imread(str(PHOTO)))
    make_video(tmp_path / "in.mp4", frames=6)
    blocks = python_of(ROOT / "docs" / "python.md")
    assert len(blocks) >= 4
    for block in blocks:
        done = run_python(block, tmp_path)
        assert done.returncode == 0, f"{block}\n{done.stderr}"
    assert (tmp_path / "drawn.jpg").exists()
    assert len(read_video(tmp_path / "in.mp4")) == 6

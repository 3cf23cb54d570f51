from dataclasses import replace

import numpy as np
import pytest

from realtime.errors import SinkError
from realtime.results import Result
from realtime.sinks.base import Ending
from realtime.sinks.crops import CropsSink, cut_out
from realtime.sinks.csv_file import CsvSink
from realtime.structures import PARTS, Detections, Frame

NAMES = ("face", "left eye")


def result(index=0):
    image = np.full((40, 60, 3), 7, np.uint8)
    boxes = np.array([[1.25, 2, 30, 30], [-5, -5, 6, 6], [100, 100, 110, 110]], np.float32)
    found = Detections(boxes, np.array([0, 1, 1]), np.array([0.98768, 0.5, 0.25], np.float32), NAMES)
    return Result(Frame(image, index, index / 25, 0.0), found, image)


SINKS = pytest.mark.parametrize(("kind", "name"), [(CsvSink, "out.csv"), (CropsSink, "crops")])


def test_a_table_has_one_line_a_detection(tmp_path):
    sink = CsvSink(tmp_path / "out.csv")
    sink.write(result(3))
    sink.close(Ending.COMPLETE)
    lines = (tmp_path / "out.csv").read_bytes().decode().split("\n")
    assert lines[0] == "frame,pts_s,face,feature,label,score,x1,y1,x2,y2"
    assert lines[1] == "3,0.12,,,face,0.9877,1.25,2.0,30.0,30.0"
    assert len(lines) == 5


@SINKS
def test_nothing_is_there_before_the_end_nor_after_a_failure(tmp_path, kind, name):
    sink = kind(tmp_path / name)
    sink.write(result())
    assert not (tmp_path / name).exists()
    sink.close(Ending.FAILED)
    assert list(tmp_path.iterdir()) == []


@SINKS
def test_what_was_done_is_kept_when_the_user_stops(tmp_path, kind, name):
    sink = kind(tmp_path / name)
    sink.write(result())
    sink.close(Ending.STOPPED)
    sink.close(Ending.STOPPED)
    assert [p.name for p in tmp_path.iterdir()] == [name]


@SINKS
def test_a_missing_folder_is_reported(tmp_path, kind, name):
    with pytest.raises(SinkError, match=f"cannot write .*{name}: folder .*nowhere does not exist"):
        kind(tmp_path / "nowhere" / name)


def test_names_of_crops_sort_and_those_outside_are_left_out(tmp_path):
    (tmp_path / "crops").mkdir()  # empty: it may be used
    sink = CropsSink(tmp_path / "crops")
    for index in (2, 10):
        sink.write(result(index))
    sink.close(Ending.COMPLETE)
    assert sorted(p.name for p in (tmp_path / "crops").iterdir()) == [
        "000002_noface_face_0.png", "000002_noface_left eye_0.png",
        "000010_noface_face_0.png", "000010_noface_left eye_0.png",
    ]  # fmt: skip


def test_parts_of_faces_have_their_number_and_side(tmp_path):
    plain = result(4)
    parts = np.array([PARTS.index("face"), PARTS.index("left_eye"), -1])
    found = replace(plain.detections, class_names=("Face", "eye"), face_ids=np.array([12, 12, 0]), parts=parts)
    grouped = Result(plain.frame, found)
    table, crops = CsvSink(tmp_path / "out.csv"), CropsSink(tmp_path / "crops")
    for sink in (table, crops):
        sink.write(grouped)
        sink.close(Ending.COMPLETE)
    rows = [line.split(",")[2:5] for line in (tmp_path / "out.csv").read_text().splitlines()[1:]]
    assert rows == [["12", "face", "Face"], ["12", "left_eye", "eye"], ["", "", "eye"]]
    files = sorted(p.name for p in (tmp_path / "crops").iterdir())
    assert files == ["000004_face012_face_0.png", "000004_face012_left_eye_0.png"]


def test_a_crop_is_whole_pixels_inside_of_the_image():
    image = np.arange(40 * 60 * 3, dtype=np.uint32).astype(np.uint8).reshape(40, 60, 3)
    np.testing.assert_array_equal(cut_out(image, np.array([1.2, 2.0, 9.1, 8.0])), image[2:8, 1:10])
    np.testing.assert_array_equal(cut_out(image, np.array([-9.0, 30.5, 4.0, 99.0])), image[30:40, 0:4])
    assert cut_out(image, np.array([70.0, 0.0, 80.0, 9.0])).size == 0

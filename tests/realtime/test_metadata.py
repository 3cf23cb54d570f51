import json

import pytest
from fakes import metadata

from realtime.errors import ModelError
from realtime.metadata import KEY_PREFIX, ModelMetadata
from realtime.score_levels import CALIBRATED, UNCALIBRATED, ScoreLevels


def test_metadata_survives_a_round_trip():
    original = metadata(class_names=("Gesicht", "œil"), training={"data": "x", "metrics": {"map50": 0.9}})
    assert ModelMetadata.from_props(original.to_props(), "m.onnx") == original


def test_a_file_of_another_program_is_named_as_such():
    with pytest.raises(ModelError, match=r"^m\.onnx: this ONNX file has no metadata of this app; export it again"):
        ModelMetadata.from_props({"author": "somebody"}, "m.onnx")


def test_a_key_of_an_earlier_version_is_ignored():
    props = metadata().to_props() | {KEY_PREFIX + "resize_mode": json.dumps("letterbox")}
    assert ModelMetadata.from_props(props, "m.onnx") == metadata()


def test_a_file_that_was_written_before_there_was_half_precision_is_float32():
    props = metadata(precision="float16").to_props()
    assert ModelMetadata.from_props(props, "m.onnx").precision == "float16"
    del props[KEY_PREFIX + "precision"]
    assert ModelMetadata.from_props(props, "m.onnx").precision == "float32"


def test_a_batch_is_named_where_there_is_one():
    """Files for one image stay as they were, and older versions of the app read them."""
    assert KEY_PREFIX + "batch" not in metadata().to_props()
    batched = metadata(batch=16)
    assert ModelMetadata.from_props(batched.to_props(), "m.onnx") == batched
    assert (metadata().rows_shape, batched.rows_shape) == ((4,), (16, 4))


CALIBRATION = {"a": 0.5, "b": 1.5, "factors": [0.1, 0.2]}


def test_a_calibration_is_named_where_there_is_one_and_decides_what_low_scores_are_good_for():
    """Models of earlier versions behave as they did."""
    assert KEY_PREFIX + "calibration" not in metadata().to_props()
    assert ModelMetadata.from_props(metadata().to_props(), "m.onnx").levels == UNCALIBRATED
    calibrated = metadata(calibration=CALIBRATION)
    assert ModelMetadata.from_props(calibrated.to_props(), "m.onnx") == calibrated
    assert calibrated.levels == CALIBRATED
    assert ScoreLevels(candidate=0.3, continuing=0.5, rejected=0.3, doubt=0.5) == UNCALIBRATED


@pytest.mark.parametrize(
    "wrong",
    [{"a": 0}, {"b": -1.0}, {"a": None}, {"a": True}, {"factors": 0.5}, {"factors": [0.1, 0]}, {"factors": ["x", 1]}],
)
def test_a_calibration_that_does_not_rise_is_refused(wrong):
    props = metadata(calibration=CALIBRATION | wrong).to_props()
    with pytest.raises(ModelError, match="metadata key 'calibration' has a bad value"):
        ModelMetadata.from_props(props, "m.onnx")


def test_a_calibration_of_other_classes_is_refused():
    props = metadata(calibration=CALIBRATION | {"factors": [0.1]}).to_props()
    with pytest.raises(ModelError, match="metadata key 'calibration' is for another number of classes"):
        ModelMetadata.from_props(props, "m.onnx")


def test_a_batch_of_more_pixels_than_fit_into_memory_is_refused():
    props = metadata(batch=128, input_wh=(1024, 1024)).to_props()
    with pytest.raises(ModelError, match=r"^m\.onnx: 128 images of 1024x1024 in a run are too many"):
        ModelMetadata.from_props(props, "m.onnx")


@pytest.mark.parametrize("key", sorted(metadata().to_props().keys() - {KEY_PREFIX + "precision"}))
def test_each_missing_key_is_named(key):
    props = metadata().to_props()
    del props[key]
    with pytest.raises(ModelError, match=f"metadata key '{key.removeprefix(KEY_PREFIX)}' is missing"):
        ModelMetadata.from_props(props, "m.onnx")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("class_names", []),
        ("class_names", ["face", 3]),
        ("class_names", ["face", "face"]),
        ("class_names", "face"),
        ("class_names", ["x"] * 20_000),
        ("input_wh", [256]),
        ("input_wh", [10**9, 10**9]),
        ("input_wh", ["256", "256"]),
        ("max_detections", 0),
        ("max_detections", True),
        ("threshold", 1.5),
        ("threshold", float("nan")),
        ("min_score", None),
        ("architecture", 7),
        ("training", []),
        ("padding_value", 256),
        ("precision", "int8"),
        ("precision", None),
        ("schema_version", 99),
        ("batch", 0),
        ("batch", 10_000),
        ("batch", True),
        ("batch", 2.0),
        ("calibration", []),
        ("calibration", {}),
        ("calibration", 0.5),
    ],
)
def test_bad_values_are_refused(key, value):
    props = metadata().to_props() | {KEY_PREFIX + key: json.dumps(value)}
    with pytest.raises(ModelError, match=f"metadata key '{key}' has a bad value"):
        ModelMetadata.from_props(props, "m.onnx")


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "nonsense"])
def test_values_that_are_no_json_are_refused(text):
    props = metadata().to_props() | {KEY_PREFIX + "training": text}
    with pytest.raises(ModelError, match="metadata key 'training' is not JSON"):
        ModelMetadata.from_props(props, "m.onnx")

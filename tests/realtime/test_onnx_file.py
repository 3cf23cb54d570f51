"""The metadata of an ONNX file, read without a session."""

import random

import onnx
import onnxruntime as ort
import pytest
from fakes import metadata, stub_model
from pretend_gpu import PretendGpu

from realtime.errors import ModelError
from realtime.inference import session
from realtime.inference.detector import OnnxDetector, find_model, shipped_models
from realtime.inference.onnx_file import read_metadata_props
from realtime.inference.providers import Provider
from realtime.metadata import ModelMetadata


@pytest.mark.parametrize("name", shipped_models())
def test_it_reads_what_onnxruntime_reads(name):
    model = find_model(name)
    expected = ort.InferenceSession(model, providers=["CPUExecutionProvider"]).get_modelmeta().custom_metadata_map
    assert read_metadata_props(model) == expected
    assert ModelMetadata.from_props(expected, name).precision == "float32"


def test_any_text_is_read(tmp_path):
    contract = metadata(class_names=("œil", "face"), training={"notes": "é" * 70_000}, precision="float16")
    props = read_metadata_props(stub_model(tmp_path / "m.onnx", contract=contract))
    assert ModelMetadata.from_props(props, "m.onnx") == contract


def test_a_model_without_metadata_has_none(tmp_path):
    assert read_metadata_props(stub_model(tmp_path / "m.onnx", props={})) == {}


@pytest.mark.parametrize(
    "content", [b"\xff" * 40, b"\x0b\x0b", b"\x72\x7f", b"\x72\x04\x0a\x09ab", b"\x08", b"\x72\x03\x0a\x01\xff"]
)
def test_a_file_that_is_no_protocol_buffer_is_refused(tmp_path, content):
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"not a protocol buffer|invalid start byte"):
        read_metadata_props(path)


def test_damaged_files_are_read_or_refused(tmp_path):
    path = stub_model(tmp_path / "m.onnx")
    data = path.read_bytes()
    rng = random.Random(0)
    for _ in range(300):
        damaged = bytearray(data)
        for _ in range(rng.choice((1, 10))):
            damaged[rng.randrange(len(data))] = rng.randrange(256)
        path.write_bytes(damaged[: rng.randrange(len(data))] if rng.random() < 0.2 else damaged)
        try:
            props = read_metadata_props(path)
        except ValueError:
            continue
        assert all(isinstance(text, str) for pair in props.items() for text in pair)


def test_tensorrt_opens_no_session_on_the_cpu_to_know_the_precision(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    PretendGpu(monkeypatch)
    monkeypatch.setattr(session, "_open_on_cpu", lambda *_: pytest.fail("a session on the CPU was opened"))
    OnnxDetector(stub_model(tmp_path / "m.onnx"), provider=Provider.TENSORRT)


def test_tensorrt_refuses_a_file_that_is_no_model(tmp_path, monkeypatch):
    PretendGpu(monkeypatch)
    (tmp_path / "m.onnx").write_bytes(b"not a model at all")
    with pytest.raises(ModelError, match=r"m\.onnx: not a readable ONNX model: not a protocol buffer"):
        OnnxDetector(tmp_path / "m.onnx", provider=Provider.TENSORRT)


def test_the_numbers_are_those_of_the_format():
    fields = onnx.ModelProto.DESCRIPTOR.fields_by_name
    assert fields["metadata_props"].number == 14

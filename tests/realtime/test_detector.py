import time
from contextlib import suppress
from types import SimpleNamespace

import numpy as np
import onnxruntime as ort
import pytest
from fakes import metadata, stub_model, without_driver

from realtime.errors import ModelError, ProviderError
from realtime.inference.detector import OnnxDetector, find_model, shipped_models
from realtime.inference.providers import Provider

PICTURE = np.zeros((100, 200, 3), np.uint8)


def test_boxes_are_in_pixels_of_the_image(tmp_path):
    detector = OnnxDetector(stub_model(tmp_path / "m.onnx"), provider=Provider.CPU)
    found = detector.detect(PICTURE)  # lies at 64x32, 16 below the top, in the input of 64x64
    scale = 200 / 64
    np.testing.assert_allclose(found.boxes[0], [8 * scale, 0, 40 * scale, 32 * scale], rtol=1e-6)
    assert found.labels.tolist() == [0, 1]
    assert found.boxes.dtype == np.float32
    assert found.labels.dtype == np.int64


def test_unused_rows_are_left_out(tmp_path):
    assert len(OnnxDetector(stub_model(tmp_path / "m.onnx", rows=()), provider=Provider.CPU).detect(PICTURE)) == 0


def test_a_missing_model_is_named(tmp_path):
    with pytest.raises(ModelError, match=r"nothing\.onnx: not found"):
        OnnxDetector(tmp_path / "nothing.onnx")


def test_a_file_that_is_no_model_is_refused(tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(b"not a model at all")
    with pytest.raises(ModelError, match="not a readable ONNX model"):
        OnnxDetector(path)


def test_a_truncated_model_is_refused(tmp_path):
    whole = stub_model(tmp_path / "m.onnx")
    whole.write_bytes(whole.read_bytes()[:-200])
    with pytest.raises(ModelError):
        OnnxDetector(whole)


def test_a_model_of_another_program_is_refused(tmp_path):
    path = stub_model(tmp_path / "m.onnx", props={})
    with pytest.raises(ModelError, match="no metadata of this app"):
        OnnxDetector(path, provider=Provider.CPU)


def test_metadata_that_promise_another_input_are_refused(tmp_path):
    path = stub_model(tmp_path / "m.onnx", props=metadata(input_wh=(128, 64)).to_props())
    with pytest.raises(ModelError, match="graph and metadata disagree"):
        OnnxDetector(path, provider=Provider.CPU)


def test_an_unknown_model_name_lists_those_that_are_there():
    with pytest.raises(ModelError, match="neither a file nor a model that comes with the app"):
        find_model("huge")


def test_shipped_models_are_found_by_name():
    assert "nano" in shipped_models()
    assert find_model("nano").is_file()


@pytest.mark.skipif(not without_driver(), reason="this machine has an NVIDIA driver")
@pytest.mark.parametrize("provider", [Provider.CUDA, Provider.TENSORRT])
def test_a_provider_asked_for_by_name_never_falls_back(tmp_path, provider):
    with pytest.raises(ProviderError, match=f"^provider {provider.value}: "):
        OnnxDetector(stub_model(tmp_path / "m.onnx"), provider=provider)


@pytest.mark.skipif(not without_driver(), reason="this machine has an NVIDIA driver")
def test_auto_takes_the_cpu_and_knows_why(tmp_path):
    detector = OnnxDetector(stub_model(tmp_path / "m.onnx"), provider=Provider.AUTO)
    assert detector.provider is Provider.CPU
    assert detector.fallback_reason


@pytest.mark.needs_cuda
@pytest.mark.skipif(without_driver(), reason="needs an NVIDIA GPU: no driver found")
def test_cuda_finds_what_the_cpu_finds():
    rng = np.random.default_rng(0)
    picture = rng.integers(256, size=(360, 640, 3), dtype=np.uint8)
    on_cpu = OnnxDetector(find_model("nano"), provider=Provider.CPU).detect(picture).above(0.1)
    on_gpu = OnnxDetector(find_model("nano"), provider=Provider.CUDA).detect(picture).above(0.1)
    np.testing.assert_allclose(on_gpu.boxes, on_cpu.boxes, atol=0.5)


def test_telemetry_is_off_before_anything_else_is_asked_of_onnxruntime(tmp_path, monkeypatch):
    """Images of people, and what is done with them, stay on the machine."""
    calls = []
    for name in ("disable_telemetry_events", "enable_telemetry_events", "SessionOptions", "InferenceSession"):
        real = getattr(ort, name)
        monkeypatch.setattr(ort, name, lambda *a, name=name, real=real, **k: calls.append(name) or real(*a, **k))
    OnnxDetector(stub_model(tmp_path / "m.onnx"), provider=Provider.CPU)
    assert calls == ["disable_telemetry_events", "SessionOptions", "InferenceSession"]


def test_every_node_is_counted_where_it_runs():
    detector = OnnxDetector(find_model("nano"), provider=Provider.CPU)
    assert set(detector.node_counts) == {"CPUExecutionProvider"}
    assert detector.node_counts["CPUExecutionProvider"] > 100


@pytest.mark.skipif(not without_driver(), reason="this machine has an NVIDIA driver")
def test_a_provider_that_does_not_start_says_that_all_would_run_on_the_cpu(tmp_path, monkeypatch, capfd):
    """onnxruntime itself would open the session on the CPU; here the checks before it are switched off."""
    monkeypatch.setattr("realtime.inference.session.unavailable_reason", lambda _provider: None)
    message = r"^provider cuda: it does not start, and all \d+ nodes would run on the CPU; find out why$"
    with pytest.raises(ProviderError, match=message):
        OnnxDetector(stub_model(tmp_path / "m.onnx"), provider=Provider.CUDA)
    assert capfd.readouterr().out == ""  # where onnxruntime tells of its fallbacks


class PartlyPlaced:
    """A session on CUDA that left some nodes to the CPU."""

    def __init__(self, on_cpu):
        self._parts = {"CUDAExecutionProvider": ["Conv"] * 700, "CPUExecutionProvider": on_cpu}

    def get_providers(self):
        return list(self._parts)

    def get_provider_graph_assignment_info(self):
        for name, kinds in self._parts.items():
            nodes = [SimpleNamespace(op_type=kind) for kind in kinds]
            yield SimpleNamespace(ep_name=name, get_nodes=lambda nodes=nodes: nodes)


@pytest.mark.parametrize(
    ("on_cpu", "words"),
    [
        (
            ["NonZero"] * 3 + ["If"],
            r"placed 4 of 704 nodes on the CPU \(3 NonZero, 1 If\); export the model again, or use provider cpu$",
        ),
        (list("AABCDEFG"), r"placed 8 of 708 nodes on the CPU \(2 A, 1 B, 1 C, 1 D, 1 E, …\)"),
        ([], r"cannot run \S+m\.onnx there: out of memory"),
    ],
)
def test_the_nodes_that_would_run_on_the_cpu_are_named(tmp_path, monkeypatch, on_cpu, words):
    def open_session(_model, options, **_):
        with suppress(RuntimeError):  # the entry is not there
            options.get_session_config_entry("session.disable_cpu_ep_fallback")
            raise MemoryError("out of memory")
        return PartlyPlaced(on_cpu)

    monkeypatch.setattr("realtime.inference.session.unavailable_reason", lambda _provider: None)
    monkeypatch.setattr(ort, "InferenceSession", open_session)
    with pytest.raises(ProviderError, match=r"^provider cuda: onnxruntime " + words):
        OnnxDetector(stub_model(tmp_path / "m.onnx"), provider=Provider.CUDA)


def test_no_session_falls_back_to_the_cpu_in_the_middle_of_a_run(tmp_path, monkeypatch):
    """onnxruntime's Python layer would do so, with a line on standard output, when a provider fails."""
    real, asked = ort.InferenceSession, []
    monkeypatch.setattr(ort, "InferenceSession", lambda *a, **k: asked.append(k) or real(*a, **k))
    OnnxDetector(stub_model(tmp_path / "m.onnx"), provider=Provider.CPU)
    assert [options["enable_fallback"] for options in asked] == [0]


def test_threads_of_the_network_leave_their_cores_between_frames(monkeypatch):
    monkeypatch.setattr("realtime.inference.detector.core_count", lambda: 4)  # three threads beside the caller's
    detector = OnnxDetector(find_model("nano"), provider=Provider.CPU)

    def idle_cpu_s() -> float:
        detector.detect(PICTURE)
        started = time.process_time()
        time.sleep(0.3)
        return time.process_time() - started

    # With onnxruntime's own limit it is 0.07 s and more, each time.
    assert min(idle_cpu_s() for _ in range(5)) < 0.02

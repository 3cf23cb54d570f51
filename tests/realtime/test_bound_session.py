"""Buffers that are allocated once, for real on the CPU; and CUDA graphs that a session refuses, at its boundary."""

import mmap
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from fakes import metadata, stub_model, without_driver
from onnx import TensorProto, helper
from pretend_gpu import PretendGpu

from realtime.commands.opening import open_detector, speed_notices
from realtime.errors import ModelError, ProviderError
from realtime.inference.detector import OnnxDetector, find_model
from realtime.inference.gpu_settings import (
    ConvSearch,
    Engine,
    GpuSettings,
    cuda_options,
    providers_of,
    tensorrt_options,
)
from realtime.inference.io_binding import WARM_UP_RUNS, BoundSession
from realtime.inference.providers import Provider
from realtime.metadata import OUTPUT_NAMES

FACE = Path(__file__).parents[2] / "export" / "images" / "astronaut_close.jpg"
PICTURE = np.zeros((100, 200, 3), np.uint8)


@pytest.fixture(scope="module")
def session() -> ort.InferenceSession:
    return ort.InferenceSession(find_model("nano"), providers=["CPUExecutionProvider"])


def image_for(session: ort.InferenceSession, shift: int) -> np.ndarray:
    """A face, each time elsewhere."""
    _, height, width, _ = session.get_inputs()[0].shape
    photo = cv2.resize(cv2.imread(str(FACE)), (width, height), interpolation=cv2.INTER_AREA)
    return np.roll(photo, 9 * shift, axis=1)[None]


def test_results_are_those_of_a_plain_run(session):
    bound = BoundSession(session, "cpu")
    for shift in range(3):
        image = image_for(session, shift)
        expected = session.run(OUTPUT_NAMES, {"image": image})

        found = bound.run(image)

        for name, values in zip(OUTPUT_NAMES, expected, strict=True):
            assert found[name].dtype == values.dtype
            np.testing.assert_array_equal(found[name], values, err_msg=name)
    assert found["scores"].any()


def test_buffers_are_reused_and_results_are_left_alone(session, monkeypatch):
    bound = BoundSession(session, "cpu")
    for name in ("ortvalue_from_numpy", "ortvalue_from_shape_and_type"):
        monkeypatch.setattr(ort.OrtValue, name, lambda *_: pytest.fail("a run allocates a buffer"))
    first = bound.run(image_for(session, 0))
    kept = {name: values.copy() for name, values in first.items()}

    second = bound.run(image_for(session, 1))

    assert not np.array_equal(second["boxes"], kept["boxes"])
    for name, values in first.items():
        np.testing.assert_array_equal(values, kept[name])
        assert values.flags.writeable


def test_the_image_may_be_changed_after_the_run(session):
    bound = BoundSession(session, "cpu")
    image = image_for(session, 0)
    expected = bound.run(image)
    again = image.copy()
    image.fill(0)

    found = bound.run(again)

    np.testing.assert_array_equal(found["boxes"], expected["boxes"])


@pytest.mark.parametrize("change", [lambda x: x[:, :-1], lambda x: x[0], lambda x: x.astype(np.float32)])
def test_an_input_of_another_shape_or_type_is_refused(session, change):
    with pytest.raises(ValueError, match=r"expected an input uint8 \(1, \d+, \d+, 3\), found"):
        BoundSession(session, "cpu").run(change(image_for(session, 0)))


def failing_model(path: Path) -> Path:
    """Keeps the contract, and looks for a fifth score of four when a pixel is white."""
    model = onnx.load(stub_model(path))
    for node in model.graph.node:
        if node.output[0] == "scores":
            node.output[0] = "all"
    model.graph.node.extend(
        [
            helper.make_node("Div", ["float", "white"], ["one"]),
            helper.make_node("Cast", ["one"], ["index"], to=TensorProto.INT64),
            helper.make_node("Mul", ["index", "four"], ["beyond"]),
            helper.make_node("Gather", ["all", "beyond"], ["picked"]),
            helper.make_node("Sub", ["picked", "picked"], ["no_score"]),
            helper.make_node("Add", ["all", "no_score"], ["scores"]),
        ]
    )
    white, four = helper.make_tensor("white", 1, [], [255.0]), helper.make_tensor("four", 7, [], [4])
    model.graph.initializer.extend([white, four])
    onnx.save(model, path)
    return path


def test_a_network_that_fails_is_a_model_error(tmp_path, monkeypatch):
    PretendGpu(monkeypatch)
    detector = OnnxDetector(failing_model(tmp_path / "m.onnx"), provider=Provider.CUDA)
    assert len(detector.detect(PICTURE)) == 2

    with pytest.raises(ModelError, match=r"m\.onnx: the network failed on cuda: .* out of data bounds"):
        detector.detect(np.full_like(PICTURE, 255))
    assert len(detector.detect(PICTURE)) == 2


def test_a_graph_is_recorded_before_the_first_image(tmp_path, monkeypatch):
    gpu = PretendGpu(monkeypatch)

    detector = OnnxDetector(stub_model(tmp_path / "m.onnx"), provider=Provider.CUDA)

    (session,) = gpu.opened
    assert session.records_graph
    assert session.runs == WARM_UP_RUNS
    assert detector.cuda_graph_error is None
    assert detector.detect(PICTURE).labels.tolist() == [0, 1]


def refuse_graphs(session) -> None:
    if session.records_graph:
        raise RuntimeError("This session cannot use the graph capture feature as requested by the user")


@pytest.mark.parametrize("fails_in_run", [None, 1, 3])
@pytest.mark.parametrize("provider", [Provider.CUDA, Provider.AUTO])
def test_without_a_graph_it_runs_all_the_same_and_says_why(tmp_path, monkeypatch, capsys, fails_in_run, provider):
    gpu = PretendGpu(monkeypatch, on_open=refuse_graphs if fails_in_run is None else lambda _: None)
    gpu.fails_in_run = fails_in_run

    detector = open_detector(str(stub_model(tmp_path / "m.onnx")), provider)

    assert [session.records_graph for session in gpu.opened] == [True, False]
    assert detector.provider is Provider.CUDA
    assert detector.detect(PICTURE).labels.tolist() == [0, 1]
    reason = "This session cannot use the graph" if fails_in_run is None else "CUDA failure 900"
    assert capsys.readouterr() == ("", "")
    (line,) = speed_notices(detector, "m.onnx")
    assert line.startswith(f"running without a CUDA graph, somewhat slower: {reason}")
    assert "\n" not in line


def test_a_gpu_that_fails_either_way_is_reported_by_its_last_words(tmp_path, monkeypatch):
    def fail(session) -> None:
        raise RuntimeError("no graph" if session.records_graph else "out of memory")

    PretendGpu(monkeypatch, on_open=fail)
    with pytest.raises(ProviderError, match=r"^provider cuda: onnxruntime cannot run \S+ there: out of memory$"):
        OnnxDetector(stub_model(tmp_path / "m.onnx"), provider=Provider.CUDA)


def test_a_model_that_breaks_the_contract_is_no_reason_to_try_again(tmp_path, monkeypatch):
    gpu = PretendGpu(monkeypatch)
    path = stub_model(tmp_path / "m.onnx", props=metadata(input_wh=(128, 64)).to_props())
    with pytest.raises(ModelError, match="graph and metadata disagree"):
        OnnxDetector(path, provider=Provider.CUDA)
    assert len(gpu.opened) == 1


@pytest.mark.needs_cuda
@pytest.mark.skipif(without_driver(), reason="needs an NVIDIA GPU: no driver found")
def test_a_replayed_graph_sees_each_new_image(session):
    on_gpu = OnnxDetector(find_model("nano"), provider=Provider.CUDA)
    assert on_gpu.cuda_graph_error is None
    assert set(on_gpu.node_counts) == {"CUDAExecutionProvider"}
    on_cpu = OnnxDetector(find_model("nano"), provider=Provider.CPU)
    for shift in (0, 1, 2, 0):
        image = image_for(session, shift)[0]
        expected, found = on_cpu.detect(image).above(0.5), on_gpu.detect(image).above(0.5)
        assert len(expected) > 3
        np.testing.assert_array_equal(found.labels, expected.labels)
        np.testing.assert_allclose(found.boxes, expected.boxes, atol=0.1)
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-3)


def test_half_precision_on_the_cpu_is_reported(tmp_path):
    model = stub_model(tmp_path / "m.onnx", contract=metadata(precision="float16"))
    assert speed_notices(open_detector(str(model), Provider.CPU), str(model)) == [
        f"{model} is in half precision, for GPUs: slower on the CPU than the model in float32"
    ]


def test_settings_become_options():
    assert cuda_options(GpuSettings()) == {
        "enable_cuda_graph": "1", "prefer_nhwc": "0", "use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC",
    }  # fmt: skip
    other = GpuSettings(cuda_graph=False, nhwc=True, tf32=True, conv_search=ConvSearch.EXHAUSTIVE)
    assert cuda_options(other) == {
        "enable_cuda_graph": "0", "prefer_nhwc": "1", "use_tf32": "1", "cudnn_conv_algo_search": "EXHAUSTIVE",
    }  # fmt: skip
    assert list(other.attempts()) == [other]


def test_one_provider_alone_records_a_graph():
    engine = Engine(Path("engines"), is_built=True, timings=Path("timings"), half=True)
    (first, options), (second, rest) = providers_of(Provider.TENSORRT, GpuSettings(), engine)
    assert (first, second) == ("TensorrtExecutionProvider", "CUDAExecutionProvider")
    assert (options["trt_cuda_graph_enable"], rest["enable_cuda_graph"]) == ("True", "0")
    assert (options["trt_fp16_enable"], options["trt_engine_cache_path"]) == ("True", "engines")


@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_this_onnxruntime_knows_the_options(provider):
    """It refuses a name that it does not know, but only where there is a GPU."""
    engine = Engine(Path("engines"), is_built=True, timings=Path("timings"), half=True)
    options = cuda_options(GpuSettings()) if provider == "cuda" else tensorrt_options(GpuSettings(), engine)
    libraries = list((Path(ort.__file__).parent / "capi").glob(f"*providers_{provider}.*"))
    if not libraries:
        pytest.skip(f"this onnxruntime is built without {provider}")
    with libraries[0].open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        assert not [name for name in options if content.find(b"\0" + name.encode() + b"\0") < 0]

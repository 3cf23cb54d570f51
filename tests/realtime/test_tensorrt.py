"""TensorRT without a GPU: libraries that are missing or lie in a package, and the folder of the engines."""

import ctypes
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from fakes import metadata, stub_model
from pretend_gpu import PretendGpu

from realtime.errors import ProviderError
from realtime.inference import tensorrt
from realtime.inference.detector import OnnxDetector
from realtime.inference.gpu_settings import Engine
from realtime.inference.providers import Provider
from realtime.inference.session import BUILDING
from realtime.wording import remedy_text

ALL = {"libnvinfer.so.10", "libnvinfer_plugin.so.10", "libnvonnxparser.so.10"}
PICTURE = np.zeros((64, 64, 3), np.uint8)


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """The user's cache folder, which does not exist yet."""
    monkeypatch.setattr(tensorrt.platform, "system", lambda: "Linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "facial-feature-rcnn" / "tensorrt"


@pytest.mark.parametrize("missing", sorted(ALL))
def test_the_library_that_is_missing_is_named_with_what_to_install(monkeypatch, missing):
    def load(name, **_):
        if name not in ALL - {missing}:
            raise OSError(f"{name}: cannot open shared object file")
        return object()

    monkeypatch.setattr(ctypes, "CDLL", load)
    monkeypatch.setattr(tensorrt.platform, "system", lambda: "Linux")
    monkeypatch.setattr(tensorrt.ort, "get_available_providers", lambda: ["TensorrtExecutionProvider"])
    monkeypatch.setattr(tensorrt, "cuda_major", lambda: 13)
    reason = tensorrt.unavailable_reason()
    assert reason.message == f"TensorRT 10 is missing: {missing} cannot be loaded"
    expected = "install it with: pip install 'tensorrt-cu13==10.*', or use --provider cuda"
    assert remedy_text(reason.remedy) == expected


def test_an_onnxruntime_without_tensorrt_is_reported(monkeypatch):
    monkeypatch.setattr(tensorrt.ort, "get_available_providers", lambda: ["CPUExecutionProvider"])
    assert "built without TensorRT" in tensorrt.unavailable_reason().message


@pytest.mark.skipif(sys.platform != "linux" or not shutil.which("cc"), reason="needs Linux and a C compiler")
def test_libraries_of_a_python_package_are_found_and_known_to_the_loader(tmp_path):
    """In a process of its own, since a library stays loaded."""
    folder = tmp_path / "tensorrt_libs"
    folder.mkdir()
    for name in ALL:
        (folder / "library.c").write_text("int getInferLibVersion(void) { return 101304; }")
        command = ["cc", "-shared", "-fPIC", f"-Wl,-soname,{name}", "-o", name, "library.c"]
        subprocess.run(command, cwd=folder, check=True)
    code = (
        "import ctypes, sysconfig; from realtime.inference import tensorrt\n"
        f"sysconfig.get_path = lambda _: {str(tmp_path)!r}\n"
        "print(tensorrt.unavailable_reason(), ctypes.CDLL('libnvinfer.so.10').getInferLibVersion())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False)
    assert done.stdout == "None 101304\n", done.stderr


def test_the_cache_folder_is_the_one_that_the_environment_names(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert tensorrt.cache_folder() == tmp_path / "facial-feature-rcnn"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert tensorrt.cache_folder() == Path.home() / ".cache" / "facial-feature-rcnn"


def model_of(path: Path, content: bytes = b"a model") -> Path:
    path.write_bytes(content)
    return path


def test_an_engine_is_kept_when_the_session_is_open(tmp_path, cache):
    model = model_of(tmp_path / "m.onnx")
    with tensorrt.engine_for(model, half=False) as engine:
        assert not engine.is_built
        (engine.folder / "x_sm90.engine").write_bytes(b"engine")
    with tensorrt.engine_for(model, half=False) as engine:
        assert engine.is_built
        assert (engine.folder / "x_sm90.engine").read_bytes() == b"engine"
    assert [path.name for path in cache.iterdir()] == [engine.folder.name]


def test_a_build_that_is_broken_off_leaves_nothing(tmp_path, cache):
    model = model_of(tmp_path / "m.onnx")

    def build_half(engine: Engine) -> None:
        (engine.folder / "x_sm90.engine").write_bytes(b"half of an eng")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), tensorrt.engine_for(model, half=False) as engine:
        build_half(engine)
    assert list(cache.iterdir()) == []


def test_another_model_precision_card_or_library_needs_another_engine(tmp_path, cache, monkeypatch):
    library = SimpleNamespace(getInferLibVersion=lambda: 101303)
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: library)
    monkeypatch.setattr(tensorrt, "gpus", lambda: (13, [SimpleNamespace(name="Quadro")]))
    model = tmp_path / "m.onnx"

    def was_built(content: bytes, *, half: bool = False) -> bool:
        with tensorrt.engine_for(model_of(model, content), half=half) as engine:
            (engine.folder / "x_sm90.engine").write_bytes(b"engine")
            return engine.is_built

    assert not was_built(b"one")
    assert not was_built(b"one", half=True)
    assert not was_built(b"another")
    monkeypatch.setattr(tensorrt, "gpus", lambda: (13, [SimpleNamespace(name="GeForce")]))
    assert not was_built(b"one")
    library.getInferLibVersion = lambda: 101304
    assert not was_built(b"one")
    assert was_built(b"one")
    assert len(list(cache.iterdir())) == 5


@pytest.mark.usefixtures("cache")
def test_a_cache_folder_that_cannot_be_made_is_an_error(tmp_path):
    model_of(tmp_path / "cache")  # a file in its place
    with (
        pytest.raises(
            ProviderError, match=r"cannot keep its engine in \S+: .*variable XDG_CACHE_HOME names another folder$"
        ),
        tensorrt.engine_for(model_of(tmp_path / "m.onnx"), half=False),
    ):
        pytest.fail("there is no folder")


def build(session) -> None:
    """What onnxruntime does: write an engine unless there is one."""
    options = session.options["TensorrtExecutionProvider"]
    (Path(options["trt_engine_cache_path"]) / "x_sm90.engine").write_bytes(b"engine")


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_the_wait_for_an_engine_is_reported_and_comes_once(tmp_path, monkeypatch, capsys, precision):
    gpu = PretendGpu(monkeypatch, on_open=build)
    model = stub_model(tmp_path / "m.onnx", contract=metadata(precision=precision))

    assert len(OnnxDetector(model, provider=Provider.TENSORRT).detect(PICTURE)) == 2
    assert capsys.readouterr().err.startswith(f"{BUILDING} …\nafter 0:0")

    assert len(OnnxDetector(model, provider=Provider.TENSORRT).detect(PICTURE)) == 2
    assert capsys.readouterr().err == ""
    assert [session.names for session in gpu.opened] == [["TensorrtExecutionProvider", "CUDAExecutionProvider"]] * 2
    fp16 = {session.options["TensorrtExecutionProvider"]["trt_fp16_enable"] for session in gpu.opened}
    assert fp16 == {str(precision == "float16")}


def test_an_engine_that_cannot_be_built_is_an_error_and_nothing_falls_back(tmp_path, cache, monkeypatch):
    def fail(_session) -> None:
        raise RuntimeError("TensorRT EP failed to create engine")

    PretendGpu(monkeypatch, on_open=fail)
    with pytest.raises(ProviderError, match=r"^provider tensorrt: .* there: TensorRT EP failed to create engine$"):
        OnnxDetector(stub_model(tmp_path / "m.onnx"), provider=Provider.TENSORRT)
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize(("system", "name"), [("Windows", "nvinfer_10.dll"), ("Linux", "libnvinfer.so.10")])
def test_the_missing_file_is_named_as_the_system_names_it(monkeypatch, system, name):
    def load(*_, **__):
        raise OSError("no such file")

    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(ctypes, "CDLL", load)
    monkeypatch.setattr(tensorrt.ort, "get_available_providers", lambda: ["TensorrtExecutionProvider"])
    monkeypatch.setattr(tensorrt, "cuda_major", lambda: 13)
    assert f"is missing: {name} cannot be loaded" in str(tensorrt.unavailable_reason())

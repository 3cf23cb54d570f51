"""What CUDA may lack, with a scripted driver and loader."""

import ctypes
import sys

import onnxruntime as ort
import pytest

from realtime.errors import Remedy
from realtime.inference import cuda
from realtime.wording import remedy_text

ALL = {"libcudart.so.13", "libcublasLt.so.13", "libcublas.so.13", "libcurand.so.10", "libcudnn.so.9"}


class Driver:
    """libcuda, as far as it is asked."""

    def __init__(self, *, version=13010, init=0, capability=(8, 9)):
        self._version, self._init, self._capability = version, init, capability

    def cuInit(self, _flags):  # noqa: N802
        return self._init

    def cuDriverGetVersion(self, number):  # noqa: N802
        number._obj.value = self._version

    def cuDeviceGetCount(self, number):  # noqa: N802
        number._obj.value = 1

    def cuDeviceGet(self, number, index):  # noqa: N802
        number._obj.value = index

    def cuDeviceGetName(self, name, _size, _device):  # noqa: N802
        name.value = b"GeForce"

    def cuDeviceTotalMem_v2(self, size, _device):  # noqa: N802
        size._obj.value = 8 * 2**30

    def cuDeviceGetAttribute(self, number, attribute, _device):  # noqa: N802
        number._obj.value = self._capability[attribute - 75]


@pytest.fixture
def machine(monkeypatch):
    """Set up a machine with this driver and these libraries."""

    def set_up(driver=None, libraries=ALL, *, has_card=True, providers=("CUDAExecutionProvider",)):
        def load(name):
            if name == "libcuda.so.1" and driver is not None:
                return driver
            if name not in libraries:
                raise OSError(f"{name}: cannot open shared object file")
            return object()

        monkeypatch.setattr(ctypes, "CDLL", load)
        monkeypatch.setattr(ort, "get_available_providers", lambda: list(providers))
        monkeypatch.setattr(ort, "preload_dlls", lambda: sys.stdout.write("Failed to load something"))
        monkeypatch.setattr(ort, "cuda_version", "13.0")
        monkeypatch.setattr(cuda.platform, "system", lambda: "Linux")
        monkeypatch.setattr(cuda.sysconfig, "get_path", lambda _: "/nowhere")
        monkeypatch.setattr(cuda, "_has_nvidia_card", lambda: has_card)

    return set_up


def test_a_machine_that_has_all_is_not_in_the_way(machine, capsys):
    machine(Driver())
    assert cuda.unavailable_reason() is None
    assert capsys.readouterr().out == ""  # what onnxruntime prints would stand among the app's JSON lines


@pytest.mark.parametrize(
    ("driver", "message", "remedy"),
    [
        (
            None,
            "no NVIDIA driver found, though there is an NVIDIA GPU",
            "install driver 580 or newer; in a container, give it access to the GPU with: docker run --gpus all",
        ),
        (Driver(version=12040), "too old: it supports CUDA 12.4", "install driver 580 or newer"),
        (Driver(init=100), "the NVIDIA driver sees no GPU", "CUDA_VISIBLE_DEVICES"),
        (Driver(init=803), "library and kernel module differ", "restart the machine"),
        (Driver(init=999), "cuInit gives 999", "nvidia-smi"),
        (Driver(capability=(6, 1)), "GeForce has compute capability 6.1, and CUDA 13 needs 7.5", "--provider cpu"),
    ],
)
def test_what_is_wrong_with_the_driver_is_reported(machine, driver, message, remedy):
    machine(driver)
    reason = cuda.unavailable_reason()
    assert message in reason.message
    assert remedy in remedy_text(reason.remedy)
    assert not reason.is_expected


@pytest.mark.parametrize(
    ("libraries", "message"),
    [
        (set(), "CUDA 13 is missing: libcudart.so.13 cannot be loaded"),
        (
            {"libcudart.so.12", "libcublasLt.so.12"},
            "CUDA 13 is missing: libcudart.so.13 cannot be loaded (found, but not usable: libcudart.so.12)",
        ),
        (ALL - {"libcurand.so.10"}, "CUDA 13 is missing: libcurand.so.10 cannot be loaded"),
        (ALL - {"libcudnn.so.9"}, "cuDNN 9 is missing: libcudnn.so.9 cannot be loaded"),
        (
            ALL - {"libcudnn.so.9"} | {"libcudnn.so.8"},
            "cuDNN 9 is missing: libcudnn.so.9 cannot be loaded (found, but not usable: libcudnn.so.8)",
        ),
    ],
)
def test_the_library_that_is_missing_is_named(machine, libraries, message):
    machine(Driver(), libraries)
    remedy = Remedy("install it with: pip install 'facial-feature-rcnn[cuda]'")
    assert cuda.unavailable_reason() == cuda.UnavailableReason(message, remedy)


def test_libraries_of_another_version_are_found_among_the_packages(machine, monkeypatch, tmp_path):
    machine(Driver(), set())
    monkeypatch.setattr(cuda.sysconfig, "get_path", lambda _: str(tmp_path))
    (tmp_path / "nvidia" / "cuda_runtime" / "lib").mkdir(parents=True)
    (tmp_path / "nvidia" / "cuda_runtime" / "lib" / "libcudart.so.12").touch()
    assert "(found, but not usable: libcudart.so.12)" in cuda.unavailable_reason().message


def test_a_machine_without_a_gpu_is_as_it_should_be(machine):
    machine(None, has_card=False)
    expected = cuda.UnavailableReason("no NVIDIA driver found, and no NVIDIA GPU", is_expected=True)
    assert cuda.unavailable_reason() == expected


def test_an_onnxruntime_without_cuda_is_reported(machine):
    machine(Driver(), providers=("CPUExecutionProvider",))
    reason = cuda.unavailable_reason()
    assert reason.message == "this onnxruntime is built without CUDA"
    assert reason.is_expected


def test_the_gpus_are_described(machine):
    machine(Driver())
    assert cuda.gpus() == ("13.1", [cuda.Gpu("GeForce", (8, 9), 8.0)])

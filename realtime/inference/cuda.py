"""What CUDA needs on this machine, and the first of it that is missing."""

import contextlib
import ctypes
import io
import platform
import sysconfig
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import onnxruntime as ort

from realtime.errors import Remedy

INSTALL = "pip install 'facial-feature-rcnn[cuda]'"
NVIDIA_PCI_VENDOR = "0x10de"
DISPLAY_PCI_CLASS = "0x03"
MIN_DRIVER = {12: "525", 13: "580"}
"""Oldest driver branch for each major version of CUDA on Linux (NVIDIA's CUDA compatibility guide)."""
MIN_CAPABILITY = {12: (5, 0), 13: (7, 5)}
"""Oldest compute capability that the libraries of each major version still support."""
CAPABILITY_ATTRIBUTES = (75, 76)
"""CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR of cuda.h."""
CU_INIT_ERRORS = {
    100: ("the NVIDIA driver sees no GPU", "check that CUDA_VISIBLE_DEVICES does not hide it, and nvidia-smi"),
    802: ("the NVIDIA driver is not ready yet", "start nvidia-fabricmanager, or wait until the machine is up"),
    803: ("the NVIDIA driver was updated while it ran: library and kernel module differ", "restart the machine"),
    804: ("this GPU does not support the forward compatible CUDA library in use", "install a newer NVIDIA driver"),
}
"""Results of cuInit, as cuda.h numbers them, that a user can do something about."""


@dataclass(frozen=True, slots=True)
class UnavailableReason:
    """Why an execution provider cannot be used."""

    message: str
    remedy: Remedy = field(default_factory=Remedy)
    is_expected: bool = False
    """True where nothing is wrong: there is no NVIDIA GPU, for example."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU as the driver describes it."""

    name: str
    capability: tuple[int, int]
    memory_gib: float


def unavailable_reason() -> UnavailableReason | None:
    """The first thing that CUDA lacks on this machine, or None. Libraries that are found are loaded.

    The driver is checked first, since onnxruntime prints errors of its own without it.
    """
    if "CUDAExecutionProvider" not in ort.get_available_providers():
        return UnavailableReason(
            "this onnxruntime is built without CUDA",
            Remedy(
                "" if platform.system() == "Darwin" else "replace it with onnxruntime-gpu if there is an NVIDIA GPU"
            ),
            is_expected=True,
        )
    major = cuda_major()
    return _driver_problem(major) or _library_problem(major)


def cuda_major() -> int:
    """Major version of CUDA that this onnxruntime was built for."""
    return int(ort.cuda_version.split(".")[0])


def gpus() -> tuple[str, list[Gpu]]:
    """The version of CUDA that the driver supports, such as ``13.1``, and the GPUs that it sees.

    Raises:
        OSError: there is no driver.
    """
    driver = _load_driver()
    driver.cuInit(0)
    version = _number(driver.cuDriverGetVersion)
    found = []
    for i in range(_number(driver.cuDeviceGetCount)):
        device = _number(driver.cuDeviceGet, i)
        name, size = ctypes.create_string_buffer(256), ctypes.c_size_t()
        driver.cuDeviceGetName(name, len(name), device)
        driver.cuDeviceTotalMem_v2(ctypes.byref(size), device)
        major, minor = (_number(driver.cuDeviceGetAttribute, code, device) for code in CAPABILITY_ATTRIBUTES)
        found.append(Gpu(name.value.decode(errors="replace"), (major, minor), size.value / 2**30))
    return f"{version // 1000}.{version % 1000 // 10}", found


def _driver_problem(major: int) -> UnavailableReason | None:
    wanted = MIN_DRIVER.get(major, f"for CUDA {major}")
    try:
        driver = _load_driver()
    except OSError:
        if not _has_nvidia_card():
            return UnavailableReason("no NVIDIA driver found, and no NVIDIA GPU", is_expected=True)
        return UnavailableReason(
            "no NVIDIA driver found, though there is an NVIDIA GPU",
            Remedy(f"install driver {wanted} or newer; in a container, give it access to the GPU", tool="docker"),
        )
    version = _number(driver.cuDriverGetVersion)
    if version // 1000 < major:
        return UnavailableReason(
            f"the NVIDIA driver is too old: it supports CUDA {version // 1000}.{version % 1000 // 10}, and "
            f"onnxruntime {ort.__version__} needs CUDA {major}",
            Remedy(f"install driver {wanted} or newer"),
        )
    result = driver.cuInit(0)
    if result:
        message, remedy = CU_INIT_ERRORS.get(
            result, (f"the NVIDIA driver does not start (cuInit gives {result})", "check it with nvidia-smi")
        )
        return UnavailableReason(message, Remedy(remedy))
    return _capability_problem(major)


def _capability_problem(major: int) -> UnavailableReason | None:
    _, found = gpus()
    minimum = MIN_CAPABILITY.get(major, (0, 0))
    if not found or any(gpu.capability >= minimum for gpu in found):
        return None
    return UnavailableReason(
        f"the GPU is too old: {found[0].name} has compute capability {_dotted(found[0].capability)}, and CUDA "
        f"{major} needs {_dotted(minimum)}",
        Remedy("install an onnxruntime-gpu for an older CUDA", parameter="provider", values=("cpu",)),
    )


def _library_problem(major: int) -> UnavailableReason | None:
    with contextlib.redirect_stdout(io.StringIO()):  # it prints what it cannot load to standard output
        ort.preload_dlls()
    for name, version in (("cudart", major), ("cublasLt", major), ("cublas", major), ("curand", 10), ("cudnn", 9)):
        if _loads(_file_name(name, version)):
            continue
        package = f"cuDNN {version}" if name == "cudnn" else f"CUDA {major}"
        message = f"{package} is missing: {_file_name(name, version)} cannot be loaded"
        others = _other_versions(name, version)
        if others:
            message += f" (found, but not usable: {', '.join(others)})"
        return UnavailableReason(message, Remedy(f"install it with: {INSTALL}"))
    return None


def _load_driver() -> ctypes.CDLL:
    return ctypes.CDLL("nvcuda.dll" if platform.system() == "Windows" else "libcuda.so.1")


def _number(function: Callable[..., int], *arguments: int) -> int:
    value = ctypes.c_int()
    function(ctypes.byref(value), *arguments)
    return value.value


def _has_nvidia_card() -> bool:
    """Whether Linux lists an NVIDIA card on the PCI bus; on other systems a card without a driver goes unnoticed."""
    for device in Path("/sys/bus/pci/devices").glob("*"):
        with contextlib.suppress(OSError):
            vendor, kind = (device / "vendor").read_text().strip(), (device / "class").read_text()
            if vendor == NVIDIA_PCI_VENDOR and kind.startswith(DISPLAY_PCI_CLASS):
                return True
    return False


def _file_name(library: str, version: int) -> str:
    return f"{library}64_{version}.dll" if platform.system() == "Windows" else f"lib{library}.so.{version}"


def _loads(name: str) -> bool:
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


def _other_versions(library: str, wanted: int) -> list[str]:
    """Other major versions of a library: where the loader looks, and among Python's packages."""
    pattern = _file_name(library, 0).replace("0", "*")
    installed = {path.name for path in Path(sysconfig.get_path("purelib")).glob(f"nvidia/**/{pattern}")}
    return sorted(installed | set(filter(_loads, _neighbours(library, wanted))))


def _neighbours(library: str, wanted: int) -> Iterator[str]:
    for version in range(wanted - 2, wanted + 2):
        if version != wanted:
            yield _file_name(library, version)


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))

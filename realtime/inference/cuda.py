"""What CUDA needs on this machine, and the first thing of it that is missing."""

import contextlib
import ctypes
import io
import platform
import sysconfig
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import onnxruntime as ort

INSTALL = "pip install 'facial-feature-rcnn[cuda]'"
NVIDIA_PCI_VENDOR = "0x10de"
DISPLAY_PCI_CLASS = "0x03"
LEAST_DRIVER = {12: "525", 13: "580"}
"""Driver branch that each major version of CUDA asks for on Linux (NVIDIA's CUDA compatibility guide)."""
LEAST_CAPABILITY = {12: (5, 0), 13: (7, 5)}
"""Oldest compute capability that the libraries of each major version still know."""
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
class Obstacle:
    """Why CUDA cannot be used."""

    what: str
    remedy: str
    is_expected: bool = False
    """True where there is no NVIDIA GPU at all, so that nothing is wrong."""

    def __str__(self) -> str:
        return f"{self.what}; {self.remedy}" if self.remedy else self.what


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU as the driver describes it."""

    name: str
    capability: tuple[int, int]
    memory_gib: float


def find_obstacle() -> Obstacle | None:
    """The first thing that CUDA misses here, or None; libraries that are there are loaded on the way.

    The driver is asked first, since onnxruntime fails loudly without it.
    """
    if "CUDAExecutionProvider" not in ort.get_available_providers():
        return Obstacle(
            "this onnxruntime is built without CUDA",
            "" if platform.system() == "Darwin" else "replace it with onnxruntime-gpu if there is an NVIDIA GPU",
            is_expected=True,
        )
    major = cuda_major()
    return _driver_obstacle(major) or _library_obstacle(major)


def cuda_major() -> int:
    """Major version of CUDA that this onnxruntime was built for."""
    return int(ort.cuda_version.split(".")[0])


def gpus() -> tuple[str, list[Gpu]]:
    """The version of CUDA that the driver speaks, such as ``13.1``, and the GPUs that it sees.

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


def _driver_obstacle(major: int) -> Obstacle | None:
    try:
        driver = _load_driver()
    except OSError:
        if not _has_nvidia_card():
            return Obstacle("no NVIDIA driver found, and no NVIDIA GPU", "", is_expected=True)
        wanted = LEAST_DRIVER.get(major, "of CUDA " + str(major))
        return Obstacle(
            "no NVIDIA driver found, though there is an NVIDIA GPU",
            f"install driver {wanted} or newer; in a container, start it with --gpus all",
        )
    version = _number(driver.cuDriverGetVersion)
    if version // 1000 < major:
        return Obstacle(
            f"the NVIDIA driver is too old: it speaks CUDA {version // 1000}.{version % 1000 // 10}, and "
            f"onnxruntime {ort.__version__} needs CUDA {major}",
            f"install driver {LEAST_DRIVER.get(major, 'for CUDA ' + str(major))} or newer",
        )
    result = driver.cuInit(0)
    if result:
        what, remedy = CU_INIT_ERRORS.get(
            result, (f"the NVIDIA driver does not start (cuInit gives {result})", "see what nvidia-smi says")
        )
        return Obstacle(what, remedy)
    _, found = gpus()
    least = LEAST_CAPABILITY.get(major, (0, 0))
    if found and all(gpu.capability < least for gpu in found):
        return Obstacle(
            f"the GPU is too old: {found[0].name} has compute capability {_dotted(found[0].capability)}, and CUDA "
            f"{major} needs {_dotted(least)}",
            "use --provider cpu, or an onnxruntime-gpu for an older CUDA",
        )
    return None


def _library_obstacle(major: int) -> Obstacle | None:
    with contextlib.redirect_stdout(io.StringIO()):  # it prints what it cannot load, among the app's own output
        ort.preload_dlls()
    for name, version in (("cudart", major), ("cublasLt", major), ("cublas", major), ("curand", 10), ("cudnn", 9)):
        if _loads(_file_name(name, version)):
            continue
        package = f"cuDNN {version}" if name == "cudnn" else f"CUDA {major}"
        what = f"{package} is missing: {_file_name(name, version)} cannot be loaded"
        others = _other_versions(name, version)
        if others:
            what += f" (found, but of no use: {', '.join(others)})"
        return Obstacle(what, f"install it with: {INSTALL}")
    return None


def _load_driver() -> ctypes.CDLL:
    return ctypes.CDLL("nvcuda.dll" if platform.system() == "Windows" else "libcuda.so.1")


def _number(function: Callable[..., int], *arguments: int) -> int:
    value = ctypes.c_int()
    function(ctypes.byref(value), *arguments)
    return value.value


def _has_nvidia_card() -> bool:
    """Linux lists the devices of the PCI bus; elsewhere a card without its driver cannot be told from none."""
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

"""TensorRT: its libraries, and the folder that keeps the engines it builds."""

import contextlib
import ctypes
import hashlib
import platform
import shutil
import sysconfig
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import onnxruntime as ort
from platformdirs import user_cache_path

from realtime.errors import ProviderError, Remedy
from realtime.inference.cuda import UnavailableReason, cuda_major, gpus
from realtime.inference.gpu_settings import Engine
from realtime.inference.providers import Provider

VERSION = 10
"""The major version that onnxruntime's provider was linked with."""
LIBRARIES = ("nvinfer", "nvinfer_plugin", "nvonnxparser")
WHEEL_FOLDER = "tensorrt_libs"
"""Where NVIDIA's Python packages put the libraries; the loader does not look there."""


def unavailable_reason() -> UnavailableReason | None:
    """What TensorRT lacks besides CUDA, or None. Its libraries are loaded."""
    if "TensorrtExecutionProvider" not in ort.get_available_providers():
        use_cuda = Remedy(parameter="provider", values=("cuda",))
        return UnavailableReason("this onnxruntime is built without TensorRT", use_cuda, is_expected=True)
    for library in LIBRARIES:
        if _load(library) is None:
            install = f"install it with: pip install 'tensorrt-cu{cuda_major()}=={VERSION}.*'"
            return UnavailableReason(
                f"TensorRT {VERSION} is missing: {_file_name(library)} cannot be loaded",
                Remedy(install, parameter="provider", values=("cuda",)),
            )
    return None


@contextlib.contextmanager
def engine_for(model: Path, *, half: bool) -> Iterator[Engine]:
    """The engine of a model on this card, to open a session with.

    A new engine is built in a temporary folder, which is renamed once the session is open: an interrupted build leaves
    nothing that could be mistaken for an engine.

    Raises:
        ProviderError: the cache folder cannot be written.
    """
    cache = cache_folder() / "tensorrt"
    folder = cache / f"{model.stem}-{_key(model, half=half)}"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=cache))
    except OSError as error:
        raise ProviderError(
            f"cannot keep its engine in {cache}: {error.strerror}",
            parameter="provider",
            value=Provider.TENSORRT.value,
            remedy="make it writable; on Linux the environment variable XDG_CACHE_HOME names another folder",
        ) from error
    try:
        engine = Engine(building, is_built=False, timings=cache, half=half)
        if is_built(folder):
            yield replace(engine, folder=folder, is_built=True)
            return
        yield engine
        if is_built(building):
            shutil.rmtree(folder, ignore_errors=True)
            building.replace(folder)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def is_built(folder: Path) -> bool:
    """Whether there is an engine in a folder."""
    return any(folder.glob("*.engine"))


def cache_folder() -> Path:
    """The user's cache folder for the app, by the conventions of the system."""
    return user_cache_path("facial-feature-rcnn", appauthor=False, opinion=False)


def _key(model: Path, *, half: bool) -> str:
    """Changes with everything that an engine depends on: the graph, the card, the versions of the libraries."""
    parts = (ort.__version__, _library_version(), _gpu_name(), str(half))
    digest = hashlib.sha256("\n".join(parts).encode())
    digest.update(model.read_bytes())
    return digest.hexdigest()[:16]


def _library_version() -> str:
    library = _load(LIBRARIES[0])
    return str(library.getInferLibVersion()) if library else ""


def _gpu_name() -> str:
    with contextlib.suppress(OSError):
        _, found = gpus()
        return found[0].name if found else ""
    return ""


def _load(library: str) -> ctypes.CDLL | None:
    """Load a library from the loader's search path, or from NVIDIA's Python packages.

    Its symbols are global, so that onnxruntime, which loads it by its bare name, finds it loaded.
    """
    name = _file_name(library)
    for path in (name, str(Path(sysconfig.get_path("purelib")) / WHEEL_FOLDER / name)):
        with contextlib.suppress(OSError):
            return ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)
    return None


def _file_name(library: str) -> str:
    return f"{library}_{VERSION}.dll" if platform.system() == "Windows" else f"lib{library}.so.{VERSION}"

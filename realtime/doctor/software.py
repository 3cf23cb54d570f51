"""The versions of the app and of the libraries that it needs."""

import platform
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import PackageNotFoundError, distributions, version

from realtime.doctor.findings import Finding, Level
from realtime.errors import one_line

DISTRIBUTION = "facial-feature-rcnn"
LIBRARIES = {
    "numpy": "NumPy",
    "cv2": "OpenCV",
    "av": "PyAV",
    "onnxruntime": "onnxruntime",
}
"""Module and name of each library that the app needs."""
CONFLICTING = (
    ("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-openvino", "onnxruntime-rocm"),
    ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless"),
)
"""Packages that install the same files: only one of each row may be installed."""


def check_app() -> list[Finding]:
    """The versions of the app, Python and the system, and packages that overwrite each other."""
    try:
        app = version(DISTRIBUTION)
    except PackageNotFoundError:
        app = "not installed"
    python, system = platform.python_version(), f"{platform.system()} {platform.release()} {platform.machine()}"
    text = f"realtime {app}, Python {python}, {system}"
    data = {"realtime": app, "python": python, "system": system}
    return [Finding(Level.OK, text, data=data), *_conflicts({d.metadata["Name"].lower() for d in distributions()})]


def _conflicts(installed: set[str]) -> list[Finding]:
    findings = []
    for packages in CONFLICTING:
        found = [name for name in packages if name in installed]
        if len(found) > 1:
            findings.append(
                Finding(
                    Level.WARNING,
                    f"{' and '.join(found)} are both installed and overwrite each other's files",
                    f"pip uninstall -y {' '.join(found)}, then install the one that you want, and only that one",
                    {"packages": found},
                )
            )
    return findings


def check_library(module: str) -> list[Finding]:
    """Import one library and report its version."""
    name = LIBRARIES[module]
    try:
        found = _VERSIONS[module]()
    except Exception as error:  # whatever a broken library raises on import
        reason = f"{type(error).__name__}: {one_line(error)}"
        return [Finding(Level.FAILURE, f"{name} cannot be imported: {reason}", _remedy(module, str(error)))]
    return [Finding(Level.OK, f"{name} {found}", data={module: found})]


def _remedy(module: str, message: str) -> str:
    if module == "cv2" and "libGL" in message:
        return "install the system's OpenGL library (Debian, Ubuntu: apt install libgl1), or opencv-python-headless"
    return "install the app again in a new virtual environment"


def _av_version() -> str:
    from realtime.ffmpeg import av

    return f"{av.__version__} with FFmpeg {av.ffmpeg_version_info}"


def _onnxruntime_version() -> str:
    ort = import_module("onnxruntime")
    built = f"for CUDA {ort.cuda_version}" if ort.cuda_version else "without CUDA"
    return f"{ort.__version__} ({ort.package_name}, {built})"


_VERSIONS: dict[str, Callable[[], str]] = {
    "numpy": lambda: str(import_module("numpy").__version__),
    "cv2": lambda: str(import_module("cv2").__version__),
    "av": _av_version,
    "onnxruntime": _onnxruntime_version,
}

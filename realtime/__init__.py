"""Find face, eyes, eyebrows, nose and mouth in images and live video, with Faster R-CNN on onnxruntime.

    import realtime

    result = realtime.Detector("nano")("photo.jpg")
    for face in result.faces:
        print(face.id, face.box, face.features["left_eye"].score)

Names are loaded when they are first used, so that ``import realtime`` costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from realtime import image_limit as image_limit  # before anything that imports OpenCV
from realtime import privacy as privacy  # before anything that imports onnxruntime

if TYPE_CHECKING:
    from realtime.api import Detector, Stream, stream
    from realtime.drawing.styles import Style
    from realtime.errors import (
        ImageError,
        ModelError,
        ProviderError,
        RealtimeError,
        RegionError,
        SinkError,
        SourceError,
    )
    from realtime.results import Result
    from realtime.structures import PARTS, Detections, Face, Feature, Frame

_MODULES = {
    **dict.fromkeys(("Detector", "Stream", "stream"), "api"),
    **dict.fromkeys(
        ("ImageError", "ModelError", "ProviderError", "RealtimeError", "RegionError", "SinkError", "SourceError"),
        "errors",
    ),
    "Result": "results",
    "Style": "drawing.styles",
    **dict.fromkeys(("PARTS", "Detections", "Face", "Feature", "Frame"), "structures"),
}

__all__ = [
    "PARTS",
    "Detections",
    "Detector",
    "Face",
    "Feature",
    "Frame",
    "ImageError",
    "ModelError",
    "ProviderError",
    "RealtimeError",
    "RegionError",
    "Result",
    "SinkError",
    "SourceError",
    "Stream",
    "Style",
    "stream",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("facial-feature-rcnn")
    if name not in _MODULES:
        raise AttributeError(f"module 'realtime' has no attribute '{name}'")
    value = getattr(import_module(f"realtime.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__", *(name for name in globals() if name.startswith("__"))])

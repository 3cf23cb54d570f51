"""Windows, and the codecs that the app reads and writes."""

import os
import re
from fractions import Fraction
from typing import Any

import cv2
import numpy as np

from realtime.doctor.findings import Finding, Level
from realtime.ffmpeg import av

DECODERS = ("h264", "hevc", "mpeg4", "vp9", "av1", "mjpeg", "aac")
IMAGE_WH = (64, 64)


def check_window() -> list[Finding]:
    """Show a window, if OpenCV and the display are there for it."""
    from realtime.ui.display import no_window_reason

    gui = re.search(r"GUI:\s*(\S+)", cv2.getBuildInformation())
    data = {"gui": gui[1] if gui else None, "display": os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")}
    reason = no_window_reason()
    if reason is None:
        _show_window()
        where = f", display {data['display']}" if data["display"] else ""
        return [Finding(Level.OK, f"windows can be shown: OpenCV with {data['gui']}{where}", data=data)]
    remedy = "works without: realtime cam --no-window --record OUT.mp4, realtime video IN.mp4 --out OUT.mp4"
    if "headless" in reason:
        remedy = "pip uninstall -y opencv-python-headless, pip install --force-reinstall opencv-python; or " + remedy
    return [Finding(Level.NOTE, f"no window can be shown: {reason}", remedy, data)]


def _show_window() -> None:
    """Show a window for a moment. If Qt aborts the process, only this check is affected."""
    cv2.namedWindow("realtime doctor", cv2.WINDOW_NORMAL)
    cv2.imshow("realtime doctor", np.zeros((*IMAGE_WH[::-1], 3), np.uint8))
    cv2.waitKey(1)
    cv2.destroyAllWindows()


def check_camera_backends() -> list[Finding]:
    """The interfaces through which this OpenCV reads cameras."""
    registry = cv2.videoio_registry
    names = [registry.getBackendName(backend) for backend in registry.getCameraBackends()]
    if names:
        return [Finding(Level.OK, f"OpenCV reads cameras through {', '.join(names)}", data={"backends": names})]
    remedy = "install opencv-python from PyPI: pip install --force-reinstall opencv-python"
    return [Finding(Level.WARNING, "this OpenCV is built without cameras", remedy, {"backends": []})]


def check_encoder(name: str) -> list[Finding]:
    """Encode a frame, or a moment of silence, in memory."""
    try:
        packets = _encode_audio(name) if name == "aac" else _encode_frame(name)
    except (av.FFmpegError, ValueError) as error:
        remedy = "install PyAV from PyPI, which brings its own FFmpeg: pip install --force-reinstall av"
        text = f"cannot encode {name}: {type(error).__name__}; --out and --record need it"
        return [Finding(Level.WARNING, text, remedy, {"encoder": name, "works": False})]
    return [Finding(Level.OK, f"encodes {name}", data={"encoder": name, "works": True, "packets": packets})]


def _encode_frame(name: str) -> int:
    encoder: Any = av.CodecContext.create(name, "w")
    encoder.width, encoder.height = IMAGE_WH
    encoder.pix_fmt, encoder.time_base = "yuv420p", Fraction(1, 25)
    frame = av.VideoFrame.from_ndarray(np.zeros((*IMAGE_WH[::-1], 3), np.uint8), format="bgr24")
    frame.pts = 0
    return len([*encoder.encode(frame.reformat(format="yuv420p")), *encoder.encode(None)])


def _encode_audio(name: str) -> int:
    encoder: Any = av.CodecContext.create(name, "w")
    encoder.sample_rate, encoder.layout, encoder.format = 48_000, "mono", "fltp"
    silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
    silence.sample_rate, silence.pts = 48_000, 0
    return len([*encoder.encode(silence), *encoder.encode(None)])


def check_decoders() -> list[Finding]:
    """The codecs of most files and cameras."""
    missing = [name for name in DECODERS if not _has_decoder(name)]
    data = {"decoders": [name for name in DECODERS if name not in missing], "missing": missing}
    if not missing:
        return [Finding(Level.OK, f"decodes {', '.join(DECODERS)}", data=data)]
    remedy = "install PyAV from PyPI, which brings its own FFmpeg: pip install --force-reinstall av"
    return [Finding(Level.WARNING, f"cannot decode {', '.join(missing)}", remedy, data)]


def _has_decoder(name: str) -> bool:
    try:
        av.Codec(name, "r")
    except av.FFmpegError:
        return False
    return True

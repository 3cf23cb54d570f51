"""PyAV, imported after OpenCV.

Both wheels contain libxcb; if PyAV's is loaded first, the first window of OpenCV's Qt hangs forever (seen with
PyAV 18.1 and opencv-python 5.0 on Linux). All modules of the app import ``av`` from here.
"""

from pathlib import Path  # noqa: I001 - the order matters

import cv2  # noqa: F401
import av  # noqa: TID251
from av.sidedata.sidedata import SideDataContainer  # noqa: TID251

__all__ = ["SideDataContainer", "av", "file_address", "open_video"]


def file_address(path: Path) -> str:
    """A path as the address that FFmpeg takes for that file, whatever its name: ``http:a.mp4`` is no host."""
    return f"file:{path}"


def open_video(path: Path) -> av.container.InputContainer:
    """Open a file to read.

    Raises:
        av.FFmpegError, OSError, ValueError: it cannot be read. The message has the address, not the path.
    """
    # The option is for the demuxer of images: "%03d.jpg" is one file, not the pattern of many.
    return av.open(file_address(path), options={"pattern_type": "none"}, metadata_errors="replace")

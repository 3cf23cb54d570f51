"""PyAV, imported after OpenCV.

Both wheels contain libxcb; if PyAV's is loaded first, the first window of OpenCV's Qt hangs forever (seen with
PyAV 18.1 and opencv-python 5.0 on Linux). All modules of the app import ``av`` from here.
"""

import cv2  # noqa: F401, I001 - the order matters
import av  # noqa: TID251
from av.sidedata.sidedata import SideDataContainer  # noqa: TID251

__all__ = ["SideDataContainer", "av"]
